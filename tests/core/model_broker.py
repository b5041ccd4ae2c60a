"""A log as Kafka keeps it, strict in what idempotence promises: for the model of a whole delivery.

What a leader remembers of a producer is written here a second time, apart from the package's
own fake cluster: two that err alike would agree.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from aioproducer.error_code import ErrorCode
from aioproducer.records.reader import RecordBatch

WINDOW = 5
SEQUENCES = 2**31


@dataclass(slots=True)
class Producer:
    """What a partition remembers of a producer id: epoch, and (first, last, offset) of its batches."""

    epoch: int
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))


class PartitionLog:
    """One partition: whoever leads it, the log is the same.

    A record's value is its number, which grows in the order of the sends. `is_strict` says that
    no number may come twice, or after a greater one; only what was sent under another producer id
    may, for a new id does not keep the old one's requests out. `demands_state` is how brokers
    before Kafka 2.5 were: a producer that is not known has to begin at 0.
    """

    def __init__(self, leader: int, *, is_strict: bool, demands_state: bool) -> None:
        self.leader = leader
        self.leader_epoch = 0
        self.numbers: list[int] = []
        self.max_size = 1 << 20
        self.producers: dict[int, Producer] = {}
        self.to_come = 0
        self.duplicates = 0
        self.is_strict = is_strict
        self._last_of: dict[int, int] = {}
        self.demands_state = demands_state

    def move(self, leader: int) -> None:
        """Elect another leader."""
        self.leader = leader
        self.leader_epoch += 1

    def restart(self) -> None:
        """Know no more than the snapshot that a broker writes: the last batch of each producer."""
        for producer in self.producers.values():
            while len(producer.batches) > 1:
                producer.batches.popleft()

    def append(self, data: bytes) -> tuple[ErrorCode, int]:
        """Store a batch as a leader does; return the error code, and the base offset if that is NONE."""
        batch = RecordBatch.parse(data)
        if len(data) > self.max_size:
            return ErrorCode.MESSAGE_TOO_LARGE, -1
        if batch.producer_id < 0:
            return ErrorCode.NONE, self._store(batch)
        first = batch.base_sequence
        last = (first + batch.record_count - 1) % SEQUENCES
        producer = self.producers.get(batch.producer_id)
        if producer is not None and producer.epoch == batch.producer_epoch:
            for known_first, known_last, offset in producer.batches:
                if (known_first, known_last) == (first, last):
                    self.duplicates += 1
                    return ErrorCode.NONE, offset
        refusal = self._refusal(producer, batch.producer_epoch, first)
        if refusal is not ErrorCode.NONE:
            return refusal, -1
        if producer is None or producer.epoch != batch.producer_epoch:
            producer = self.producers[batch.producer_id] = Producer(batch.producer_epoch)
        offset = self._store(batch)
        producer.batches.append((first, last, offset))
        return ErrorCode.NONE, offset

    def _refusal(self, producer: Producer | None, epoch: int, first: int) -> ErrorCode:
        if producer is None:
            if self.demands_state and first != 0:
                return ErrorCode.UNKNOWN_PRODUCER_ID
            return ErrorCode.NONE
        if epoch < producer.epoch:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        expected = 0
        if epoch == producer.epoch:
            expected = (producer.batches[-1][1] + 1) % SEQUENCES
        return ErrorCode.NONE if first == expected else ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER

    def _store(self, batch: RecordBatch) -> int:
        offset = len(self.numbers)
        for record in batch.records():
            number = int((record.value or b"").partition(b" ")[0])
            if self.is_strict:
                assert number not in self.numbers, f"record {number} is stored twice"
                last = self._last_of.get(batch.producer_id, -1)
                assert number > last, f"record {number} is stored after {last}"
                self._last_of[batch.producer_id] = number
            self.numbers.append(number)
        return offset
