# cython: annotation_typing=False
"""A batch: records of one partition, from the first record to the acknowledgement.

    open ──full, linger over──▶ closed ──taken──▶ in flight ──response──▶ resolved, released
                                   ▲                  │
                                   └── retry, split ──┘

`core/queues.py` has the queues that hold batches. Every change of a batch's state is a method here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioproducer.batch_result import BatchResult
    from aioproducer.core.queues import PartitionQueue
    from aioproducer.records.batch import RecordBatchBuilder

NEVER = float("inf")
"""The time of something that is not planned."""

NO_SEQUENCE = -1
"""The sequence of a batch that was not sent yet."""


class ProducerBatch:
    """A batch and the state of its delivery.

    `created` is when the batch was opened; linger counts from it. `oldest_send` is the time of the
    earliest `send` of its records; the delivery timeout counts from it, over all retries and splits.
    It is before `created` if a record waited for its topic or for memory. `serial` gives the order in
    which batches were opened. `in_flight` lasts from `take` to `land`: in compression or in a request.
    `sequence` is assigned when the batch is first written. `maybe_written` tells that an earlier attempt
    may have written the batch. `split_of` is the uncompressed size of the batch that this one was split
    from, 0 if there is none.
    """

    __slots__ = (
        "attempts",
        "builder",
        "created",
        "in_flight",
        "is_released",
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
        self.is_released = False
        self.attempts = 0
        self.in_flight = False
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
        return 0 if self.is_released else self.builder.raw_size

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

    def release(self) -> int:
        """Give its memory back; return how many bytes it held, 0 at the second call."""
        held = self.charged
        self.is_released = True
        return held

    def age(self, sent_at: float) -> bool:
        """Take in the time of a record's `send`; return whether the batch is older by that."""
        if sent_at >= self.oldest_send:
            return False
        self.oldest_send = sent_at
        return True

    def take(self) -> None:
        """Take it out of its queue, for a request."""
        self.in_flight = True

    def land(self) -> bool:
        """Note that its request is over; return whether there was one."""
        was_in_flight = self.in_flight
        self.in_flight = False
        return was_in_flight

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

    def __repr__(self) -> str:
        state = "done" if self.result.done else "in flight" if self.in_flight else "queued"
        queue = self.queue
        return (
            f"<ProducerBatch {queue.topic}-{queue.partition} records={self.builder.count} "
            f"sequence={self.sequence} attempts={self.attempts} {state}>"
        )
