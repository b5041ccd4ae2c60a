"""Records with keys go to the partitions of other clients: Kafka's Java producer, and librdkafka."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer as ConfluentProducer

from aioproducer import Producer
from tests.integration.kafka import Kafka

PARTITIONS = 7

KEYS = [
    "",
    " ",
    "\x00",
    "ключ",
    "鍵" * 20,
    "🗝",
    "a" * 10_000,
    *(str(number) for number in range(300)),
    *("x" * length for length in range(1, 20)),
]


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


def placed(kafka: Kafka, topic: str) -> dict[str, int]:
    records = kafka.consume(topic, expected=len(KEYS))
    assert len(records) == len(KEYS)
    return {record.key.decode(): record.partition for record in records if record.key is not None}


async def assert_keys_land_where_java_puts_them(broker: Kafka, topic_name: str) -> None:
    ours = await asyncio.to_thread(broker.create_topic, f"{topic_name}-ours", PARTITIONS)
    javas = await asyncio.to_thread(broker.create_topic, f"{topic_name}-java", PARTITIONS)

    await asyncio.to_thread(broker.console_producer, javas, [(key, "value") for key in KEYS])
    async with Producer(broker.bootstrap) as producer:
        for key in KEYS:
            producer.send(ours, b"value", key=key.encode())

    expected = await asyncio.to_thread(placed, broker, javas)
    assert set(expected.values()) == set(range(PARTITIONS))
    assert await asyncio.to_thread(placed, broker, ours) == expected


@pytest.mark.scenario("key-partitioning")
async def test_keys_match_java_partitions(broker: Kafka, topic_name: str) -> None:
    await assert_keys_land_where_java_puts_them(broker, topic_name)


async def test_crc32_matches_librdkafka(kafka: Kafka, topic_name: str) -> None:
    ours = await asyncio.to_thread(kafka.create_topic, f"{topic_name}-ours", PARTITIONS)
    theirs = await asyncio.to_thread(kafka.create_topic, f"{topic_name}-theirs", PARTITIONS)
    # librdkafka treats an empty key as no key.
    keys = [key for key in KEYS if key]

    librdkafka = ConfluentProducer({"bootstrap.servers": kafka.bootstrap, "partitioner": "consistent_random"})
    for key in KEYS:
        librdkafka.produce(theirs, b"value", key=key.encode())
    assert await asyncio.to_thread(librdkafka.flush, 30) == 0
    async with Producer(kafka.bootstrap, partitioner="crc32") as producer:
        for key in KEYS:
            producer.send(ours, b"value", key=key.encode())

    expected = await asyncio.to_thread(placed, kafka, theirs)
    found = await asyncio.to_thread(placed, kafka, ours)
    assert [found[key] for key in keys] == [expected[key] for key in keys]
