"""Requests outside the produce path: which broker gets them, and when they are tried again."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from aioproducer import AuthorizationError, BrokerError, ProducerError, RequestTimeoutError
from aioproducer.net.ask import BROKER_HEAD_START, Ask, Query, check_code
from aioproducer.net.outages import Outages
from aioproducer.net.target import OneNode
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import PATIENCE, insides, quick, until
from tests.net.running import Running, client_of, make_broker, port_of
from tests.net.traces import no_traces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioproducer import Producer
    from aioproducer.net.broker import Broker
    from aioproducer.net.cluster import Cluster

LONG_MS = 30_000
"""Milliseconds that no test takes: a request that waits for its timeout fails the test."""


def cluster_of(producer: Producer[bytes, bytes]) -> Cluster:
    cluster = insides(producer)._cluster  # noqa: SLF001 - tests of the insides
    assert cluster is not None
    return cluster


def prefer(producer: Producer[bytes, bytes], node_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask one node first."""
    cluster = cluster_of(producer)
    choose = cluster.ask.least_loaded

    def least_loaded(besides: list[Broker], nodes: list[int] | None) -> Broker | None:
        first = cluster.brokers[node_id]
        return choose(besides, nodes) if first in besides else first

    monkeypatch.setattr(cluster.ask, "least_loaded", least_loaded)


async def test_silent_broker_delays_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        FakeCluster(3) as cluster,
        quick(cluster, request_timeout_ms=LONG_MS, delivery_timeout_ms=2 * LONG_MS) as producer,
    ):
        await producer.partitions_for("orders")
        prefer(producer, 3, monkeypatch)
        brokers = cluster_of(producer).brokers
        brokers[3].want()
        await until(lambda: brokers[3].is_ready)
        silent = cluster.on(ApiKey.METADATA, node=3, times=None).fall_silent()
        started = time.monotonic()

        await asyncio.wait_for(producer.partitions_for("audit"), PATIENCE)

        assert silent.hits == 1
        assert time.monotonic() - started >= BROKER_HEAD_START
        assert brokers[3].is_ready, "the connection to the silent broker stays"


async def test_silent_broker_delays_producer_id() -> None:
    """The delay is a head start, whichever broker and whichever request come first."""
    async with FakeCluster(3, {"orders": 3}) as cluster:
        cluster.on(node=2, times=None).fall_silent()
        partition = next(number for number in range(3) if cluster.leader_of("orders", number) != 2)
        servers = [f"127.0.0.1:{cluster.topology.nodes[node].port}" for node in (1, 3)]
        for _ in range(6):
            async with (
                no_traces(),
                quick(servers, request_timeout_ms=LONG_MS, delivery_timeout_ms=2 * LONG_MS) as producer,
            ):
                delivery = producer.send("orders", b"1", partition=partition)
                await asyncio.wait_for(delivery, PATIENCE)


async def test_next_broker_after_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        FakeCluster(2, {"orders": 1}) as cluster,
        quick(
            cluster, retry_backoff_ms=LONG_MS, retry_backoff_max_ms=LONG_MS, max_block_ms=LONG_MS
        ) as producer,
    ):
        prefer(producer, 2, monkeypatch)
        refused = cluster.on(ApiKey.METADATA, node=2, times=None).disconnect()

        await asyncio.wait_for(producer.partitions_for("orders"), PATIENCE)

        assert refused.hits >= 1


async def test_broker_is_asked_after_its_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits for a silent broker goes to another one as soon as that can be asked."""
    async with (
        FakeCluster(2) as cluster,
        quick(
            cluster,
            request_timeout_ms=LONG_MS,
            delivery_timeout_ms=2 * LONG_MS,
            max_block_ms=LONG_MS,
            reconnect_backoff_ms=2_000,
            reconnect_backoff_max_ms=2_000,
        ) as producer,
    ):
        await producer.partitions_for("orders")
        brokers = cluster_of(producer).brokers
        for broker in brokers.values():
            broker.want()
        await until(lambda: all(broker.is_ready for broker in brokers.values()))
        prefer(producer, 2, monkeypatch)
        cluster.on(ApiKey.METADATA, node=2, times=None).fall_silent()
        cluster.drop_connections(1)
        await until(lambda: brokers[1].backing_off_until > asyncio.get_running_loop().time())

        await asyncio.wait_for(producer.partitions_for("audit"), PATIENCE)


async def test_broker_that_failed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One broker fails and comes back while the request to the other one has no response."""
    async with (
        FakeCluster(2) as cluster,
        quick(
            cluster, request_timeout_ms=LONG_MS, delivery_timeout_ms=2 * LONG_MS, max_block_ms=LONG_MS
        ) as producer,
    ):
        await producer.partitions_for("orders")
        prefer(producer, 1, monkeypatch)
        cut = cluster.on(ApiKey.METADATA, node=1).disconnect()
        cluster.on(ApiKey.METADATA, node=2, times=None).fall_silent()

        await asyncio.wait_for(producer.partitions_for("audit"), PATIENCE)

        assert cut.hits == 1


async def test_late_response_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        FakeCluster(2, {"orders": 1}) as cluster,
        quick(cluster, request_timeout_ms=LONG_MS, delivery_timeout_ms=2 * LONG_MS) as producer,
    ):
        prefer(producer, 2, monkeypatch)
        held = cluster.on(ApiKey.METADATA, node=2).hold()
        await asyncio.wait_for(producer.partitions_for("orders"), PATIENCE)
        broker = cluster_of(producer).brokers[2]
        assert broker.requests_in_flight

        held.release()

        await until(lambda: not broker.requests_in_flight)
        assert broker.is_ready
        assert (await asyncio.wait_for(producer.send("orders", b"1"), PATIENCE)).offset == 0


async def test_refusal_is_final() -> None:
    """An error that is not retriable ends the request: no other broker is asked."""
    async with FakeCluster(3, {"orders": 1}) as cluster:
        code = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        asked = cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).answer(code)
        async with quick(cluster) as producer:
            with pytest.raises(AuthorizationError, match=r"127\.0\.0\.1:\d+ gives no producer id"):
                await asyncio.wait_for(producer.send("orders", b"1"), PATIENCE)
        assert asked.hits <= 2


@pytest.mark.parametrize("brokers", [1, 3])
async def test_all_brokers_fail(brokers: int) -> None:
    async with FakeCluster(brokers, {"orders": 1}) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"0")
        cut = cluster.on(ApiKey.METADATA, times=3 * brokers).disconnect()
        await asyncio.wait_for(producer.partitions_for("audit"), PATIENCE)
        assert cut.hits == 3 * brokers


class _ProducerId(Query[InitProducerIdResponse, int]):
    def __init__(self, most_attempts: int = 1_000) -> None:
        self.errors: list[ProducerError] = []
        self._most_attempts = most_attempts

    def request(self) -> InitProducerIdRequest:
        return InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)

    def result(self, broker: Broker, response: InitProducerIdResponse) -> int:
        check_code(response.error_code, f"broker {broker.node_id}")
        return response.producer_id

    def failed(self, error: ProducerError) -> None:
        self.errors.append(error)

    def is_wanted(self) -> bool:
        return len(self.errors) < self._most_attempts


@asynccontextmanager
async def _ask(cluster: FakeCluster) -> AsyncIterator[Ask]:
    client = client_of()
    brokers = {node: make_broker(port_of(cluster, node), node_id=node, client=client) for node in (1, 2)}
    async with Running(brokers[1]), Running(brokers[2]):
        yield Ask(client, brokers, Outages())


@pytest.mark.parametrize("node", [1, 2])
async def test_request_to_node(node: int) -> None:
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        asked = [cluster.on(ApiKey.INIT_PRODUCER_ID, node=each, optional=True).throttle(0) for each in (1, 2)]
        assert await ask.request(_ProducerId(), to=OneNode(node)) >= 0
        assert [fault.hits for fault in asked] == [node == 1, node == 2]


async def test_request_to_unknown_node() -> None:
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        with pytest.raises(ProducerError, match="no broker can be connected to"):
            await ask.request(_ProducerId(), to=OneNode(3), deadline=time.monotonic() + 0.1)


class _Coordinator:
    """A coordinator that moves from node to node; its first lookup finds none."""

    def __init__(self, *nodes: int | None) -> None:
        self._nodes = list(nodes)
        self.errors: list[str] = []

    async def nodes(self) -> list[int]:
        node = self._nodes[0]
        if node is None:
            raise BrokerError.of(ErrorCode.COORDINATOR_NOT_AVAILABLE, "lookup")
        return [node]

    def failed(self, error: ProducerError) -> None:
        self.errors.append(str(error))
        del self._nodes[0]


async def test_moved_coordinator_is_found_again() -> None:
    """Each attempt goes to the node of the moment; a failed lookup is a failed attempt."""
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        moved = cluster.on(ApiKey.INIT_PRODUCER_ID, node=1).answer(ErrorCode.NOT_COORDINATOR)
        asked = cluster.on(ApiKey.INIT_PRODUCER_ID, node=2, times=None).throttle(0)
        coordinator = _Coordinator(None, 1, 2)
        query = _ProducerId()

        assert await ask.request(query, to=coordinator, deadline=time.monotonic() + PATIENCE) >= 0

        assert (moved.hits, asked.hits) == (1, 1)
        assert [error.split()[0] for error in coordinator.errors] == ["lookup:", "broker"]
        assert [str(error) for error in query.errors] == coordinator.errors


async def test_missing_coordinator_ends_at_deadline() -> None:
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        coordinator = _Coordinator(*[None] * 1000)
        with pytest.raises(BrokerError, match="COORDINATOR_NOT_AVAILABLE"):
            await ask.request(_ProducerId(), to=coordinator, deadline=time.monotonic() + 0.3)
        assert len(coordinator.errors) > 1


async def test_retriable_code_is_retried() -> None:
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        cluster.on(ApiKey.INIT_PRODUCER_ID, times=2).answer(ErrorCode.NOT_COORDINATOR)
        query = _ProducerId()
        assert await ask.request(query) >= 0
        assert len(query.errors) == 2


async def test_deadline_ends_retries() -> None:
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).answer(ErrorCode.NOT_COORDINATOR)
        query = _ProducerId()
        with pytest.raises(BrokerError, match="NOT_COORDINATOR"):
            await ask.request(query, deadline=time.monotonic() + 0.5)
        assert len(query.errors) > 1


async def test_deadline_ends_attempt() -> None:
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).fall_silent()
        with pytest.raises(RequestTimeoutError, match="no broker has answered within"):
            await ask.request(_ProducerId(), deadline=time.monotonic() + 0.1)


async def test_unwanted_query_is_not_retried() -> None:
    async with FakeCluster(2) as cluster, _ask(cluster) as ask:
        asked = cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).answer(ErrorCode.NOT_COORDINATOR)
        with pytest.raises(BrokerError, match="NOT_COORDINATOR"):
            await ask.request(_ProducerId(most_attempts=3))
        assert asked.hits == 3
