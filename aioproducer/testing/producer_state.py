"""The state of each producer id in a partition: no batch is stored twice or out of order.

The last five batches of a producer id are kept. A batch with the sequences of one of them is a
duplicate and gets the first copy's offset; any other batch must continue the last one (Kafka's
`ProducerStateEntry` and `ProducerAppendInfo`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from aioproducer.error_code import ErrorCode
from aioproducer.testing.refusal import Refused

BATCHES_REMEMBERED = 5
"""Kafka's `NUM_BATCHES_TO_RETAIN`, the reason for the limit of five requests in flight."""

SEQUENCES = 2**31
"""Sequences wrap: 0 follows 2,147,483,647."""


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """The sequences of one stored batch, its offset, and the time for responses to duplicates."""

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
        """Return the stored batch with exactly these sequences."""
        if epoch != self.epoch:
            return None
        for stored in self.batches:
            if stored.first == first and stored.last == last:
                return stored
        return None

    def check(self, epoch: int, first: int) -> None:
        """Raise Refused unless a batch may come next."""
        if epoch < self.epoch:
            reason = f"producer epoch {epoch} is older than {self.epoch} (producer id {self.producer_id})"
            raise Refused(ErrorCode.INVALID_PRODUCER_EPOCH, reason)
        # A new epoch starts at 0. In the same epoch the next sequence follows the last stored one:
        # after 0-4 comes 5. Without state any sequence may come first.
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
        """Add a batch; the first one of a new epoch drops those of the old epoch."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches.clear()
        self.batches.append(batch)


def last_sequence(first: int, count: int) -> int:
    """Return the sequence of the last of `count` records."""
    return (first + count - 1) % SEQUENCES
