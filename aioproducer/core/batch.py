# cython: annotation_typing=False
"""A batch: records of one partition, from the first record to the acknowledgement.

    OPEN ──full, split, linger over──▶ CLOSED ──take──▶ IN_FLIGHT ──land──▶ CLOSED ──release──▶ RELEASED
                                          ▲                                    │
                                          └─────────── retry ◀─────────────────┘

`core/queues.py` has the queues that hold batches. Every change of a batch's state is a method here.
"""

from __future__ import annotations

from enum import IntFlag, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioproducer.batch_result import BatchResult
    from aioproducer.core.queues import PartitionQueue
    from aioproducer.records.batch import RecordBatchBuilder

NEVER = float("inf")
"""The time of something that is not planned."""

NO_SEQUENCE = -1
"""The sequence of a batch that was not sent yet."""


class BatchState(IntFlag):
    """The states of a batch. Whether its deliveries have ended is a matter of its result alone."""

    OPEN = auto()
    """It takes records."""
    CLOSED = auto()
    """It takes no more records: it is in its queue, or its request has just ended."""
    IN_FLIGHT = auto()
    """It was taken for a request: in compression, or on the wire."""
    RELEASED = auto()
    """It is resolved, or was split, and holds no memory any more."""


# The states as C integers, and for each state those that lead to it.
_OPEN = int(BatchState.OPEN)
_CLOSED = int(BatchState.CLOSED)
_IN_FLIGHT = int(BatchState.IN_FLIGHT)
_RELEASED = int(BatchState.RELEASED)
_TO_CLOSED = int(BatchState.OPEN | BatchState.IN_FLIGHT)
# The last batch of a queue is taken while it is open, when its linger is over.
_TO_IN_FLIGHT = int(BatchState.OPEN | BatchState.CLOSED)
# Not from IN_FLIGHT: of a batch that expires there only the deliveries fail. Its memory and its
# sequence are in use until its request ends.
_TO_RELEASED = int(BatchState.OPEN | BatchState.CLOSED)


class ProducerBatch:
    """A batch and the state of its delivery.

    `created` is when the batch was opened; linger counts from it. `oldest_send` is the time of the
    earliest `send` of its records; the delivery timeout counts from it, over all retries and splits.
    It is before `created` if a record waited for its topic or for memory. `serial` gives the order in
    which batches were opened. `state` is a number of `BatchState`. `sequence` is assigned when the batch
    is first written. `maybe_written` tells that an earlier attempt may have written the batch.
    `split_of` is the uncompressed size of the batch that this one was split from, 0 if there is none.
    """

    __slots__ = (
        "attempts",
        "builder",
        "created",
        "last_error",
        "maybe_written",
        "oldest_send",
        "producer_epoch",
        "producer_id",
        "queue",
        "result",
        "sequence",
        "serial",
        "split_of",
        "state",
    )

    def __init__(
        self,
        queue: PartitionQueue,
        builder: RecordBatchBuilder,
        result: BatchResult,
        created: float,
        serial: int,
    ) -> None:
        self.queue = queue
        self.builder = builder
        self.result = result
        self.created = created
        self.oldest_send = created
        self.serial = serial
        self.state: int = _OPEN
        self.attempts = 0
        self.maybe_written = False
        self.producer_id = -1
        self.producer_epoch = -1
        self.sequence = NO_SEQUENCE
        self.split_of = 0
        self.last_error: Exception | None = None

    @property
    def count(self) -> int:
        """How many records it holds."""
        return self.builder.count

    @property
    def charged(self) -> int:
        """How many bytes of `buffer_memory` it holds: its uncompressed size, until it is released."""
        return 0 if self.state == _RELEASED else self.builder.raw_size

    @property
    def is_in_flight(self) -> bool:
        """Whether it was taken for a request that has not ended: it may be on the wire."""
        return self.state == _IN_FLIGHT

    def piece(self, builder: RecordBatchBuilder, result: BatchResult, index: int) -> ProducerBatch:
        """Return a new batch for a part of this one that begins with record `index`, with the same age."""
        # The serials of batches are 2**26 apart, so the pieces stay in front of the next batch.
        piece = ProducerBatch(self.queue, builder, result, self.created, self.serial + index)
        piece._continue(self)
        return piece

    def _continue(self, whole: ProducerBatch) -> None:
        self.oldest_send = whole.oldest_send
        self.attempts = whole.attempts
        # If an attempt of the whole batch may be in the log, so may each piece.
        self.maybe_written = whole.maybe_written
        self.split_of = whole.builder.raw_size
        self.close()

    def release(self) -> int:
        """Give its memory back; return how many bytes it held, 0 at the second call."""
        if self.state == _RELEASED:
            return 0
        self._enter(_RELEASED, _TO_RELEASED)
        return self.builder.raw_size

    def close(self) -> None:
        """Take no more records."""
        self._enter(_CLOSED, _TO_CLOSED)

    def age(self, sent_at: float) -> bool:
        """Take in the time of a record's `send`; return whether the batch is older by that."""
        if sent_at >= self.oldest_send:
            return False
        self.oldest_send = sent_at
        return True

    def take(self) -> None:
        """Take it out of its queue, for a request."""
        self._enter(_IN_FLIGHT, _TO_IN_FLIGHT)

    def land(self) -> bool:
        """Note that its request is over; return whether there was one."""
        if self.state != _IN_FLIGHT:
            return False
        self._enter(_CLOSED, _TO_CLOSED)
        return True

    def retry(self, error: Exception) -> None:
        """Count an attempt that failed."""
        self.attempts += 1
        self.last_error = error

    def doubt(self) -> None:
        """Note that the last attempt may have written it."""
        self.maybe_written = True

    def resolve_doubt(self, *, maybe_written: bool) -> None:
        """Note that no attempt can have written it to the present log, or that one still may have."""
        self.maybe_written = maybe_written

    def number(self, producer_id: int, producer_epoch: int, sequence: int) -> None:
        """Assign the sequence of its first record."""
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.sequence = sequence

    def drop_sequence(self) -> None:
        """Forget the sequence: the log that it belongs to was replaced."""
        self.sequence = NO_SEQUENCE

    def _enter(self, state: int, sources: int) -> None:
        if not self.state & sources:
            message = f"{self!r} cannot go from {BatchState(self.state).name} to {BatchState(state).name}"
            raise RuntimeError(message)
        self.state = state

    def __repr__(self) -> str:
        state = "done" if self.result.done else "in flight" if self.state == _IN_FLIGHT else "queued"
        queue = self.queue
        return (
            f"<ProducerBatch {queue.topic}-{queue.partition} records={self.builder.count} "
            f"sequence={self.sequence} attempts={self.attempts} {state}>"
        )
