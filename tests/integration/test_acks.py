"""The settings of acks: none, the leader, all replicas, and too few replicas."""

from __future__ import annotations

import asyncio
import time

import pytest

from aioproducer import DeliveryTimeoutError, Producer
from tests.integration.kafka import Kafka, KafkaCluster
from tests.integration.polling import until

NUMBERS = [b"%06d" % number * 20 for number in range(20_000)]


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


@pytest.fixture(params=["kafka_three", pytest.param("kafka_361_three", marks=pytest.mark.slow)])
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, KafkaCluster)
    return kafka


@pytest.mark.scenario("acks-zero")
@pytest.mark.parametrize("acks", [0, 1, "all"])
@pytest.mark.parametrize("codec", ["none", "gzip"])
async def test_every_acks_setting_stores_records(
    broker: Kafka, topic_name: str, acks: int | str, codec: str
) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)

    async with Producer(
        broker.bootstrap, acks=acks, enable_idempotence=False, compression_type=codec
    ) as producer:
        deliveries = []
        for value in NUMBERS:
            deliveries.append(producer.send(topic, value))
            await producer.drain()

    offsets = [delivery.result().offset for delivery in deliveries]
    assert offsets == ([-1] * len(NUMBERS) if acks == 0 else list(range(len(NUMBERS))))
    records = await asyncio.to_thread(broker.consume, topic, len(NUMBERS))
    assert [record.value for record in records] == NUMBERS


async def test_acks_0_stop_waits_for_writes(kafka: Kafka, topic_name: str) -> None:
    if not isinstance(kafka, KafkaCluster):
        pytest.skip("only a broker of our own can be frozen")
    topic = await asyncio.to_thread(kafka.create_topic, topic_name, config={"max.message.bytes": 2_000_000})
    values = [b"%06d" % number * 1_700 for number in range(1_500)]
    producer = Producer(kafka.bootstrap, acks=0, batch_size=500_000, linger_ms=0, send_buffer_bytes=16_384)
    await producer.start()
    await producer.send(topic, b"first")
    kafka.pause(1)

    for value in values:
        producer.send(topic, value)
    stopping = asyncio.create_task(producer.stop())
    await asyncio.sleep(0.5)
    assert not stopping.done()
    kafka.resume(1)
    await stopping

    records = await asyncio.to_thread(kafka.consume, topic, len(values) + 1)
    assert [record.value for record in records] == [b"first", *values]


@pytest.mark.scenario("acks-zero")
async def test_acks_0_finds_new_leader(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = await asyncio.to_thread(kafka_three.create_topic, topic_name)
    old = await asyncio.to_thread(kafka_three.leader, topic)
    new = next(node for node in kafka_three.node_ids if node != old)
    async with Producer(kafka_three.bootstrap, acks=0, linger_ms=0) as producer:
        await producer.send(topic, b"first")
        # Consumers read only records that every in-sync replica has.
        await asyncio.to_thread(kafka_three.consume, topic, 1)
        await asyncio.to_thread(kafka_three.move_leader, topic, 0, new)

        # This record goes to the old leader, which can only close the connection (acks=0).
        await producer.send(topic, b"lost")
        await asyncio.sleep(1)
        await producer.send(topic, b"last")

    records = await asyncio.to_thread(kafka_three.consume, topic, 2)
    assert [record.value for record in records] == [b"first", b"last"]


@pytest.mark.scenario("too-few-replicas")
async def test_missing_replicas_are_retried_in_time(cluster: KafkaCluster, topic_name: str) -> None:
    config = {"min.insync.replicas": 3}
    topic = await asyncio.to_thread(cluster.create_topic, topic_name, config=config)
    leader = await asyncio.to_thread(cluster.leader, topic)
    async with (
        Producer(cluster.bootstrap, retry_backoff_max_ms=100) as patient,
        Producer(
            cluster.bootstrap, linger_ms=0, request_timeout_ms=3_000, delivery_timeout_ms=3_000
        ) as impatient,
    ):
        await patient.send(topic, b"first")
        await impatient.send(topic, b"second")
        await asyncio.to_thread(cluster.stop_node, next(id_ for id_ in cluster.node_ids if id_ != leader))
        # Until then the leader stores records, and answers that too few replicas have them.
        await asyncio.to_thread(
            until, "two replicas are in sync", lambda: len(cluster.partitions(topic)[0].in_sync) == 2, 30
        )

        waiting = [patient.send(topic, b"%d" % number) for number in range(1_000)]
        started = time.monotonic()
        with pytest.raises(DeliveryTimeoutError, match="NOT_ENOUGH_REPLICAS") as raised:
            await impatient.send(topic, b"given up")
        assert 2.9 <= time.monotonic() - started <= 10
        assert "NOT_ENOUGH_REPLICAS (19)" in str(raised.value)
        assert not any(delivery.done() for delivery in waiting)

        await asyncio.to_thread(cluster.alter_config, topic, {"min.insync.replicas": 2})
        await asyncio.wait_for(patient.flush(), 20)
        # The failed record leaves no gap in the sequences.
        await impatient.send(topic, b"last")

    records = await asyncio.to_thread(cluster.consume, topic, 1_003)
    values = [record.value for record in records]
    if raised.value.may_be_written and b"given up" in values:
        # The leader stored the record before it knew of the missing replica, and then refused it.
        values.remove(b"given up")
    assert values == [b"first", b"second", *(b"%d" % number for number in range(1_000)), b"last"]
