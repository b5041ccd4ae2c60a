"""A record as it is found in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.record import Header
    from aioproducer.testing.log import PartitionLog


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """One record: where it is, and what was sent.

    `timestamp_ms` is the producer's, or the broker's where the topic has LogAppendTime.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


def read_log(topic: str, partition: int, log: PartitionLog) -> Iterator[StoredRecord]:
    """Decode what a partition holds, in the order of offsets."""
    for stored in log:
        for record in stored.batch.records():
            yield StoredRecord(
                topic=topic,
                partition=partition,
                offset=stored.base_offset + record.offset_delta,
                timestamp_ms=(
                    record.timestamp_ms if stored.log_append_time_ms < 0 else stored.log_append_time_ms
                ),
                key=record.key,
                value=record.value,
                headers=record.headers,
            )
