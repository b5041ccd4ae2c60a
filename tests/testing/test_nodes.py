import asyncio
import gc
import socket
from collections.abc import Callable

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import FakeCluster
from tests.net.quick import quick
from tests.testing.batches import make_batch
from tests.testing.raw_client import RawClient

ALL = MetadataRequest(topics=None)


async def refused_at(address: str) -> bool:
    host, port = address.split(":")
    try:
        async with await RawClient.connect_to(host, int(port)):
            return False
    except ConnectionRefusedError:
        return True


async def test_restart_at_old_or_new_port() -> None:
    async with FakeCluster(2) as cluster:
        first = cluster.bootstrap
        await cluster.restart_node(1)
        assert cluster.bootstrap == first
        await cluster.restart_node(1, at_new_port=True)
        (old, other), (new, same) = first.split(","), cluster.bootstrap.split(",")
        assert (old == new, other == same) == (False, True)
        assert await refused_at(old)
        assert not await refused_at(new)


async def test_new_port_differs_from_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node asks for another port when the system offers the old one again."""
    async with FakeCluster() as cluster:
        old = cluster.topology.nodes[1].port
        loop = asyncio.get_running_loop()
        create_server = loop.create_server
        asked = []

        async def the_old_one_first(
            factory: Callable[[], asyncio.Protocol], host: str, port: int
        ) -> asyncio.Server:
            asked.append(port)
            return await create_server(factory, host, old if len(asked) == 1 else port)

        monkeypatch.setattr(loop, "create_server", the_old_one_first)
        await cluster.restart_node(1, at_new_port=True)
        assert asked == [0, 0]
        assert cluster.topology.nodes[1].port != old
        assert await refused_at(f"127.0.0.1:{old}")
        assert not await refused_at(cluster.bootstrap)


async def test_replaced_addresses_refuse_connections() -> None:
    async with FakeCluster(3, {"orders": 3}) as cluster, await RawClient.connect(cluster) as client:
        await client.ask(ALL, 12)
        before = cluster.bootstrap.split(",")
        await cluster.replace_addresses()
        assert await client.closed() == b""
        after = cluster.bootstrap.split(",")
        assert not {*before} & {*after}
        assert [await refused_at(address) for address in before + after] == [True] * 3 + [False] * 3
        assert [cluster.leader_of("orders", partition) for partition in range(3)] == [1, 2, 3]
        async with await RawClient.connect(cluster, 3) as another:
            assert [f"{n.host}:{n.port}" for n in (await another.ask(ALL, 12)).brokers] == after


async def test_stopped_node_keeps_its_address() -> None:
    async with FakeCluster(2) as cluster:
        await cluster.stop_node(2)
        before = cluster.bootstrap.split(",")[1]
        await cluster.replace_addresses()
        assert cluster.bootstrap.split(",")[1] == before
        assert await refused_at(before)


async def test_node_stops_without_election() -> None:
    """`elects=False`: metadata still names the stopped node as the leader."""
    async with FakeCluster(2, {"orders": 1}) as cluster, await RawClient.connect(cluster, 2) as client:
        address = cluster.bootstrap.split(",")[0]
        await cluster.stop_node(1, elects=False)
        assert await refused_at(address)
        response = await client.ask(ALL, 12)
        assert [node.node_id for node in response.brokers] == [1, 2]
        assert response.topics[0].partitions[0].leader_id == 1
        answer = await client.produce("orders", 0, make_batch(b"a"))
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        await cluster.stop_node(1)
        assert cluster.leader_of("orders", 0) == 2


@pytest.mark.parametrize("elects", [True, False])
async def test_producer_survives_node_restart(*, elects: bool) -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"a")
        await cluster.stop_node(1, elects=elects)
        delivery = producer.send("orders", b"b")
        await cluster.start_node(1)
        await delivery
        assert [record.value for record in cluster.records("orders")] == [b"a", b"b"]


@pytest.mark.parametrize("turns", range(6))
async def test_stopping_node_closes_accepted_clients(turns: int) -> None:
    """The connection is closed even if it is accepted while the node stops."""
    async with FakeCluster() as cluster:
        node = cluster.topology.nodes[1]
        with socket.create_connection((node.host, node.port)) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            await cluster.stop_node(1)
            client.settimeout(10)
            assert await asyncio.to_thread(_hears_nothing_more, client)
        gc.collect()


def _hears_nothing_more(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
