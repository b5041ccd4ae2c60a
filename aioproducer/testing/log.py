"""One partition's log: batches, offsets, and the state of each producer id.

A batch is kept as its received bytes with its offset. Its records are decoded only when a test
reads them, so that producers do not wait for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.testing.producer_state import ProducerState, SequenceRange, last_sequence
from aioproducer.testing.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.records.reader import RecordBatch


@dataclass(frozen=True, slots=True)
class Appended:
    """The offset of a batch; `is_duplicate` if it was stored before.

    `log_append_time_ms` is -1 if the records keep their own time. For a duplicate it is the newest
    record's time, as in Kafka's response.
    """

    base_offset: int
    log_append_time_ms: int
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch in the log."""

    base_offset: int
    leader_epoch: int
    log_append_time_ms: int
    batch: RecordBatch


class PartitionLog:
    """The batches of one partition, with offsets from `start_offset` up to `end_offset`, exclusive."""

    def __init__(self, retention_bytes: int = -1) -> None:
        self.start_offset = 0
        self.end_offset = 0
        self.size = 0
        self.producers: dict[int, ProducerState] = {}
        self._retention_bytes = retention_bytes
        self._batches: deque[StoredBatch] = deque()

    def __iter__(self) -> Iterator[StoredBatch]:
        return iter(self._batches)

    def append(
        self,
        batch: RecordBatch,
        *,
        leader_epoch: int,
        log_append_time_ms: int,
        takes_unknown_producers: bool = True,
    ) -> Appended:
        """Store a batch, or return its first copy; raises Refused for a wrong sequence.

        `takes_unknown_producers`: whether a producer id without state may start at any sequence.
        """
        state = None
        last = -1
        if batch.producer_id >= 0:
            state = self.producers.get(batch.producer_id)
            if state is None:
                if batch.base_sequence and not takes_unknown_producers:
                    reason = f"nothing is known of producer id {batch.producer_id}"
                    raise Refused(ErrorCode.UNKNOWN_PRODUCER_ID, reason)
                state = ProducerState(batch.producer_id, batch.producer_epoch)
            last = last_sequence(batch.base_sequence, batch.record_count)
            # Look for a duplicate before the sequence check: a retry of sequences 0-4 after 5-9 is
            # out of order, but stored already.
            stored = state.duplicate_of(batch.producer_epoch, batch.base_sequence, last)
            if stored is not None:
                return Appended(stored.base_offset, stored.timestamp_ms, is_duplicate=True)
            state.check(batch.producer_epoch, batch.base_sequence)
        base_offset = self.end_offset
        self._batches.append(StoredBatch(base_offset, leader_epoch, log_append_time_ms, batch))
        self.end_offset += batch.record_count
        self.size += batch.size
        if state is not None:
            timestamp_ms = batch.max_timestamp if log_append_time_ms < 0 else log_append_time_ms
            sequences = SequenceRange(batch.base_sequence, last, base_offset, timestamp_ms)
            state.stored(batch.producer_epoch, sequences)
            self.producers[batch.producer_id] = state
        if self._retention_bytes >= 0:
            self._delete_old()
        return Appended(base_offset, log_append_time_ms)

    def delete_before(self, offset: int) -> None:
        """Drop the batches that end before `offset`, the new log start (Kafka's DeleteRecords)."""
        # A batch across the offset stays: its first records are below the log start, but readable.
        while self._batches and self._batches[0].base_offset + self._batches[0].batch.record_count <= offset:
            self.size -= self._batches.popleft().batch.size
        self.start_offset = max(self.start_offset, min(offset, self.end_offset))

    def forget_producer(self, producer_id: int | None) -> None:
        """Drop a producer id's state, as after `producer.id.expiration.ms`; None drops all."""
        if producer_id is None:
            self.producers.clear()
        else:
            self.producers.pop(producer_id, None)

    def _delete_old(self) -> None:
        # Delete whole batches, as Kafka deletes whole segments, and keep at least the last one.
        batches = self._batches
        while len(batches) > 1 and self.size - batches[0].batch.size >= self._retention_bytes:
            self.delete_before(batches[1].base_offset)
