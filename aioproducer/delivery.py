# cython: annotation_typing=False
"""Delivery, the result of one record, and RecordMetadata, its place in the log.

The records of a batch succeed or fail together, so a batch has one `BatchResult`, and a
`Delivery` is only (result, index): resolving a batch of a thousand records is one assignment.
Futures exist only where a task waits.

    Delivery ──┐
    Delivery ──┼──▶ BatchResult ◀── batch      resolve · fail · split
    Delivery ──┘         └──▶ futures, callbacks

A split batch keeps its result, which then refers to the results of the pieces; a delivery moves
to its piece when it is next used.
"""

from __future__ import annotations

import copy
import logging
from asyncio import CancelledError, InvalidStateError, get_running_loop
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, cast

from aioproducer.errors import ProducerError, WrongLoopError, plural

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
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Generator, Iterator
    from contextvars import Context

logger: Final = logging.getLogger("aioproducer.delivery")

_WRONG_LOOP: Final = "this delivery belongs to another event loop: use it in the loop of its producer"

WAITERS_A_SLICE = 1000
"""How many futures are resolved, or callbacks called, in one step of the event loop."""


@cython.freelist(64)
@cython.cclass
class RecordMetadata:
    """The place of a record in the log. Immutable.

    `topic` is a str, `partition` and `offset` are ints counted from 0. `offset` is -1 where the
    broker does not tell it: with acks=0, or for a duplicate that the broker no longer remembers.
    `timestamp_ms`, in milliseconds since the epoch, is the record's own, or the broker's time
    where the topic has `message.timestamp.type=LogAppendTime`.
    """

    __slots__ = ("offset", "partition", "timestamp_ms", "topic")

    def __init__(self, topic: str, partition: int, offset: int, timestamp_ms: int) -> None:
        self.topic: str = topic
        self.partition: int = partition
        self.offset: int = offset
        self.timestamp_ms: int = timestamp_ms

    def __repr__(self) -> str:
        return (
            f"RecordMetadata(topic={self.topic!r}, partition={self.partition}, "
            f"offset={self.offset}, timestamp_ms={self.timestamp_ms})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordMetadata) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordMetadata, self._key()

    def _key(self) -> tuple[str, int, int, int]:
        return self.topic, self.partition, self.offset, self.timestamp_ms


class BatchResult:
    """The result of a batch, shared by the deliveries of its records.

    It outlives the batch's bytes: a list of a million kept deliveries holds results, not
    payloads. `count` is set with the outcome. `pieces` is set when the batch was split: (index of the
    first record, result). `seen` holds the indexes of failed records whose error was asked for.
    """

    __slots__ = (
        "base_offset",
        "callbacks",
        "count",
        "done",
        "error",
        "log_append_time_ms",
        "loop",
        "partition",
        "pieces",
        "record_errors",
        "seen",
        "topic",
        "waiters",
    )

    def __init__(self, topic: str, partition: int, loop: object) -> None:
        self.topic: str = topic
        self.partition: int = partition
        self.loop: object = loop
        self.done: bool = False
        self.base_offset: int = -1
        self.log_append_time_ms: int = -1
        self.count: int = 0
        self.seen: set[int] | None = None
        self.error: ProducerError | None = None
        self.record_errors: dict[int, ProducerError] | None = None
        self.waiters: list[tuple[int, int, Future[Any]]] | None = None
        self.callbacks: list[tuple[Delivery, Callable[[Delivery], object], Context]] | None = None
        self.pieces: list[tuple[int, BatchResult]] | None = None

    def resolve(self, count: int, base_offset: int, log_append_time_ms: int) -> None:
        """Resolve all `count` records; `base_offset` is the offset of the first, -1 if unknown.

        `log_append_time_ms` is -1 where records keep their own timestamps.
        """
        self.count = count
        self.base_offset = base_offset
        self.log_append_time_ms = log_append_time_ms
        self.done = True
        if self.waiters is not None or self.callbacks is not None:
            self._notify()

    def fail(
        self,
        count: int,
        error: ProducerError,
        record_errors: dict[int, ProducerError] | None = None,
    ) -> None:
        """Fail all `count` records with `error`; `record_errors` replaces it for single records."""
        self.count = count
        self.error = error
        self.record_errors = record_errors
        self.done = True
        if self.waiters is not None or self.callbacks is not None:
            self._notify()

    def reserve(self) -> int:
        """Return the index of one more record."""
        index = self.count
        self.count = index + 1
        return index

    def split(self, pieces: list[tuple[int, BatchResult]]) -> None:
        """Pass the records on to the results of smaller batches: (index of the first record, result)."""
        waiters, self.waiters = self.waiters, None
        callbacks, self.callbacks = self.callbacks, None
        self.pieces = pieces
        for index, timestamp_ms, future in waiters or ():
            # Index -1 waits for all records of the batch (`settled`).
            if index < 0:
                self._watch_pieces(future)
            else:
                result, first = self.piece_of(index)
                result.add_waiter(index - first, timestamp_ms, future)
        for delivery, callback, context in callbacks or ():
            result_of(delivery).add_callback(delivery, callback, context)

    def piece_of(self, index: int) -> tuple[BatchResult, int]:
        """Return the piece with record `index`, and the index of the piece's first record."""
        chosen = (0, self)
        for first, result in cast("list[tuple[int, BatchResult]]", self.pieces):
            if first > index:
                break
            chosen = (first, result)
        return chosen[1], chosen[0]

    def add_waiter(self, index: int, timestamp_ms: int, future: Future[Any]) -> None:
        """Resolve `future` with the metadata of record `index`; with index -1, once the batch is done."""
        waiters = self.waiters
        if waiters is None:
            waiters = self.waiters = []
        elif len(waiters) >= WAITERS_A_SLICE and len(waiters) & (len(waiters) - 1) == 0:
            # A task that waits again and again with a timeout leaves cancelled futures behind: drop them
            # at 1024, 2048, 4096 waiters and so on.
            waiters = self.waiters = [waiter for waiter in waiters if not waiter[2].done()]
        waiters.append((index, timestamp_ms, future))

    def add_callback(
        self, delivery: Delivery, callback: Callable[[Delivery], object], context: Context
    ) -> None:
        """Let the loop call `callback(delivery)` once the batch is done."""
        if self.callbacks is None:
            self.callbacks = []
        self.callbacks.append((delivery, callback, context))

    def settled(self) -> Future[None]:
        """Return a future that is done when every record is delivered or has failed. It never raises."""
        future: Future[None] = cast("AbstractEventLoop", self.loop).create_future()
        if self.done:
            future.set_result(None)
        elif self.pieces is not None:
            self._watch_pieces(future)
        else:
            self.add_waiter(-1, 0, future)
        return future

    def is_settled(self) -> bool:
        """Return whether every record is delivered or has failed."""
        if self.pieces is not None:
            return all(piece.is_settled() for _, piece in self.pieces)
        return self.done

    def error_of(self, index: int) -> ProducerError | None:
        """Return the error of record `index`, None if it has none.

        It is a fresh copy: a traceback added by one caller must not show up at another.
        """
        if self.error is None:
            return None
        error = self.error
        if self.record_errors is not None:
            # KIP-467: the broker names the bad records of a batch; the others get the batch's error.
            error = self.record_errors.get(index, error)
        if self.seen is None:
            self.seen = set()
        self.seen.add(index)
        # `copy.copy` leaves the cause behind.
        twin = copy.copy(error)
        twin.__cause__ = error.__cause__
        return twin

    def metadata_of(self, index: int, timestamp_ms: int) -> RecordMetadata:
        """Return the metadata of record `index`, which is delivered."""
        offset = self.base_offset
        if offset >= 0:
            # Base offset 100: record 3 of the batch has offset 103.
            offset += index
        if self.log_append_time_ms >= 0:
            timestamp_ms = self.log_append_time_ms
        return RecordMetadata(self.topic, self.partition, offset, timestamp_ms)

    def _watch_pieces(self, future: Future[Any]) -> None:
        # The last piece is usually the last one to be resolved: watch it first, and one future is
        # enough.
        pending = [piece for _, piece in cast("list[tuple[int, BatchResult]]", self.pieces)]

        def watch_next(_done: object = None) -> None:
            while pending:
                piece = pending.pop()
                if not piece.done:
                    piece.settled().add_done_callback(watch_next)
                    return
            if not future.done():
                future.set_result(None)

        watch_next()

    def _notify(self) -> None:
        waiters, self.waiters = self.waiters, None
        callbacks, self.callbacks = self.callbacks, None
        if waiters is not None:
            self._wake(waiters)
        if callbacks is not None:
            cast("AbstractEventLoop", self.loop).call_soon(_call_back, callbacks)

    def _wake(self, waiters: list[tuple[int, int, Future[Any]]]) -> None:
        # 10,000 tasks may await one batch: wake 1000 of them in each turn.
        if len(waiters) > WAITERS_A_SLICE:
            rest = waiters[WAITERS_A_SLICE:]
            del waiters[WAITERS_A_SLICE:]
            cast("AbstractEventLoop", self.loop).call_soon(self._wake, rest)
        for index, timestamp_ms, future in waiters:
            if future.done():
                continue
            if index < 0:
                future.set_result(None)
            elif self.error is None:
                future.set_result(self.metadata_of(index, timestamp_ms))
            else:
                future.set_exception(cast("ProducerError", self.error_of(index)))

    def __del__(self) -> None:
        # No delivery of this batch is left, so an error that was not asked for stays unseen.
        unseen = self.count - (0 if self.seen is None else len(self.seen))
        if self.error is not None and unseen > 0:
            logger.error(
                "%d of %s for %s-%s failed and their deliveries were never looked at: %s",
                unseen,
                plural(self.count, "record"),
                self.topic,
                self.partition if self.partition >= 0 else "?",
                self.error,
            )


def _call_back(
    callbacks: list[tuple[Delivery, Callable[[Delivery], object], Context]],
) -> None:
    if len(callbacks) > WAITERS_A_SLICE:
        get_running_loop().call_soon(_call_back, callbacks[WAITERS_A_SLICE:])
        del callbacks[WAITERS_A_SLICE:]
    for position, (delivery, callback, context) in enumerate(callbacks):
        try:
            context.run(callback, delivery)
        except (Exception, CancelledError):
            logger.exception("a callback of %r raised", delivery)
        except BaseException:
            # KeyboardInterrupt ends this run of the loop; the next run calls the rest.
            get_running_loop().call_soon(_call_back, callbacks[position + 1 :])
            raise


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
        if result.done:
            waiting = [(self, callback, context)]
            result.loop.call_soon(_call_back, waiting)
        else:
            result.add_callback(self, callback, context)

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
