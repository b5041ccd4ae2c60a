# cython: annotation_typing=False
"""Delivery, the result of one record, as `send` returns it.

The records of a batch share one `BatchResult` (`aioproducer/batch_result.py`); a `Delivery` is only
(result, index):

    Delivery ──┐
    Delivery ──┼──▶ BatchResult ◀── batch
    Delivery ──┘

A split batch keeps its result, which then refers to the results of the pieces; a delivery moves
to its piece when it is next used.
"""

from __future__ import annotations

from asyncio import InvalidStateError, get_running_loop
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, cast

from aioproducer.batch_result import BatchResult, RecordMetadata
from aioproducer.errors import WrongLoopError

if TYPE_CHECKING:
    # Type checkers that do not know Cython would know nothing of the classes either.
    from aioproducer import cython_fallback as cython
else:
    try:
        import cython
    except ImportError:
        from aioproducer import cython_fallback as cython
    if not cython.compiled:
        # Cython's own stand-in has no `object`.
        from aioproducer import cython_fallback as cython

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Generator, Iterator
    from contextvars import Context

    from aioproducer.errors import ProducerError

__all__ = [
    "BatchResult",
    "Delivery",
    "RecordMetadata",
    "index_of",
    "move_delivery",
    "new_delivery",
    "result_of",
]

_WRONG_LOOP: Final = "this delivery belongs to another event loop: use it in the loop of its producer"


@cython.no_gc
@cython.freelist(64)
@cython.cclass
class _Ready:
    """An awaitable that returns its value at once, without a step of the event loop."""

    __slots__ = ("value",)

    def __init__(self, value: RecordMetadata | None) -> None:
        self.value = value

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - the protocol of awaitables
        raise StopIteration(self.value)


# A resolved batch does not refer to its deliveries, so they are in no reference cycle. Without
# `no_gc` the garbage collector would visit each of a million kept deliveries.
@cython.no_gc
@cython.freelist(1024)
@cython.cclass
class Delivery(cython.object):
    """The result of one record, returned by `send`.

    `await delivery` gives `RecordMetadata` once the record is acknowledged, or raises a
    `ProducerError`: DeliveryTimeoutError, BrokerError or one of its kinds, UnknownTopicError,
    BufferExhaustedError, ProducerClosedError and others; `error.may_be_written` says whether the
    record may be in the log all the same.

    Any number of tasks may await it, or none. Cancelling one of them neither withdraws nor
    reorders nor loses the record. A failed record whose delivery was never looked at is logged.

    `asyncio.create_task`, `TaskGroup.create_task`, `gather`, `wait_for` and `shield` accept it as
    they accept a coroutine; `asyncio.wait` takes its `future()`. Use it in the producer's event
    loop only.
    """

    __slots__ = ("_index", "_result", "_timestamp_ms")

    _result: BatchResult
    _index: int
    _timestamp_ms: int

    def _follow(self) -> BatchResult:
        # Move to the piece that holds the record, if the batch was split.
        result = self._result
        while result.pieces is not None:
            result, first = result.piece_of(self._index)
            self._index -= first
            self._result = result
        return result

    def done(self) -> bool:
        """Return whether the record is acknowledged or has failed."""
        result = self._result
        # Checked here, so that only deliveries of split batches pay for a call of `_follow`.
        if result.pieces is not None:
            result = self._follow()
        return result.done

    def result(self) -> RecordMetadata:
        """Return the metadata, or raise the record's error.

        Raises asyncio.InvalidStateError while the record is pending.
        """
        result = self._settled()
        if result.error is not None:
            raise cast("ProducerError", result.error_of(self._index))
        return result.metadata_of(self._index, self._timestamp_ms)

    def exception(self) -> ProducerError | None:
        """Return the record's error, None if it was delivered.

        Raises asyncio.InvalidStateError while the record is pending.
        """
        return self._settled().error_of(self._index)

    def future(self) -> Future[RecordMetadata]:
        """Return a new `asyncio.Future` with the record's result, for `asyncio.wait` and the like.

        Cancelling it does not affect the record. Raises WrongLoopError outside the producer's loop.
        """
        result = self._result
        if result.pieces is not None:
            result = self._follow()
        loop = get_running_loop()
        if loop is not result.loop:
            raise WrongLoopError(_WRONG_LOOP)
        future: Future[RecordMetadata] = loop.create_future()
        if not result.done:
            result.add_waiter(self._index, self._timestamp_ms, future)
        elif result.error is None:
            future.set_result(result.metadata_of(self._index, self._timestamp_ms))
        else:
            future.set_exception(cast("ProducerError", result.error_of(self._index)))
        return future

    def add_done_callback(
        self, callback: Callable[[Delivery], object], *, context: Context | None = None
    ) -> None:
        """Let the event loop call `callback(delivery)` once the record is delivered or has failed.

        It runs in `context`, by default a copy of the current one. An exception in it is logged.
        Raises WrongLoopError outside the producer's loop.
        """
        if context is None:
            context = copy_context()
        result = self._follow()
        if get_running_loop() is not result.loop:
            raise WrongLoopError(_WRONG_LOOP)
        result.add_callback(self._index, self, callback, context)

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        result = self._result
        if result.pieces is not None:
            result = self._follow()
        if not result.done:
            return self.future().__await__()
        if result.error is not None:
            raise cast("ProducerError", result.error_of(self._index))
        return _Ready(result.metadata_of(self._index, self._timestamp_ms))  # type: ignore[return-value] # as good as a generator to `await`

    # A task drives a coroutine by these three methods, so `create_task(delivery)` works
    # (`collections.abc.Coroutine` recognizes their names). They keep no state: each step checks
    # again whether the record is done, so any number of tasks may share one delivery.

    def send(self, _value: object, /) -> Future[RecordMetadata]:
        """Take one step as a coroutine: return a future to wait for, or stop with the result."""
        result = self._result
        if result.pieces is not None:
            result = self._follow()
        if not result.done:
            return next(self.future().__await__())
        if result.error is not None:
            raise cast("ProducerError", result.error_of(self._index))
        # A coroutine returns its value in StopIteration.
        raise StopIteration(result.metadata_of(self._index, self._timestamp_ms))

    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Future[RecordMetadata]:  # noqa: ANN401 - a class or an instance
        """Raise the exception, as a coroutine does. The record is not affected."""
        if value is None:
            value = kind() if isinstance(kind, type) else kind
        raise value if trace is None else value.with_traceback(trace)

    def close(self) -> None:
        """Do nothing, as a finished coroutine does. The record is not affected."""

    def __reduce__(self) -> tuple[Any, ...]:
        message = "a Delivery cannot be copied or pickled: await it, and keep its RecordMetadata"
        raise TypeError(message)

    def __repr__(self) -> str:
        result = self._follow()
        place = f"{result.topic}-{result.partition if result.partition >= 0 else '?'}"
        if not result.done:
            return f"<Delivery {place} pending>"
        if result.error is not None:
            return f"<Delivery {place} failed: {result.error}>"
        return f"<Delivery {place} at offset {result.metadata_of(self._index, self._timestamp_ms).offset}>"

    def _settled(self) -> BatchResult:
        result = self._follow()
        if not result.done:
            message = "the delivery is still pending: await it, or check done() first"
            raise InvalidStateError(message)
        return result


# Functions, because methods would be part of the public Delivery.


def new_delivery(result: BatchResult, index: int, timestamp_ms: int) -> Delivery:
    """Return the delivery of record `index` in the batch with this result."""
    delivery = Delivery.__new__(Delivery)
    delivery._result = result
    delivery._index = index
    delivery._timestamp_ms = timestamp_ms
    return delivery


def result_of(delivery: Delivery) -> BatchResult:
    """Return the result of the batch that holds a delivery's record."""
    return delivery._follow()


def index_of(delivery: Delivery) -> int:
    """Return the index of a delivery's record in its batch."""
    delivery._follow()
    return delivery._index


def move_delivery(delivery: Delivery, result: BatchResult, index: int) -> None:
    """Move a waiting record, which has a result of its own, to place `index` of a batch."""
    alone = delivery._result
    delivery._result = result
    delivery._index = index
    # Futures and callbacks of the waiting record follow it.
    # Record 0 of `alone` is record `index` of the batch: `piece_of(0)` returns -index as the first
    # record, and 0 - (-index) is `index`.
    alone.split([(-index, result)])
