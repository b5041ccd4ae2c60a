# cython: annotation_typing=False
"""What happens to a record: the promise that `send` returns, and the metadata that keeps it.

A batch has one fate, so there is one `BatchResult` a batch, and a `Delivery` is only
(result, index): resolving a batch of a thousand records is one assignment. Futures exist
only where somebody waits.

    Delivery ──┐
    Delivery ──┼──▶ BatchResult ◀── the batch      resolve · fail · split
    Delivery ──┘         └──▶ futures of those who wait
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

_ELSEWHERE: Final = "this delivery belongs to another event loop: use it in the loop its producer runs in"

WAITERS_A_SLICE = 1000
"""How many futures are resolved before the event loop gets its turn."""


@cython.freelist(64)
@cython.cclass
class RecordMetadata:
    """Where a record is in the log.

    `offset` is -1 where the broker does not tell it (acks=0, or a duplicate whose first copy
    it no longer remembers). `timestamp_ms` is the record's own, or the log-append time where
    the topic is so configured. Read it, do not write it.
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
    """The one fate that the records of a batch share.

    It outlives the batch's bytes: a list of a million kept deliveries holds results, not
    payloads. `pieces` is set when the batch was split, each with the index of its first record.
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
        """Say that all `count` records are in the log, from `base_offset` on (-1: unknown)."""
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
        """Say that no record is known to be in the log; `record_errors` are some records' own errors."""
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

    def adopt(self, delivery: Delivery, index: int) -> None:
        """Take over a record that had a result of its own; `index` is its place here."""
        alone = delivery.result_of_batch
        delivery.result_of_batch = self
        delivery.index = index
        alone.split([(-index, self)])

    def split(self, pieces: list[tuple[int, BatchResult]]) -> None:
        """Hand the records on to the results of smaller batches: (index of the first record, result)."""
        waiters, self.waiters = self.waiters, None
        callbacks, self.callbacks = self.callbacks, None
        self.pieces = pieces
        for index, timestamp_ms, future in waiters or ():
            if index < 0:
                self._watch_pieces(future)
            else:
                result, first = self.piece_of(index)
                result.add_waiter(index - first, timestamp_ms, future)
        for delivery, callback, context in callbacks or ():
            delivery.follow()
            delivery.result_of_batch.add_callback(delivery, callback, context)

    def piece_of(self, index: int) -> tuple[BatchResult, int]:
        """Return the piece that record `index` is in, and the index of the piece's first record."""
        chosen = (0, self)
        for first, result in cast("list[tuple[int, BatchResult]]", self.pieces):
            if first > index:
                break
            chosen = (first, result)
        return chosen[1], chosen[0]

    def add_waiter(self, index: int, timestamp_ms: int, future: Future[Any]) -> None:
        """Resolve `future` with the metadata of record `index`; index -1 waits for the batch alone."""
        waiters = self.waiters
        if waiters is None:
            waiters = self.waiters = []
        elif len(waiters) >= WAITERS_A_SLICE and len(waiters) & (len(waiters) - 1) == 0:
            # Whoever waits again and again with a time limit leaves cancelled futures behind.
            waiters = self.waiters = [waiter for waiter in waiters if not waiter[2].done()]
        waiters.append((index, timestamp_ms, future))

    def add_callback(
        self, delivery: Delivery, callback: Callable[[Delivery], object], context: Context
    ) -> None:
        """Call `callback(delivery)` on the loop once the result is there."""
        if self.callbacks is None:
            self.callbacks = []
        self.callbacks.append((delivery, callback, context))

    def settled(self) -> Future[None]:
        """Return a future that is done when every record is, whatever became of it."""
        future: Future[None] = cast("AbstractEventLoop", self.loop).create_future()
        if self.done:
            future.set_result(None)
        elif self.pieces is not None:
            self._watch_pieces(future)
        else:
            self.add_waiter(-1, 0, future)
        return future

    def is_settled(self) -> bool:
        """Return whether every record is done, whatever became of it."""
        if self.pieces is not None:
            return all(piece.is_settled() for _, piece in self.pieces)
        return self.done

    def error_of(self, index: int) -> ProducerError | None:
        """Return what went wrong with record `index`: a fresh copy, so that tracebacks do not mix."""
        if self.error is None:
            return None
        error = self.error
        if self.record_errors is not None:
            error = self.record_errors.get(index, error)
        if self.seen is None:
            self.seen = set()
        self.seen.add(index)
        twin = copy.copy(error)
        twin.__cause__ = error.__cause__
        return twin

    def metadata_of(self, index: int, timestamp_ms: int) -> RecordMetadata:
        """Return where record `index` is."""
        offset = self.base_offset
        if offset >= 0:
            offset += index
        if self.log_append_time_ms >= 0:
            timestamp_ms = self.log_append_time_ms
        return RecordMetadata(self.topic, self.partition, offset, timestamp_ms)

    def _watch_pieces(self, future: Future[Any]) -> None:
        pending = [piece for _, piece in cast("list[tuple[int, BatchResult]]", self.pieces)]

        def one_more(_done: object = None) -> None:
            while pending:
                piece = pending.pop()
                if not piece.done:
                    piece.settled().add_done_callback(one_more)
                    return
            if not future.done():
                future.set_result(None)

        one_more()

    def _notify(self) -> None:
        waiters, self.waiters = self.waiters, None
        callbacks, self.callbacks = self.callbacks, None
        if waiters is not None:
            self._wake(waiters)
        if callbacks is not None:
            cast("AbstractEventLoop", self.loop).call_soon(_call_back, callbacks)

    def _wake(self, waiters: list[tuple[int, int, Future[Any]]]) -> None:
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
        # Nobody holds a delivery of this batch any more, so nobody will ever look.
        unseen = self.count - (0 if self.seen is None else len(self.seen))
        if self.error is not None and unseen > 0:
            logger.error(
                "%d of %s for %s-%s failed and nobody looked at their deliveries: %s",
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
            # KeyboardInterrupt ends the loop's run, not the others' right to be told.
            get_running_loop().call_soon(_call_back, callbacks[position + 1 :])
            raise


@cython.no_gc
@cython.freelist(64)
@cython.cclass
class _Ready:
    """An awaitable that is there already: gives its value without a turn of the loop."""

    __slots__ = ("value",)

    def __init__(self, value: RecordMetadata | None) -> None:
        self.value = value

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - the protocol of awaitables
        raise StopIteration(self.value)


# What a delivery refers to never refers back once the batch is resolved, so the garbage
# collector need not look at a million of them.
@cython.no_gc
@cython.freelist(1024)
@cython.cclass
class Delivery(cython.object):
    """What happens to one record: `await` it for `RecordMetadata`, or to have the error raised.

    Any number of tasks may await it, or nobody. Cancelling an awaiter neither withdraws nor
    reorders nor loses the record. `index` is the record's place in its batch.

    `asyncio.create_task`, `TaskGroup.create_task`, `gather`, `wait_for` and `shield` take it as
    they take a coroutine; `asyncio.wait` takes its `future()`.
    """

    __slots__ = ("index", "result_of_batch", "timestamp_ms")

    result_of_batch: BatchResult
    index: int
    timestamp_ms: int

    def follow(self) -> BatchResult:
        """Return the result that this record depends on, through splits."""
        result = self.result_of_batch
        while result.pieces is not None:
            result, first = result.piece_of(self.index)
            self.index -= first
            self.result_of_batch = result
        return result

    def done(self) -> bool:
        """Return whether the record is acknowledged or has failed."""
        result = self.result_of_batch
        if result.pieces is not None:
            result = self.follow()
        return result.done

    def result(self) -> RecordMetadata:
        """Return the metadata, or raise what went wrong; InvalidStateError while neither is known."""
        result = self._settled()
        if result.error is not None:
            raise cast("ProducerError", result.error_of(self.index))
        return result.metadata_of(self.index, self.timestamp_ms)

    def exception(self) -> ProducerError | None:
        """Return what went wrong, None if nothing did; InvalidStateError while it is not known."""
        return self._settled().error_of(self.index)

    def future(self) -> Future[RecordMetadata]:
        """Return a new `asyncio.Future` of this record, for `gather`, `wait` and their like.

        Cancelling it does nothing to the record.
        """
        result = self.result_of_batch
        if result.pieces is not None:
            result = self.follow()
        loop = get_running_loop()
        if loop is not result.loop:
            raise WrongLoopError(_ELSEWHERE)
        future: Future[RecordMetadata] = loop.create_future()
        if not result.done:
            result.add_waiter(self.index, self.timestamp_ms, future)
        elif result.error is None:
            future.set_result(result.metadata_of(self.index, self.timestamp_ms))
        else:
            future.set_exception(cast("ProducerError", result.error_of(self.index)))
        return future

    def add_done_callback(
        self, callback: Callable[[Delivery], object], *, context: Context | None = None
    ) -> None:
        """Have the loop call `callback(delivery)` once the record is done; what it raises is logged.

        It runs in `context`, or in a copy of the one that is current now.
        """
        if context is None:
            context = copy_context()
        result = self.follow()
        if get_running_loop() is not result.loop:
            raise WrongLoopError(_ELSEWHERE)
        if result.done:
            waiting = [(self, callback, context)]
            result.loop.call_soon(_call_back, waiting)
        else:
            result.add_callback(self, callback, context)

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        result = self.result_of_batch
        if result.pieces is not None:
            result = self.follow()
        if not result.done:
            return self.future().__await__()
        if result.error is not None:
            raise cast("ProducerError", result.error_of(self.index))
        return _Ready(result.metadata_of(self.index, self.timestamp_ms))  # type: ignore[return-value] # as good as a generator to `await`

    # A task drives a coroutine by these three calls, so a task can be made of a delivery
    # (`collections.abc.Coroutine` recognizes their names). They keep no state: each step asks
    # anew whether the record is done, so any number of tasks may share one delivery.

    def send(self, _value: object, /) -> Future[RecordMetadata]:
        """Take one step as a coroutine: give a future to wait for, or end with the result."""
        result = self.result_of_batch
        if result.pieces is not None:
            result = self.follow()
        if not result.done:
            return next(self.future().__await__())
        if result.error is not None:
            raise cast("ProducerError", result.error_of(self.index))
        raise StopIteration(result.metadata_of(self.index, self.timestamp_ms))

    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Future[RecordMetadata]:  # noqa: ANN401 - a class or an instance
        """End as a coroutine with an exception, which changes nothing for the record."""
        if value is None:
            value = kind() if isinstance(kind, type) else kind
        raise value if trace is None else value.with_traceback(trace)

    def close(self) -> None:
        """End as a coroutine, which changes nothing for the record."""

    def __reduce__(self) -> tuple[Any, ...]:
        msg = "a Delivery cannot be copied or pickled: await it, and keep its RecordMetadata"
        raise TypeError(msg)

    def __repr__(self) -> str:
        result = self.follow()
        place = f"{result.topic}-{result.partition if result.partition >= 0 else '?'}"
        if not result.done:
            return f"<Delivery {place} pending>"
        if result.error is not None:
            return f"<Delivery {place} failed: {result.error}>"
        return f"<Delivery {place} at offset {result.metadata_of(self.index, self.timestamp_ms).offset}>"

    def _settled(self) -> BatchResult:
        result = self.follow()
        if not result.done:
            msg = "the delivery is still pending: await it, or ask done() first"
            raise InvalidStateError(msg)
        return result


def new_delivery(result: BatchResult, index: int, timestamp_ms: int) -> Delivery:
    """Make the delivery of record `index`. Only batches make deliveries, so this is no constructor."""
    delivery = Delivery.__new__(Delivery)
    delivery.result_of_batch = result
    delivery.index = index
    delivery.timestamp_ms = timestamp_ms
    return delivery
