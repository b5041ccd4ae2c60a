"""What a partition remembers of each producer id, so that nothing is stored twice or out of order.

The one idea: of every producer the last five batches are kept. A batch with the sequences of one
of them is a duplicate and gets the first one's offset; any other must follow the last (Kafka's
`ProducerStateEntry` and `ProducerAppendInfo`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from aioproducer.error_code import ErrorCode
from aioproducer.testing.refusal import Refused

BATCHES_REMEMBERED = 5
"""Kafka's `NUM_BATCHES_TO_RETAIN`: why a producer may have five requests in flight."""

SEQUENCES = 2**31
"""After sequence 2,147,483,647 comes 0."""


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """The sequences of one stored batch, where it was stored, and the time that a duplicate is told."""

    first: int
    last: int
    base_offset: int
    timestamp_ms: int


@dataclass(slots=True)
class ProducerState:
    """One producer id in one partition."""

    producer_id: int
    epoch: int
    batches: deque[SequenceRange] = field(default_factory=lambda: deque(maxlen=BATCHES_REMEMBERED))

    def duplicate_of(self, epoch: int, first: int, last: int) -> SequenceRange | None:
        """Return the stored batch that has exactly these sequences."""
        if epoch != self.epoch:
            return None
        for stored in self.batches:
            if stored.first == first and stored.last == last:
                return stored
        return None

    def check(self, epoch: int, first: int) -> None:
        """Refuse a batch that must not come next."""
        if epoch < self.epoch:
            reason = f"producer epoch {epoch} is older than {self.epoch} (producer id {self.producer_id})"
            raise Refused(ErrorCode.INVALID_PRODUCER_EPOCH, reason)
        if epoch > self.epoch:
            expected = 0
        elif self.batches:
            expected = (self.batches[-1].last + 1) % SEQUENCES
        else:
            return
        if first != expected:
            reason = (
                f"sequence {first} came where {expected} was expected "
                f"(producer id {self.producer_id}, epoch {epoch})"
            )
            raise Refused(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, reason)

    def stored(self, epoch: int, batch: SequenceRange) -> None:
        """Remember a batch; the batches of an older epoch are forgotten."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches.clear()
        self.batches.append(batch)


def last_sequence(first: int, count: int) -> int:
    """Return the sequence of the last of `count` records."""
    return (first + count - 1) % SEQUENCES
