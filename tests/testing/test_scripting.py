"""Scripted faults, seen by a client."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic
from aioproducer.protocol.produce import (
    LeaderIdAndEpoch,
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from aioproducer.testing import ApiKey, FakeCluster, TopicConfig, UnmatchedFaultWarning
from tests.testing.batches import make_batch
from tests.testing.raw_client import RawClient, only_answer, produce_request

ORDERS = MetadataRequest(topics=(MetadataRequestTopic("orders"),))


def told(response: ProduceResponse) -> list[tuple[str, UUID, list[int]]]:
    return [(t.name, t.topic_id, [p.index for p in t.partition_responses]) for t in response.responses]


async def test_produce_adds_unasked_partitions() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.PRODUCE).add_unasked("orders", 7)
        cluster.on(ApiKey.PRODUCE).add_unasked("audit", 3)
        response = await client.ask(produce_request("orders", {0: make_batch(b"a")}), 9)
        assert told(response) == [("orders", ZERO_UUID, [0, 7]), ("audit", ZERO_UUID, [3])]


async def test_unasked_partitions_by_topic_id() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        topic_id = cluster.topology.topic("orders").topic_id
        cluster.on(ApiKey.PRODUCE).add_unasked("orders", 7)
        data = TopicProduceData("", topic_id, (PartitionProduceData(0, make_batch(b"a")),))
        response = await client.ask(ProduceRequest(acks=-1, timeout_ms=1, topic_data=(data,)), 13)
        assert told(response) == [("", topic_id, [0, 7])]


async def test_metadata_adds_unasked_partitions() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.METADATA).add_unasked("orders", 7)
        cluster.on(ApiKey.METADATA).add_unasked("audit", 3)
        orders, audit = (await client.ask(ORDERS, 12)).topics
        assert [p.partition_index for p in orders.partitions] == [0, 7]
        assert (audit.name, [p.leader_id for p in audit.partitions]) == ("audit", [1])


async def test_partition_fault_in_metadata() -> None:
    async with FakeCluster(topics={"orders": 3}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.METADATA, topic="orders", partition=1).answer(ErrorCode.LEADER_NOT_AVAILABLE)
        cluster.on(ApiKey.METADATA, topic="orders", partition=2).leave_out()
        [topic] = (await client.ask(ORDERS, 12)).topics
        assert topic.error_code == ErrorCode.NONE
        assert [(p.partition_index, p.error_code, p.leader_id) for p in topic.partitions] == [
            (0, ErrorCode.NONE, 1),
            (1, ErrorCode.LEADER_NOT_AVAILABLE, -1),
        ]


async def test_topic_match_skips_empty_requests() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        fault = cluster.on(ApiKey.METADATA, topic="orders").leave_out()
        await client.ask(MetadataRequest(topics=()), 12)
        assert fault.hits == 0
        await client.ask(MetadataRequest(topics=None), 12)
        assert fault.hits == 1


@pytest.mark.simulated
async def test_throttle_can_mute_the_connection() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.METADATA).throttle(100, mutes=True)
        loop = asyncio.get_running_loop()
        assert (await client.ask(ORDERS, 12)).throttle_time_ms == 100
        answered = loop.time()
        assert (await client.ask(ORDERS, 12)).throttle_time_ms == 0
        assert loop.time() - answered >= 0.08


async def test_isr_shrinks_after_append() -> None:
    config = TopicConfig(min_insync_replicas=2)
    cluster = FakeCluster(2, {"orders": 1, "audit": 1}, topic_config=config)
    async with cluster, await RawClient.connect(cluster) as client:
        shrink = cluster.on(ApiKey.PRODUCE, topic="orders")
        shrink.run(lambda: cluster.shrink_isr("orders", 0, 2), after_storing=True)
        after = await client.produce("orders", 0, make_batch(b"a"))
        assert (after.error_code, after.base_offset) == (ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, 0)
        before = await client.produce("orders", 0, make_batch(b"b"))
        assert (before.error_code, before.base_offset) == (ErrorCode.NOT_ENOUGH_REPLICAS, -1)
        assert (await client.produce("orders", 0, make_batch(b"c"), acks=1)).error_code == ErrorCode.NONE
        assert (await client.produce("audit", 0, make_batch(b"d"))).error_code == ErrorCode.NONE
        cluster.expand_isr("orders", 0)
        assert (await client.produce("orders", 0, make_batch(b"e"))).error_code == ErrorCode.NONE
        assert [record.value for record in cluster.records("orders")] == [b"a", b"c", b"e"]


async def test_released_response_checks_replicas() -> None:
    """The in-sync replicas are checked when the held response is released."""
    config = TopicConfig(min_insync_replicas=2)
    cluster = FakeCluster(2, {"orders": 1}, topic_config=config)
    async with cluster, await RawClient.connect(cluster) as client:
        topic_id = cluster.topology.topic("orders").topic_id
        data = TopicProduceData("", topic_id, (PartitionProduceData(0, make_batch(b"a")),))
        for acks, code in ((-1, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND), (1, ErrorCode.NONE)):
            held = cluster.on(ApiKey.PRODUCE).hold(after_storing=True)
            client.send(ProduceRequest(acks=acks, timeout_ms=1, topic_data=(data,)), 13)
            await held.hit()
            cluster.shrink_isr("orders", 0, 2)
            held.release()
            assert only_answer(await client.receive(ProduceResponse, 13)).error_code == code
            cluster.expand_isr("orders", 0)


async def test_deleted_topic_keeps_held_response() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        gone = cluster.on(ApiKey.PRODUCE)
        gone.run(lambda: cluster.delete_topic("orders"), after_storing=True)
        answer = await client.produce("orders", 0, make_batch(b"a"))
        assert (answer.error_code, answer.base_offset) == (ErrorCode.NONE, 0)


async def test_replica_check_keeps_scripted_error() -> None:
    config = TopicConfig(min_insync_replicas=2)
    cluster = FakeCluster(2, {"orders": 1}, topic_config=config)
    async with cluster, await RawClient.connect(cluster) as client:
        on = cluster.on(ApiKey.PRODUCE)
        on.answer(ErrorCode.REQUEST_TIMED_OUT, after_storing=True)
        on.run(lambda: cluster.shrink_isr("orders", 0, 2), after_storing=True)
        answer = await client.produce("orders", 0, make_batch(b"a"))
        assert answer.error_code == ErrorCode.REQUEST_TIMED_OUT


async def test_error_after_storing_has_offset() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        late = cluster.on(ApiKey.PRODUCE, times=2)
        late.answer(ErrorCode.REQUEST_TIMED_OUT, after_storing=True)
        for offset in (0, 1):
            answer = await client.produce("orders", 0, make_batch(b"a"))
            assert (answer.error_code, answer.base_offset) == (ErrorCode.REQUEST_TIMED_OUT, offset)


@pytest.mark.parametrize(
    ("code", "given", "expected"),
    [
        (ErrorCode.UNKNOWN_PRODUCER_ID, None, 2),
        (ErrorCode.UNKNOWN_PRODUCER_ID, -1, -1),
        (ErrorCode.UNKNOWN_PRODUCER_ID, 77, 77),
        (ErrorCode.NOT_LEADER_OR_FOLLOWER, None, -1),
    ],
)
async def test_error_has_log_start_offset(code: ErrorCode, given: int | None, expected: int) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        await client.produce("orders", 0, make_batch(b"a", b"b"))
        cluster.delete_records("orders", 0, before=2)
        cluster.on(ApiKey.PRODUCE).answer(code, log_start_offset=given)
        answer = await client.produce("orders", 0, make_batch(b"c"))
        assert (answer.error_code, answer.log_start_offset) == (code, expected)


async def test_scripted_error_for_unknown_partition() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.POLICY_VIOLATION)
        answer = await client.produce("orders", 9, make_batch(b"a"))
        assert (answer.error_code, answer.log_start_offset) == (ErrorCode.POLICY_VIOLATION, -1)


async def test_leader_hints_can_be_off() -> None:
    async with FakeCluster(2, {"orders": 1}, leader_hints=False) as cluster:
        async with await RawClient.connect(cluster, 2) as client:
            response = await client.ask(produce_request("orders", {0: make_batch(b"a")}), 10)
        answer = only_answer(response)
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        assert (answer.current_leader, response.node_endpoints) == (LeaderIdAndEpoch(), ())


async def test_leader_hint_without_leader() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.move_leader("orders", 0, -1)
        response = await client.ask(produce_request("orders", {0: make_batch(b"a")}), 10)
        assert only_answer(response).current_leader == LeaderIdAndEpoch(-1, 1)
        assert response.node_endpoints == ()


async def test_faults_combine_in_one_response() -> None:
    async with FakeCluster(topics={"orders": 2}) as cluster, await RawClient.connect(cluster) as client:
        on = cluster.on(ApiKey.PRODUCE, partition=0)
        on.leave_out()
        on.add_unasked("orders", 5)
        on.throttle(10)
        on.rewrite(lambda response: replace(response, responses=response.responses * 2))
        request = produce_request("orders", {0: make_batch(b"a"), 1: make_batch(b"b")})
        response = await client.ask(request, 9)
        assert told(response) == [("orders", ZERO_UUID, [1, 5])] * 2
        assert response.throttle_time_ms == 10


# Arguments and unmatched faults.


@pytest.mark.parametrize(
    ("api", "code"),
    [
        ("PRODUCE", "POLICY_VIOLATION"),
        ("produce", "PolicyViolation"),
        (0, 44),
        (ApiKey.PRODUCE, ErrorCode.POLICY_VIOLATION),
    ],
)
async def test_names_and_numbers_are_accepted(api: ApiKey | str | int, code: ErrorCode | str | int) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        fault = cluster.on(api).answer(code)
        answer = await client.produce("orders", 0, make_batch(b"a"))
        assert (answer.error_code, fault.hits) == (ErrorCode.POLICY_VIOLATION, 1)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda on: on("PRODUCT"), "there is no API 'PRODUCT'; did you mean PRODUCE?"),
        (lambda on: on(99), "there is no API 99"),
        (lambda on: on(ErrorCode.NONE), "the API is a member of ApiKey, its name or its number"),
        (lambda on: on(10), "FakeCluster does not implement FIND_COORDINATOR, only PRODUCE, "),
        (lambda on: on(node=3), "there is no node 3, only [1, 2]"),
        (lambda on: on(topic="a b"), "'a b' is no legal topic name"),
        (lambda on: on(topic=b"orders"), "a topic's name is text, not b'orders'"),
        (lambda on: on("API_VERSIONS", topic="orders"), "requests of API_VERSIONS have no topics"),
        (lambda on: on("INIT_PRODUCER_ID", partition=0), "requests of INIT_PRODUCER_ID have no topics"),
        (lambda on: on(times=0), "times is a whole number from 1, not 0"),
        (lambda on: on(skip=-1), "skip is a whole number from 0, not -1"),
        (lambda on: on(partition="0"), "partition is a whole number from 0, not '0'"),
        (lambda on: on().answer("NOT_LEADER"), "did you mean NOT_LEADER_OR_FOLLOWER?"),
        (lambda on: on().answer(999), "there is no error code 999"),
        (lambda on: on().answer(None), "the error code is a member of ErrorCode"),
        (lambda on: on("API_VERSIONS").leave_out(), "those of API_VERSIONS have none"),
        (lambda on: on("API_VERSIONS").add_unasked("orders", 0), "those of API_VERSIONS have none"),
    ],
)
def test_impossible_scripts_are_refused(script: Callable[..., object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        script(FakeCluster(2).on)


async def test_stop_warns_of_unmatched_faults() -> None:
    cluster = FakeCluster(topics={"orders": 1})
    await cluster.start()
    cluster.on("PRODUCE", topic="order").answer("POLICY_VIOLATION")
    cluster.on("PRODUCE", optional=True).disconnect()
    with pytest.warns(UnmatchedFaultWarning) as warned:
        await cluster.stop()
    [warning] = warned
    assert warning.filename == __file__
    assert str(warning.message).startswith("1 scripted fault matched no request; pass optional=True to `on`")
    assert str(warning.message).endswith("the cluster has no topic 'order'; did you mean 'orders'?")
    await cluster.stop()


async def test_nodes_stop_despite_warning_error() -> None:
    cluster = FakeCluster()
    await cluster.start()
    cluster.on("PRODUCE").disconnect()
    with pytest.raises(UnmatchedFaultWarning):
        await cluster.stop()
    assert not cluster.topology.live_nodes()


async def test_unmatched_faults_hide_no_error() -> None:
    async def fail() -> None:
        async with FakeCluster() as cluster:
            cluster.on("PRODUCE").disconnect()
            message = "the test's own"
            raise KeyError(message)

    with pytest.raises(KeyError, match="own"):
        await fail()


async def test_healed_faults_are_not_reported() -> None:
    async with FakeCluster() as cluster:
        cluster.on("PRODUCE").disconnect()
        assert len(cluster.unmatched_faults()) == 1
        cluster.heal()
