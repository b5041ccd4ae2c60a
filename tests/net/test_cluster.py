"""The metadata of topics and leaders, and its changes."""

import asyncio
from dataclasses import replace

import pytest

from aioproducer import (
    AuthorizationError,
    InvalidTopicError,
    UnknownPartitionError,
    UnknownTopicError,
)
from aioproducer.protocol.metadata import MetadataResponse
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import insides, quick, turns, until
from tests.net.relay import Relay

SOON = 30


def _asks_for_topics(relay: Relay) -> int:
    # The request to the bootstrap server names no topics.
    return len(relay.asked(ApiKey.METADATA)) - 1


async def test_records_wait_for_topic_in_order() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        held = cluster.on(ApiKey.METADATA).hold()
        deliveries = [producer.send("orders", b"%d" % number) for number in range(10)]
        await held.hit()
        deliveries += [producer.send("orders", b"%d" % number) for number in range(10, 20)]
        held.release()
        assert [(await delivery).offset for delivery in deliveries] == list(range(20))
    assert [record.value for record in cluster.records("orders")] == [b"%d" % n for n in range(20)]


@pytest.mark.scenario("missing-topic")
async def test_topic_is_created_automatically() -> None:
    async with FakeCluster(default_partitions=4) as cluster, quick(cluster) as producer:
        assert (await producer.send("new", b"1")).topic == "new"
        assert [partition.index for partition in await producer.partitions_for("new")] == [0, 1, 2, 3]
        assert len(await producer.partitions_for("another")) == 4


async def test_unknown_topics_share_request() -> None:
    async with FakeCluster() as cluster, Relay(cluster) as relay, quick(cluster) as producer:
        await asyncio.gather(*[producer.send(f"topic-{number}", b"1").future() for number in range(300)])
        assert _asks_for_topics(relay) <= 4


async def test_new_topics_cost_few_requests() -> None:
    """Known topics, one after the other, cost at most one request each."""
    topics = {f"topic-{number}": 1 for number in range(30)}
    async with FakeCluster(topics=topics) as cluster, Relay(cluster) as relay, quick(cluster) as producer:
        for topic in topics:
            await producer.send(topic, b"1")
        assert _asks_for_topics(relay) <= 30


@pytest.mark.simulated
@pytest.mark.scenario("missing-topic")
async def test_topic_stays_unknown() -> None:
    """Requests back off, and the records fail within `max_block_ms`."""
    async with (
        FakeCluster(auto_create_topics=False, topics={"orders": 1}) as cluster,
        Relay(cluster) as relay,
        quick(cluster, max_block_ms=1_000, retry_backoff_ms=100, retry_backoff_max_ms=1_000) as producer,
    ):
        loop = asyncio.get_running_loop()
        started = loop.time()
        deliveries = [producer.send("nowhere", b"1") for _ in range(20)]
        while not deliveries[-1].done():
            deliveries.append(producer.send("nowhere", b"1"))
            await asyncio.sleep(0.01)
            if len(deliveries) > 60:
                break
        with pytest.raises(
            UnknownTopicError, match=r"max_block_ms \(1000\).*UNKNOWN_TOPIC_OR_PARTITION"
        ) as raised:
            await deliveries[0]
        assert raised.value.topic == "nowhere"
        assert 0.9 < loop.time() - started < 1.2
        with pytest.raises(UnknownTopicError, match="UNKNOWN_TOPIC_OR_PARTITION"):
            await producer.partitions_for("nowhere")
        assert (await producer.send("orders", b"1")).offset == 0
        elapsed = loop.time() - started
        assert _asks_for_topics(relay) <= 10 * elapsed + 2


@pytest.mark.scenario("missing-topic")
async def test_late_topic_is_found() -> None:
    async with FakeCluster(auto_create_topics=False) as cluster, quick(cluster) as producer:
        fault = cluster.on(ApiKey.METADATA, times=None).rewrite(lambda answer: answer)
        delivery = producer.send("late", b"1")
        await until(lambda: fault.hits > 2)
        cluster.create_topic("late")
        assert (await asyncio.wait_for(delivery, SOON)).offset == 0


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ErrorCode.TOPIC_AUTHORIZATION_FAILED, AuthorizationError),
        (ErrorCode.INVALID_TOPIC_EXCEPTION, InvalidTopicError),
    ],
)
async def test_unusable_topic_fails_at_once(code: ErrorCode, error: type[Exception]) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        fault = cluster.on(ApiKey.METADATA, topic="orders", times=None).answer(code)
        async with asyncio.timeout(SOON / 2):
            with pytest.raises(error, match=code.name):
                await producer.send("orders", b"1")
            with pytest.raises(error, match=code.name):
                await producer.partitions_for("orders")
        assert fault.hits <= 4
        cluster.heal()
        assert (await asyncio.wait_for(producer.send("orders", b"1"), SOON)).offset == 0


@pytest.mark.simulated
@pytest.mark.scenario("new-partitions")
async def test_missing_partition_is_refused() -> None:
    """The record waits `max_block_ms` for its partition first."""
    async with FakeCluster(topics={"orders": 2}) as cluster:
        async with quick(cluster, max_block_ms=300) as producer:
            with pytest.raises(UnknownPartitionError, match="has 2 partitions") as raised:
                await asyncio.wait_for(producer.send("orders", b"1", partition=7), SOON)
            assert (raised.value.partition, raised.value.partitions) == (7, 2)
        async with quick(cluster) as producer:
            delivery = producer.send("orders", b"1", partition=2)
            await producer.send("orders", b"1", partition=1)
            cluster.add_partitions("orders", 3)
            assert (await asyncio.wait_for(delivery, SOON)).partition == 2
            assert len(await producer.partitions_for("orders")) == 3


@pytest.mark.simulated
@pytest.mark.scenario("leader-hint")
async def test_leader_hint_is_used() -> None:
    """A Produce response names the leader (KIP-951): no Metadata request is sent."""
    async with (
        FakeCluster(2, {"orders": 2}) as cluster,
        quick(cluster, retry_backoff_ms=2_000, retry_backoff_max_ms=2_000) as producer,
    ):
        for partition in (0, 1):
            await producer.send("orders", b"0", partition=partition)
        asked = cluster.on(ApiKey.METADATA, times=None).hold()
        cluster.move_leader("orders", 0, to=2)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.wait_for(producer.send("orders", b"1", partition=0), SOON)
        assert loop.time() - started < 1.5
        assert [record.value for record in cluster.records("orders", 0)] == [b"0", b"1"]
        asked.release()
        cluster.heal()


@pytest.mark.scenario("leader-hint")
async def test_leader_without_hint_is_requested() -> None:
    versions = {ApiKey.PRODUCE: 9}
    async with (
        FakeCluster(2, {"orders": 1}, max_versions=versions) as cluster,
        quick(cluster) as producer,
    ):
        await producer.send("orders", b"0")
        cluster.move_leader("orders", 0, to=2)
        await asyncio.wait_for(producer.send("orders", b"1"), SOON)
        assert [record.value for record in cluster.records("orders")] == [b"0", b"1"]


async def test_idle_leader_is_replaced() -> None:
    """The leader is lost while no request is in flight."""
    async with FakeCluster(2, {"orders": 1}) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"0")
        await cluster.stop_node(cluster.leader_of("orders", 0))
        await asyncio.wait_for(producer.send("orders", b"1"), SOON)
    assert [record.value for record in cluster.records("orders")] == [b"0", b"1"]


@pytest.mark.scenario("leaderless-partition")
async def test_partition_waits_for_leader() -> None:
    async with FakeCluster(2, {"orders": 2}) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"0", partition=0)
        cluster.move_leader("orders", 0, to=-1)
        delivery = producer.send("orders", b"1", partition=0)
        await producer.send("orders", b"elsewhere", partition=1)
        await asyncio.sleep(0.05)
        assert not delivery.done()
        cluster.move_leader("orders", 0, to=2)
        assert (await asyncio.wait_for(delivery, SOON)).offset == 1


@pytest.mark.scenario("topic-ids")
async def test_recreated_topic_is_found() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        for _ in range(3):
            await producer.send("orders", b"old")
        cluster.delete_topic("orders")
        cluster.create_topic("orders", 2)
        deliveries = [producer.send("orders", b"new", partition=partition) for partition in (0, 1)]
        async with asyncio.timeout(SOON):
            for delivery in deliveries:
                await delivery
    assert [record.value for record in cluster.records("orders")] == [b"new", b"new"]


@pytest.mark.scenario("brokers-replaced")
async def test_replaced_nodes_lead_to_rebootstrap() -> None:
    async with FakeCluster(3, {"orders": 3}, replication_factor=3) as cluster:
        await cluster.stop_node(3)
        async with quick(cluster) as producer:
            for partition in range(3):
                await producer.send("orders", b"0", partition=partition)
            await cluster.start_node(3)
            await cluster.stop_node(1)
            await cluster.stop_node(2)
            deliveries = [producer.send("orders", b"1", partition=partition) for partition in range(3)]
            async with asyncio.timeout(SOON):
                for delivery in deliveries:
                    await delivery
            assert {node.leader_id for node in await producer.partitions_for("orders")} <= {1, 2, 3}
    assert [record.value for record in cluster.records("orders")] == [b"0", b"1"] * 3


@pytest.mark.simulated
async def test_recovery_without_rebootstrap() -> None:
    """With `metadata_recovery_strategy="none"` only known nodes are asked."""
    async with FakeCluster(2, {"orders": 1}) as cluster:
        await cluster.stop_node(2)
        async with quick(
            cluster, metadata_recovery_strategy="none", delivery_timeout_ms=700, request_timeout_ms=100
        ) as producer:
            await producer.send("orders", b"0")
            await cluster.start_node(2)
            await cluster.stop_node(1)
            with pytest.raises(TimeoutError):
                await producer.send("orders", b"1")


@pytest.mark.scenario("brokers-replaced")
async def test_broker_requires_rebootstrap() -> None:
    def refuse(answer: MetadataResponse) -> MetadataResponse:
        return replace(answer, error_code=ErrorCode.REBOOTSTRAP_REQUIRED)

    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        fault = cluster.on(ApiKey.METADATA).rewrite(refuse)
        assert (await asyncio.wait_for(producer.send("orders", b"1"), SOON)).offset == 0
        assert fault.hits == 1


async def test_invalid_metadata_is_harmless() -> None:
    def nonsense(answer: MetadataResponse) -> MetadataResponse:
        nodes = tuple(replace(node, host="a..b") for node in answer.brokers)
        return replace(answer, brokers=nodes)

    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        cluster.on(ApiKey.METADATA).rewrite(nonsense)
        assert (await asyncio.wait_for(producer.send("orders", b"1"), SOON)).offset == 0


@pytest.mark.scenario("unused-topic")
async def test_idle_topic_is_found_again() -> None:
    async with (
        FakeCluster(topics={"orders": 1, "audit": 1}) as cluster,
        Relay(cluster) as relay,
        quick(cluster, metadata_max_age_ms=50, metadata_max_idle_ms=5_000) as producer,
    ):
        await producer.send("orders", b"1")
        await producer.send("audit", b"1")
        asked = _asks_for_topics(relay)
        await until(lambda: _asks_for_topics(relay) > asked + 2)
        engine = insides(producer)
        engine.accumulator.topics["audit"].last_used -= 6
        engine.metadata._used["audit"] -= 6  # noqa: SLF001 - instead of waiting five seconds
        await until(lambda: "audit" not in engine.metadata.topics)
        assert "audit" not in producer.metrics()["producer-topic-metrics"]
        assert (await asyncio.wait_for(producer.send("audit", b"2"), SOON)).offset == 1
        await turns()
        assert "orders" in engine.metadata.topics
