"""Leaders die, freeze, hand over and restart in mid-stream: each record is in the log once, in order."""

from __future__ import annotations

import asyncio

import pytest

from aioproducer import Producer
from tests.integration.kafka import KafkaCluster
from tests.integration.stream import Stream

RECORDS = 200_000
PARTITIONS = 3

BRIEF = {
    "linger_ms": 2,
    "buffer_memory": 256 * 1024,
    "reconnect_backoff_max_ms": 200,
    "retry_backoff_max_ms": 200,
}
"""A small buffer: what happens to one leader halts the stream, so that it happens in mid-stream."""


@pytest.fixture(params=["kafka_three", "kafka_361_three"])
def cluster(request: pytest.FixtureRequest) -> KafkaCluster:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, KafkaCluster)
    return kafka


@pytest.fixture
def topic(cluster: KafkaCluster, topic_name: str) -> str:
    config = {"min.insync.replicas": 2}
    return cluster.create_topic(topic_name, partitions=PARTITIONS, replication=3, config=config)


async def test_a_leader_is_killed(cluster: KafkaCluster, topic: str) -> None:
    async with Producer(cluster.bootstrap, **BRIEF) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(RECORDS // 4)
            cluster.kill(cluster.leader(topic, 1))
            assert stream.pending
            await stream.sent(RECORDS)

    await stream.check(cluster)


async def test_a_leader_freezes_for_ten_seconds(cluster: KafkaCluster, topic: str) -> None:
    async with Producer(cluster.bootstrap, **BRIEF) as producer:
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


async def test_leaders_move(cluster: KafkaCluster, topic: str) -> None:
    async with Producer(cluster.bootstrap, **BRIEF) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing(pause=0.01):
            await stream.acknowledged(1_000)
            for node in (*cluster.node_ids, *cluster.node_ids):
                await asyncio.to_thread(cluster.move_leader, topic, 0, node)
                await stream.acknowledged(len(stream.deliveries) + 1_000)

    await stream.check(cluster)


async def test_all_brokers_are_restarted_one_after_the_other(cluster: KafkaCluster, topic: str) -> None:
    async with Producer(cluster.bootstrap, **BRIEF) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing(pause=0.05):
            for node in cluster.node_ids:
                await asyncio.to_thread(cluster.restart, node)
                await stream.acknowledged(len(stream.deliveries) + 1_000)

    await stream.check(cluster)


async def test_a_leader_that_nothing_was_on_the_way_to_is_killed(cluster: KafkaCluster, topic: str) -> None:
    async with Producer(cluster.bootstrap, **BRIEF) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(1_000)
        cluster.kill(cluster.leader(topic, 0))
        async with stream.flowing():
            await stream.acknowledged(len(stream.deliveries) + 1_000)

    await stream.check(cluster)


async def test_a_leader_that_was_never_connected_to_is_killed(cluster: KafkaCluster, topic: str) -> None:
    async with Producer(cluster.bootstrap, **BRIEF) as producer:
        await producer.partitions_for(topic)
        cluster.kill(cluster.leader(topic, 0))
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing():
            await stream.acknowledged(1_000)

    await stream.check(cluster)
