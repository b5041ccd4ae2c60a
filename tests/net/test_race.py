"""Requests that any broker can answer: one that is silent holds up nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from aioproducer import AuthorizationError
from aioproducer.net.race import HEAD_START
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import PATIENCE, insides, quick, until
from tests.net.traces import no_traces

if TYPE_CHECKING:
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
    """Have one node asked first."""
    cluster = cluster_of(producer)
    choose = cluster.least_loaded

    def least_loaded(besides: list[Broker]) -> Broker | None:
        first = cluster.brokers[node_id]
        return choose(besides) if first in besides else first

    monkeypatch.setattr(cluster, "least_loaded", least_loaded)


async def test_a_silent_broker_delays_metadata_by_a_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert time.monotonic() - started >= HEAD_START
        assert brokers[3].is_ready, "the connection to the silent broker stays"


async def test_a_silent_broker_delays_the_producer_id_by_a_head_start() -> None:
    """Whichever broker is asked first, and whatever it is asked."""
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


async def test_a_broker_that_fails_is_followed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_late_response_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        FakeCluster(2, {"orders": 1}) as cluster,
        quick(cluster, request_timeout_ms=LONG_MS, delivery_timeout_ms=2 * LONG_MS) as producer,
    ):
        prefer(producer, 2, monkeypatch)
        held = cluster.on(ApiKey.METADATA, node=2).hold()
        await asyncio.wait_for(producer.partitions_for("orders"), PATIENCE)
        broker = cluster_of(producer).brokers[2]
        assert broker.in_flight

        held.release()

        await until(lambda: not broker.in_flight)
        assert broker.is_ready
        assert (await asyncio.wait_for(producer.send("orders", b"1"), PATIENCE)).offset == 0


async def test_a_refusal_is_final() -> None:
    """No other broker is asked for what one refuses for good."""
    async with FakeCluster(3, {"orders": 1}) as cluster:
        code = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        asked = cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).answer(code)
        async with quick(cluster) as producer:
            with pytest.raises(AuthorizationError, match=r"127\.0\.0\.1:\d+ gives no producer id"):
                await asyncio.wait_for(producer.send("orders", b"1"), PATIENCE)
        assert asked.hits <= 2


@pytest.mark.parametrize("brokers", [1, 3])
async def test_when_all_brokers_fail_the_request_fails(brokers: int) -> None:
    async with FakeCluster(brokers, {"orders": 1}) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"0")
        cut = cluster.on(ApiKey.METADATA, times=3 * brokers).disconnect()
        await asyncio.wait_for(producer.partitions_for("audit"), PATIENCE)
        assert cut.hits == 3 * brokers
