"""Leaders are killed, frozen, moved and restarted in mid-stream: records are stored once, in order."""

from __future__ import annotations

import asyncio

import pytest

from aioproducer import Producer
from tests.integration.kafka import KafkaCluster
from tests.integration.stream import Stream

RECORDS = 200_000
PARTITIONS = 3


@pytest.fixture(params=["kafka_three", pytest.param("kafka_361_three", marks=pytest.mark.slow)])
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, KafkaCluster)
    return kafka


@pytest.fixture
def topic(cluster: KafkaCluster, topic_name: str) -> str:
    return create(cluster, topic_name)


def brief_producer(
    kafka: KafkaCluster, *, request_timeout_ms: int = 30_000, delivery_timeout_ms: int = 120_000
) -> Producer:
    """Return a producer with a small buffer: the stream stops while one leader is away."""
    return Producer(
        kafka.bootstrap,
        linger_ms=2,
        buffer_memory=256 * 1024,
        reconnect_backoff_max_ms=200,
        retry_backoff_max_ms=200,
        request_timeout_ms=request_timeout_ms,
        delivery_timeout_ms=delivery_timeout_ms,
    )


def create(kafka: KafkaCluster, name: str) -> str:
    return kafka.create_topic(name, PARTITIONS, replication=3, config={"min.insync.replicas": 2})


@pytest.mark.scenario("broker-restarts")
async def test_leader_is_killed(cluster: KafkaCluster, topic: str) -> None:
    async with brief_producer(cluster) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(RECORDS // 4)
            cluster.kill(cluster.leader(topic, 1))
            assert stream.pending
            await stream.sent(RECORDS)

    await stream.check(cluster)


@pytest.mark.slow
@pytest.mark.scenario("broker-restarts")
async def test_leader_freezes_ten_seconds(cluster: KafkaCluster, topic: str) -> None:
    async with brief_producer(cluster) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(RECORDS // 4)
            frozen = cluster.leader(topic, 2)
            cluster.pause(frozen)
            await asyncio.sleep(10)
            assert stream.pending
            cluster.resume(frozen)
            await stream.sent(RECORDS)

    await stream.check(cluster)


@pytest.mark.slow
async def test_frozen_leader_times_out(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = create(kafka_three, topic_name)
    async with brief_producer(kafka_three, request_timeout_ms=1_500) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(RECORDS // 4)
            frozen = kafka_three.leader(topic, 2)
            kafka_three.pause(frozen)
            # The other leaders continue, and batches that the killed one stored are not doubled.
            await stream.acknowledged(RECORDS)
            kafka_three.resume(frozen)
            await stream.acknowledged(len(stream.deliveries) + 10_000)

    await stream.check(kafka_three)


@pytest.mark.slow
async def test_failed_records_leave_no_gap(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = create(kafka_three, topic_name)
    async with brief_producer(kafka_three, request_timeout_ms=700, delivery_timeout_ms=1_000) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing(pause=0.02):
            await stream.acknowledged(10_000)
            frozen = kafka_three.leader(topic, 2)
            kafka_three.pause(frozen)
            await asyncio.sleep(5)
            kafka_three.resume(frozen)
            await asyncio.to_thread(kafka_three.wait_until_in_sync)
            recovered = len(stream.deliveries) + 1_000
            await stream.acknowledged(recovered + 10_000)

    failed = [number for number, delivery in enumerate(stream.deliveries) if delivery.exception()]
    assert failed
    assert max(failed) < recovered
    await stream.landed(kafka_three)


@pytest.mark.slow
@pytest.mark.scenario("broker-restarts")
async def test_leaders_move(cluster: KafkaCluster, topic: str) -> None:
    async with brief_producer(cluster) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing(pause=0.01):
            await stream.acknowledged(1_000)
            for node in (*cluster.node_ids, *cluster.node_ids):
                await asyncio.to_thread(cluster.move_leader, topic, 0, node)
                await stream.acknowledged(len(stream.deliveries) + 1_000)

    await stream.check(cluster)


@pytest.mark.slow
@pytest.mark.scenario("broker-restarts")
async def test_rolling_restart(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = create(kafka_three, topic_name)
    async with brief_producer(kafka_three) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing(pause=0.05):
            for node in kafka_three.node_ids:
                await asyncio.to_thread(kafka_three.restart, node)
                await stream.acknowledged(len(stream.deliveries) + 1_000)

    await stream.check(kafka_three)


@pytest.mark.slow
async def test_idle_leader_is_killed(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = create(kafka_three, topic_name)
    async with brief_producer(kafka_three) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(1_000)
        kafka_three.kill(kafka_three.leader(topic, 0))
        async with stream.flowing():
            await stream.acknowledged(len(stream.deliveries) + 1_000)

    await stream.check(kafka_three)


@pytest.mark.slow
async def test_unconnected_leader_is_killed(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = create(kafka_three, topic_name)
    async with brief_producer(kafka_three) as producer:
        await producer.partitions_for(topic)
        kafka_three.kill(kafka_three.leader(topic, 0))
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(1_000)

    await stream.check(kafka_three)
