"""A record in the log of a fake cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.record import Header
    from aioproducer.testing.log import PartitionLog


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """One stored record with its place.

    `timestamp_ms` (since 1970) is the producer's, or the broker's if the topic has LogAppendTime.
    `headers` is a tuple of (name, value) pairs.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


def read_log(topic: str, partition: int, log: PartitionLog) -> Iterator[StoredRecord]:
    """Decode the records of a partition, in offset order."""
    # Offsets in a batch are relative: base offset 10 and delta 2 make offset 12.
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
