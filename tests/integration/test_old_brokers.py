"""A producer with its default options, and a broker of Kafka 2.8: no KRaft, no topic ids, Produce 9."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aioproducer import Producer
from tests.integration.stream import Stream
from tests.integration.test_codecs import BATCH, CODECS, assert_every_shape_comes_back
from tests.integration.test_partitions import assert_keys_land_where_java_puts_them

if TYPE_CHECKING:
    from tests.integration.kafka import KafkaCluster

pytestmark = pytest.mark.scenario("mixed-releases")


@pytest.mark.scenario("codecs")
@pytest.mark.parametrize("codec", CODECS)
async def test_every_record_shape_is_read_back(kafka_282: KafkaCluster, topic_name: str, codec: str) -> None:
    await assert_every_shape_comes_back(kafka_282, topic_name, codec)


async def test_log_passes_kafkas_check(kafka_282: KafkaCluster, topic_name: str) -> None:
    """Assert that each batch has the producer's id, and continues the sequence."""
    topic = await asyncio.to_thread(kafka_282.create_topic, topic_name)

    async with Producer(kafka_282.bootstrap, compression_type="lz4") as producer:
        for number in range(5_000):
            producer.send(topic, b"%d" % number)
            await producer.drain()

    dump = await asyncio.to_thread(kafka_282.dump_log, topic)
    batches = [found.groupdict() for found in BATCH.finditer(dump)]
    assert {(batch["codec"], batch["valid"]) for batch in batches} == {("LZ4", "true")}
    (producer_id,) = {batch["producer"] for batch in batches}
    assert int(producer_id) >= 0
    assert [batch["sequence"] for batch in batches] == [batch["base"] for batch in batches]
    assert sum(int(batch["count"]) for batch in batches) == 5_000


@pytest.mark.scenario("key-partitioning")
async def test_keys_match_java_partitions(kafka_282: KafkaCluster, topic_name: str) -> None:
    await assert_keys_land_where_java_puts_them(kafka_282, topic_name)


@pytest.mark.parametrize("acks", [0, 1])
async def test_every_acks_setting_stores_records(kafka_282: KafkaCluster, topic_name: str, acks: int) -> None:
    topic = await asyncio.to_thread(kafka_282.create_topic, topic_name)
    values = [b"%d" % number for number in range(5_000)]

    async with Producer(kafka_282.bootstrap, acks=acks, enable_idempotence=False) as producer:
        deliveries = [producer.send(topic, value) for value in values]

    offsets = [delivery.result().offset for delivery in deliveries]
    assert offsets == ([-1] * len(values) if acks == 0 else list(range(len(values))))
    records = await asyncio.to_thread(kafka_282.consume, topic, len(values))
    assert [record.value for record in records] == values


@pytest.mark.slow
@pytest.mark.scenario("broker-restarts")
async def test_broker_restarts_in_mid_stream(kafka_282: KafkaCluster, topic_name: str) -> None:
    topic = await asyncio.to_thread(kafka_282.create_topic, topic_name, 3)
    async with Producer(kafka_282.bootstrap, buffer_memory=256 * 1024) as producer:
        stream = Stream(producer, topic, partitions=3)
        async with stream.flowing():
            await stream.acknowledged(20_000)
            await asyncio.to_thread(kafka_282.restart, 1)
            await stream.acknowledged(len(stream.deliveries) + 20_000)

    await stream.check(kafka_282)
