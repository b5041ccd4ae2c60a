"""Reads records with librdkafka, an independent client."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

_TIMESTAMP_TYPES = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}
_PARTITION_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's documented name
_RECORDS_A_CALL = 10_000


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """A record from the log; `timestamp_type` is Kafka's name, None without a timestamp."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int
    timestamp_type: str | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        timestamp_type, timestamp_ms = message.timestamp()
        headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            key=message.key(),
            value=message.value(),
            headers=tuple(headers),
            timestamp_ms=timestamp_ms,
            timestamp_type=_TIMESTAMP_TYPES.get(timestamp_type),
        )


def consume(
    bootstrap: str, topic: str, expected: int, timeout: float = 30.0, *, read_committed: bool = False
) -> list[ConsumedRecord]:
    """Return all records of `topic`, each partition's in log order, with every CRC checked.

    Waits for at least `expected` records, then reads every partition to its end, so that extra
    records are found too. Raises TimeoutError if fewer arrive within `timeout` seconds.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "aioproducer-tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 20,  # an empty response marks a partition's end
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
            "allow.auto.create.topics": False,
            "log_level": 0,
        }
    )
    try:
        partitions = set(consumer.list_topics(topic, timeout).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        return _read_to_the_end(consumer, topic, partitions, expected, timeout)
    finally:
        consumer.close()


def _read_to_the_end(
    consumer: Consumer, topic: str, partitions: set[int], expected: int, timeout: float
) -> list[ConsumedRecord]:
    deadline = time.monotonic() + timeout
    records: list[ConsumedRecord] = []
    ended: set[int] = set()
    while len(records) < expected or ended != partitions:
        if time.monotonic() >= deadline:
            message = (
                f"{topic} gave {len(records)} of {expected} records within {timeout:g} s; "
                f"{len(ended)} of {len(partitions)} partitions were read to the end"
            )
            raise TimeoutError(message)
        for consumed in consumer.consume(_RECORDS_A_CALL, timeout=0.1):
            error, partition = consumed.error(), consumed.partition()
            if error is None:
                records.append(ConsumedRecord.from_message(consumed))
                ended -= {partition}
            elif error.code() == _PARTITION_END and partition is not None:
                ended.add(partition)
            else:
                raise KafkaException(error)
    return records
