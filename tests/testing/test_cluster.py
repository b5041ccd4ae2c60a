import asyncio
import logging
import socket
import struct
from dataclasses import replace
from typing import Any

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.protocol.produce import ProduceResponse
from aioproducer.testing import ApiKey, FakeCluster, MockProducer
from aioproducer.testing.refusal import Refused
from tests.testing.batches import make_batch
from tests.testing.raw_client import RawClient, produce_request

ALL_TOPICS = MetadataRequest(topics=None)


async def test_restart_keeps_records() -> None:
    cluster = FakeCluster(2, {"orders": 2})
    for expected in (1, 2):
        async with cluster, await RawClient.connect(cluster, 1) as client:
            await client.produce("orders", 0, make_batch(b"a"))
        assert len(cluster.records("orders")) == expected
    assert repr(cluster) == "<FakeCluster stopped, 1 topic>"


async def test_records_of_one_partition() -> None:
    async with FakeCluster(topics={"orders": 2}) as cluster, await RawClient.connect(cluster) as client:
        await client.produce("orders", 1, make_batch(b"a"))
        assert cluster.records("orders", 0) == []
        assert [record.value for record in cluster.records("orders", 1)] == [b"a"]
        with pytest.raises(Refused):
            cluster.records("nothing")


async def test_restarted_node_keeps_its_address() -> None:
    async with FakeCluster(3) as cluster:
        before = cluster.bootstrap
        assert len(set(before.split(","))) == 3
        await cluster.stop_node(2)
        with pytest.raises(ConnectionRefusedError):
            await RawClient.connect(cluster, 2)
        await cluster.start_node(2)
        await cluster.start_node(2)
        async with await RawClient.connect(cluster, 2):
            pass
        assert cluster.bootstrap == before


async def test_stopped_node_loses_its_partitions() -> None:
    async with FakeCluster(2, {"orders": 2}) as cluster, await RawClient.connect(cluster, 1) as client:
        await client.ask(ALL_TOPICS, 9)
        assert (cluster.connections(1), cluster.leader_of("orders", 0)) == (1, 1)
        await cluster.stop_node(1)
        await client.closed()
        assert (cluster.connections(1), cluster.leader_of("orders", 0)) == (0, 2)


async def test_topics_can_grow_and_vanish() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.add_partitions("orders", 3)
        [topic] = (await client.ask(ALL_TOPICS, 9)).topics
        assert len(topic.partitions) == 3
        cluster.delete_topic("orders")
        assert (await client.ask(ALL_TOPICS, 9)).topics == ()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"\xff\xff\xff\xff", id="negative size"),
        pytest.param(b"\x00\x00\x00\x03abc", id="shorter than a header"),
        pytest.param(b"\x00\x00\x00\x0a\x7f\x00\x00\x00\x00\x00\x00\x01\xff\xff", id="unknown api"),
        pytest.param(b"\x00\x00\x00\x0a\x00\x13\x00\x00\x00\x00\x00\x01\xff\xff", id="missing api"),
        pytest.param(b"\x00\x00\x00\x0a\x00\x03\x00\x63\x00\x00\x00\x01\xff\xff", id="unknown version"),
        pytest.param(b"\x00\x00\x00\x0a\x00\x00\x00\x03\x00\x00\x00\x01\xff\xff", id="no body"),
    ],
)
async def test_malformed_requests_close_connection(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        with caplog.at_level(logging.WARNING, "aioproducer.testing"):
            client.send_bytes(data)
            assert await client.closed() == b""
    assert "closes the connection" in caplog.text


async def test_topics_as_names() -> None:
    cluster = FakeCluster(topics=["orders", "audit"], default_partitions=3)
    assert {name: len(topic.partitions) for name, topic in cluster.topology.topics.items()} == {
        "orders": 3,
        "audit": 3,
    }


@pytest.mark.parametrize("topics", ["orders", b"orders", 1, [b"orders"], {"orders": "3"}, {"orders": None}])
def test_topics_have_a_type(topics: Any) -> None:  # noqa: ANN401 - values of wrong types
    for make in (FakeCluster, MockProducer):
        with pytest.raises(TypeError, match=r"topics are \{name: partitions\} or a list of names"):
            make(topics=topics)


def test_caps_take_api_names() -> None:
    cluster = FakeCluster(max_versions={"PRODUCE": 7})
    assert cluster._brokers[1].version.apis[ApiKey.PRODUCE].max == 7  # noqa: SLF001 - the version has no public name
    with pytest.raises(ValueError, match="did you mean PRODUCE"):
        FakeCluster(max_versions={"PRODUCES": 7})


@pytest.mark.parametrize(
    ("api", "version", "reason"),
    [
        (10, 4, "FakeCluster does not implement FIND_COORDINATOR, only PRODUCE, METADATA, "),
        (1, 4, "FakeCluster does not implement FETCH, only "),
        (999, 0, "FakeCluster does not implement API key 999, only "),
        (0, 1, "FakeCluster implements PRODUCE 3-13, not 1"),
        (0, 14, "this broker (Kafka 4.3) has PRODUCE 0-13, not 14"),
        (22, 0, "this broker (Kafka 4.3) was made without INIT_PRODUCER_ID"),
    ],
)
async def test_log_explains_refusal(
    api: int, version: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = FakeCluster(max_versions={ApiKey.INIT_PRODUCER_ID: None})
    async with cluster, await RawClient.connect(cluster) as client:
        client.send_bytes(struct.pack(">ihhih", 10, api, version, 1, -1))
        assert await client.closed() == b""
    assert f"node 1 closes the connection: {reason}" in caplog.text


async def test_version_above_cap_closes_connection() -> None:
    cluster = FakeCluster(max_versions={ApiKey.PRODUCE: 7}, topics={"orders": 1})
    async with cluster, await RawClient.connect(cluster) as client:
        assert (await client.produce("orders", 0, make_batch(), version=7)).error_code == ErrorCode.NONE
        client.send(produce_request("orders", {0: make_batch()}), 8)
        assert await client.closed() == b""
    with pytest.raises(ValueError, match=r"Kafka 4\.3 has PRODUCE 0-13, not 99"):
        FakeCluster(max_versions={ApiKey.PRODUCE: 99})


async def test_pipelined_requests_keep_their_order() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        node = cluster.topology.nodes[1]
        reader, writer = await asyncio.open_connection(node.host, node.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with RawClient(reader, writer) as client:
            for value in (b"a", b"b"):
                client.send(produce_request("orders", {0: make_batch(value)}), 9)
            for offset in (0, 1):
                response = await client.receive(ProduceResponse, 9)
                assert response.responses[0].partition_responses[0].base_offset == offset


async def test_hold_blocks_one_connection() -> None:
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        await RawClient.connect(cluster) as held,
        await RawClient.connect(cluster) as other,
    ):
        fault = cluster.on(ApiKey.PRODUCE).hold()
        held.send(produce_request("orders", {0: make_batch(b"a")}), 9)
        held.send(produce_request("orders", {0: make_batch(b"c")}), 9)
        await fault.hit()
        assert (await other.produce("orders", 0, make_batch(b"b"))).base_offset == 0
        fault.release()
        for _ in range(2):
            await held.receive(ProduceResponse, 9)
        assert [record.value for record in cluster.records("orders")] == [b"b", b"a", b"c"]


async def test_hold_after_storing() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        fault = cluster.on(ApiKey.PRODUCE).hold(after_storing=True)
        client.send(produce_request("orders", {0: make_batch(b"a")}), 9)
        await fault.hit()
        assert len(cluster.records("orders")) == 1
        cluster.heal()
        await client.receive(ProduceResponse, 9)


@pytest.mark.simulated
async def test_delay_holds_the_response() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.METADATA).delay(0.05)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.ask(ALL_TOPICS, 9)
        # uvloop's clock has milliseconds.
        assert loop.time() - began >= 0.048


@pytest.mark.parametrize("after_storing", [False, True])
async def test_disconnect_around_storing(*, after_storing: bool) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.PRODUCE).disconnect(after_storing=after_storing)
        client.send(produce_request("orders", {0: make_batch(b"a")}), 9)
        assert await client.closed() == b""
        assert len(cluster.records("orders")) == after_storing


@pytest.mark.parametrize("after_storing", [False, True])
async def test_silent_connection_stays_open(*, after_storing: bool) -> None:
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        await RawClient.connect(cluster) as silent,
        await RawClient.connect(cluster) as other,
    ):
        fault = cluster.on(ApiKey.PRODUCE).fall_silent(after_storing=after_storing)
        silent.send(produce_request("orders", {0: make_batch(b"a")}), 9)
        silent.send(produce_request("orders", {0: make_batch(b"b")}), 9)
        await fault.hit()
        assert (await other.produce("orders", 0, make_batch(b"c"))).base_offset == after_storing
        assert cluster.connections(1) == 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(silent.frame(), 0.02)


async def test_delayed_request_can_close_connection() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.PRODUCE).delay(0)
        client.send(produce_request("orders", {9: make_batch(b"a")}, acks=0), 9)
        assert await client.closed() == b""


async def test_garbage_and_cut_responses() -> None:
    async with FakeCluster() as cluster:
        async with await RawClient.connect(cluster) as client:
            cluster.on(ApiKey.METADATA).answer_bytes(b"\x00\x00\x00\x02hi")
            client.send(ALL_TOPICS, 9)
            assert await client.frame() == b"hi"
        async with await RawClient.connect(cluster) as client:
            cluster.on(ApiKey.METADATA).cut(6)
            client.send(ALL_TOPICS, 9)
            assert len(await client.closed()) == 6


async def test_responses_are_throttled_and_rewritten() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.METADATA).throttle(250)
        assert (await client.ask(ALL_TOPICS, 9)).throttle_time_ms == 250
        cluster.on(ApiKey.METADATA).rewrite(lambda response: replace(response, cluster_id="another"))
        assert (await client.ask(ALL_TOPICS, 9)).cluster_id == "another"


async def test_request_can_change_the_cluster() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.PRODUCE).run(lambda: cluster.move_leader("orders", 0, 2))
        answer = await client.produce("orders", 0, make_batch(b"a"))
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        cluster.on(ApiKey.METADATA).run(lambda: cluster.stop_node(1))
        client.send(ALL_TOPICS, 9)
        await client.closed()
        assert [node.node_id for node in cluster.topology.live_nodes()] == [2]


async def test_raising_function_closes_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.METADATA).run(lambda: 1 // 0)
        client.send(ALL_TOPICS, 9)
        await client.closed()
    assert "a scripted fault raised" in caplog.text


async def test_disconnect_during_hold_cleans_up() -> None:
    async with FakeCluster() as cluster:
        fault = cluster.on(ApiKey.METADATA).hold()
        async with await RawClient.connect(cluster) as client:
            client.send(ALL_TOPICS, 9)
            await fault.hit()
        tasks = {task.get_name() for task in asyncio.all_tasks()}
        while any(name.startswith("aioproducer-testing") for name in tasks):
            await asyncio.sleep(0)
            tasks = {task.get_name() for task in asyncio.all_tasks()}
        assert cluster.connections(1) == 0


def test_cluster_runs_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def produce_and_lose_an_answer() -> None:
        async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
            assert (await client.produce("orders", 0, make_batch(b"a"))).base_offset == 0
            cluster.on(ApiKey.PRODUCE).disconnect(after_storing=True)
            client.send(produce_request("orders", {0: make_batch(b"b")}), 9)
            assert await client.closed() == b""
            assert [record.value for record in cluster.records("orders")] == [b"a", b"b"]

    uvloop.run(produce_and_lose_an_answer())
