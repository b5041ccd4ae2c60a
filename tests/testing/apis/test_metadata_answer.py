from uuid import uuid4

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponseTopic
from aioproducer.testing import ApiKey, FakeCluster
from tests.testing.raw_client import RawClient

ALL = MetadataRequest(topics=None)


def named(*names: str, create: bool = True) -> MetadataRequest:
    topics = tuple([MetadataRequestTopic(name) for name in names])
    return MetadataRequest(topics=topics, allow_auto_topic_creation=create)


async def test_every_version_has_nodes_and_leaders() -> None:
    async with FakeCluster(3, {"orders": 6}) as cluster, await RawClient.connect(cluster, 2) as client:
        for version in range(14):
            response = await client.ask(ALL if version else named(), version)
            assert ",".join(f"{b.host}:{b.port}" for b in response.brokers) == cluster.bootstrap
            [topic] = response.topics
            assert (topic.name, len(topic.partitions)) == ("orders", 6)
            assert [p.leader_id for p in topic.partitions] == [1, 2, 3, 1, 2, 3]
            assert topic.partitions[0].isr_nodes == (1, 2, 3)


async def test_empty_topic_list_returns_none() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        assert (await client.ask(named(), 1)).topics == ()


async def test_requested_topic_is_created() -> None:
    async with FakeCluster(default_partitions=4) as cluster, await RawClient.connect(cluster) as client:
        [first] = (await client.ask(named("new"), 9)).topics
        assert first.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        [second] = (await client.ask(named("new"), 9)).topics
        assert (second.error_code, len(second.partitions)) == (ErrorCode.NONE, 4)


async def test_topic_creation_can_be_off() -> None:
    """The request or the cluster can turn topic creation off."""
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        await client.ask(named("new", create=False), 9)
        assert not cluster.topology.topics
    async with FakeCluster(auto_create_topics=False) as cluster, await RawClient.connect(cluster) as client:
        await client.ask(named("new"), 9)
        assert not cluster.topology.topics


async def test_illegal_name_has_error() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        [topic] = (await client.ask(named("no spaces"), 9)).topics
        assert topic.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


async def test_topics_by_id_need_version_12() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        topic_id = cluster.topology.topic("orders").topic_id
        request = MetadataRequest(
            topics=(MetadataRequestTopic(None, topic_id), MetadataRequestTopic(None, uuid4()))
        )
        known, unknown = (await client.ask(request, 12)).topics
        assert (known.name, known.error_code) == ("orders", ErrorCode.NONE)
        assert (unknown.name, unknown.error_code) == (None, ErrorCode.UNKNOWN_TOPIC_ID)
        response = await client.ask(request, 11)
        assert (response.brokers, response.cluster_id) == ((), None)
        assert {topic.error_code for topic in response.topics} == {ErrorCode.INVALID_REQUEST}


async def test_leaderless_partition_has_error() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.move_leader("orders", 0, -1)
        [topic] = (await client.ask(ALL, 9)).topics
        [partition] = topic.partitions
        assert (partition.leader_id, partition.error_code) == (-1, ErrorCode.LEADER_NOT_AVAILABLE)
        assert partition.leader_epoch == 1


async def test_scripted_errors_and_missing_topics() -> None:
    async with FakeCluster(topics={"a": 1, "b": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.METADATA, topic="a").answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        a, b = (await client.ask(ALL, 9)).topics
        assert (a.error_code, a.partitions) == (ErrorCode.TOPIC_AUTHORIZATION_FAILED, ())
        assert b.error_code == ErrorCode.NONE
        cluster.on(ApiKey.METADATA, topic="a").leave_out()
        [left] = (await client.ask(named("a", "b"), 9)).topics
        assert isinstance(left, MetadataResponseTopic)
        assert left.name == "b"


async def test_repeated_topic_is_answered_once() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        assert [t.name for t in (await client.ask(named("orders", "orders"), 9)).topics] == ["orders"]


@pytest.mark.parametrize("name", ["", "no spaces", "..", "x" * 250])
async def test_illegal_name_without_creation(name: str) -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        [topic] = (await client.ask(named(name, create=False), 9)).topics
        assert topic.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


async def test_colliding_name_is_not_created() -> None:
    """Metric names replace dots by underscores, so Kafka creates no `a_b` beside `a.b`."""
    async with FakeCluster(topics={"a.b": 1}) as cluster, await RawClient.connect(cluster) as client:
        for _ in range(2):
            [topic] = (await client.ask(named("a_b"), 9)).topics
            assert topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert list(cluster.topology.topics) == ["a.b"]


async def test_topic_without_name_and_id() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        request = MetadataRequest(topics=(MetadataRequestTopic(None), MetadataRequestTopic("orders")))
        response = await client.ask(request, 12)
        assert {topic.error_code for topic in response.topics} == {ErrorCode.UNKNOWN_SERVER_ERROR}
        assert response.brokers == ()


async def test_authorized_operations_on_request() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        silent = await client.ask(ALL, 10)
        assert (
            silent.topics[0].topic_authorized_operations == silent.cluster_authorized_operations == -(2**31)
        )
        request = MetadataRequest(
            topics=(MetadataRequestTopic("orders"), MetadataRequestTopic("nothing")),
            allow_auto_topic_creation=False,
            include_topic_authorized_operations=True,
            include_cluster_authorized_operations=True,
        )
        told = await client.ask(request, 10)
        assert [topic.topic_authorized_operations for topic in told.topics] == [3576, 3576]
        assert told.cluster_authorized_operations == 8096


async def test_internal_topics_are_marked() -> None:
    cluster = FakeCluster(topics={"__consumer_offsets": 1, "orders": 1})
    async with cluster, await RawClient.connect(cluster) as client:
        assert [topic.is_internal for topic in (await client.ask(ALL, 9)).topics] == [True, False]
