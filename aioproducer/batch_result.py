# cython: annotation_typing=False
"""BatchResult, the result of a batch, and RecordMetadata, the place of one of its records in the log.

The records of a batch succeed or fail together: resolving a batch of a thousand records is one
assignment. Futures and callbacks exist only where something waits for the batch.

    batch ──resolve, fail──▶ BatchResult ──▶ futures, callbacks
                                  └──split──▶ BatchResult of each piece

A result knows records by their index in the batch only. `aioproducer/delivery.py` has what users hold.
"""

from __future__ import annotations

import copy
import logging
from asyncio import CancelledError, get_running_loop
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from aioproducer.errors import plural

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
    from collections.abc import Callable
    from contextvars import Context

    from aioproducer.errors import ProducerError

    _Callback: TypeAlias = tuple[int, object, Callable[[Any], object], Context]
    """Index of the record, its delivery, the function to call with it."""

logger: Final = logging.getLogger("aioproducer.delivery")

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
        self.callbacks: list[_Callback] | None = None
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
        for index, delivery, callback, context in callbacks or ():
            result, first = self.piece_of(index)
            result.add_callback(index - first, delivery, callback, context)

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
        self, index: int, delivery: object, callback: Callable[[Any], object], context: Context
    ) -> None:
        """Let the loop call `callback(delivery)` of record `index` once the batch is done."""
        added = (index, delivery, callback, context)
        if self.done:
            cast("AbstractEventLoop", self.loop).call_soon(_call_back, [added])
        elif self.callbacks is None:
            self.callbacks = [added]
        else:
            self.callbacks.append(added)

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


def _call_back(callbacks: list[_Callback]) -> None:
    if len(callbacks) > WAITERS_A_SLICE:
        get_running_loop().call_soon(_call_back, callbacks[WAITERS_A_SLICE:])
        del callbacks[WAITERS_A_SLICE:]
    for position, (_index, delivery, callback, context) in enumerate(callbacks):
        try:
            context.run(callback, delivery)
        except (Exception, CancelledError):
            logger.exception("a callback of %r raised", delivery)
        except BaseException:
            # KeyboardInterrupt ends this run of the loop; the next run calls the rest.
            get_running_loop().call_soon(_call_back, callbacks[position + 1 :])
            raise
