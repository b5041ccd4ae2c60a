"""Reports of an outage: one WARNING, the present cause in errors, one INFO at its end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import pytest

from aioproducer import BrokerConnectionError, DeliveryTimeoutError, UnknownTopicError
from aioproducer.net.outages import Outages
from aioproducer.net.producer_id import IDLE_ATTEMPTS
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import PATIENCE, insides, quick, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioproducer.net.broker import Broker
    from aioproducer.protocol.metadata import MetadataResponse

DEAD_PORT = 1
"""A local port without a listener."""


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 3}) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def told(caplog: pytest.LogCaptureFixture, level: int, text: str) -> list[str]:
    """Return the log lines of a level that contain a text."""
    messages = [record.getMessage() for record in caplog.records if record.levelno == level]
    return [message for message in messages if text in message]


def advertise_dead_port(answer: MetadataResponse, node_ids: tuple[int, ...]) -> MetadataResponse:
    nodes = [replace(node, port=DEAD_PORT) if node.node_id in node_ids else node for node in answer.brokers]
    return replace(answer, brokers=tuple(nodes))


# Logs.


async def test_each_cause_is_logged_once(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    async with quick(cluster) as producer:
        cluster.on(ApiKey.PRODUCE, times=4).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        cluster.on(ApiKey.PRODUCE, skip=4, times=3).disconnect()
        cluster.on(ApiKey.PRODUCE, skip=7, times=2).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        await asyncio.wait_for(producer.send("orders", b"1", partition=0), PATIENCE)

        first, second = told(caplog, logging.WARNING, "orders-0")
        assert "sending 1 record for orders-0 again" in first
        assert "NOT_ENOUGH_REPLICAS (19)" in first
        assert "was lost" in second
        (over,) = told(caplog, logging.INFO, "orders-0 are stored again")
        assert "9 retries" in over

        # The next outage is logged again.
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        await asyncio.wait_for(producer.send("orders", b"2", partition=0), PATIENCE)
        assert len(told(caplog, logging.WARNING, "orders-0")) == 3
        assert len(told(caplog, logging.INFO, "stored again")) == 2


@pytest.mark.simulated
async def test_record_that_expires_is_no_retry(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is lost when its records have expired, so they are not sent again."""
    async with quick(cluster, request_timeout_ms=490, delivery_timeout_ms=500) as producer:
        await asyncio.wait_for(producer.send("orders", b"1", partition=0), PATIENCE)
        insides(producer)._settlement._delivery_timeout = 0.1  # noqa: SLF001 - before the timer is due
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        cluster.on(ApiKey.PRODUCE).delay(0.3)
        with pytest.raises(DeliveryTimeoutError):
            await asyncio.wait_for(producer.send("orders", b"2", partition=0), PATIENCE)
    assert not told(caplog, logging.WARNING, "again")


async def test_partitions_share_log_line(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    async with quick(cluster, linger_ms=20) as producer:
        await producer.partitions_for("orders")
        cluster.on(ApiKey.PRODUCE).disconnect()
        deliveries = [producer.send("orders", b"1", partition=number) for number in range(3)]
        for delivery in deliveries:
            await asyncio.wait_for(delivery, PATIENCE)
    lines = told(caplog, logging.WARNING, "again (attempt 1 failed)")
    assert sum(line.count("orders-") for line in lines) == 3
    if len(lines) == 1:
        assert "sending 3 records for orders-0, orders-1, orders-2 again" in lines[0]


async def test_normal_work_logs_no_retry(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    async with quick(cluster) as producer:
        for number in range(5):
            await producer.send("orders", b"%d" % number)
    assert not told(caplog, logging.WARNING, "")
    assert not told(caplog, logging.INFO, "again")


@pytest.mark.simulated
@pytest.mark.parametrize("code", [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, None])
async def test_missing_producer_id_warns_once(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture, code: ErrorCode | None
) -> None:
    """The line names the address; later attempts go on while there are records to send."""
    address = f"127.0.0.1:{cluster.topology.nodes[1].port}"
    script = cluster.on(ApiKey.INIT_PRODUCER_ID, times=None)
    if code is None:
        script.disconnect()
    else:
        script.answer(code)

    def attempts() -> int:
        levels = logging.WARNING, logging.INFO
        return sum(len(told(caplog, level, "no producer id")) for level in levels)

    async with quick(cluster) as producer:
        await until(lambda: attempts() >= IDLE_ATTEMPTS)
        await asyncio.sleep(0.3)
        assert attempts() == IDLE_ATTEMPTS, "there is nothing to send"

        delivery = producer.send("orders", b"1")
        await until(lambda: attempts() >= 2 * IDLE_ATTEMPTS)
        (warning,) = told(caplog, logging.WARNING, "no producer id")
        assert address in warning

        cluster.heal()
        assert (await asyncio.wait_for(delivery, PATIENCE)).offset == 0
        assert told(caplog, logging.INFO, "producer id 1")

        # The next outage is logged anew.
        cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).disconnect()
        insides(producer)._settlement.logs_replaced()  # noqa: SLF001 - another producer id is needed
        delivery = producer.send("orders", b"2")
        await until(lambda: len(told(caplog, logging.WARNING, "no producer id")) == 2)
        cluster.heal()
        await asyncio.wait_for(delivery, PATIENCE)


async def test_cluster_outage_warns_once(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    async with quick(cluster) as producer:
        await producer.send("orders", b"1", partition=0)
        await cluster.stop_node(1, elects=False)
        delivery = producer.send("orders", b"2", partition=0)
        await until(lambda: len(told(caplog, logging.INFO, "cannot use broker 1")) >= 5)
        assert len(told(caplog, logging.WARNING, "cannot use broker 1")) == 1
        await until(lambda: told(caplog, logging.WARNING, "no bootstrap server can be used"))
        connected = len(told(caplog, logging.INFO, "connected to broker 1"))

        await cluster.start_node(1)

        assert (await asyncio.wait_for(delivery, PATIENCE)).offset == 1
        assert len(told(caplog, logging.INFO, "connected to broker 1")) > connected


# Errors.


@pytest.mark.simulated
async def test_error_names_present_cause(cluster: FakeCluster) -> None:
    """The first attempt loses its connection; after it the broker refuses connections."""
    async with quick(cluster, request_timeout_ms=1_000, delivery_timeout_ms=1_500) as producer:
        await producer.send("orders", b"1", partition=0)
        cluster.on(ApiKey.PRODUCE).run(lambda: cluster.stop_node(1, elects=False))
        tried = producer.send("orders", b"2", partition=0)
        await until(lambda: not insides(producer)._cluster.brokers[1].is_ready)  # type: ignore[union-attr] # noqa: SLF001 - started
        behind = producer.send("orders", b"3", partition=1)
        for delivery in (tried, behind):
            with pytest.raises(DeliveryTimeoutError) as raised:
                await asyncio.wait_for(delivery, PATIENCE)
            address = f"127.0.0.1:{cluster.topology.nodes[1].port}"
            assert f"broker 1 at {address}: cannot connect to {address}" in str(raised.value)
            assert isinstance(raised.value.__cause__, BrokerConnectionError)


@pytest.mark.simulated
async def test_error_names_unreachable_address(cluster: FakeCluster) -> None:
    """The bootstrap server responds, but advertises an address that refuses connections."""
    cluster.on(ApiKey.METADATA, times=None).rewrite(lambda answer: advertise_dead_port(answer, (1,)))
    async with quick(cluster, max_block_ms=500) as producer:
        delivery = producer.send("orders", b"1")
        expected = rf"no broker could be asked: broker 1 at 127.0.0.1:{DEAD_PORT}: cannot connect"
        with pytest.raises(UnknownTopicError, match=expected) as raised:
            await asyncio.wait_for(delivery, PATIENCE)
        assert raised.value.__cause__ is not None
        with pytest.raises(UnknownTopicError, match=expected):
            await asyncio.wait_for(producer.partitions_for("orders"), PATIENCE)


@pytest.mark.simulated
async def test_error_names_unreachable_leader() -> None:
    """Metadata comes from another broker; the leader refuses connections."""
    async with FakeCluster(2, {"orders": 2}, replication_factor=1) as cluster:
        cluster.on(ApiKey.METADATA, times=None).rewrite(lambda answer: advertise_dead_port(answer, (2,)))
        partition = next(number for number in range(2) if cluster.leader_of("orders", number) == 2)
        async with quick(cluster, request_timeout_ms=1_000, delivery_timeout_ms=1_000) as producer:
            delivery = producer.send("orders", b"1", partition=partition)
            expected = rf"no attempt was made: broker 2 at 127.0.0.1:{DEAD_PORT}: cannot connect"
            with pytest.raises(DeliveryTimeoutError, match=expected):
                await asyncio.wait_for(delivery, PATIENCE)


@pytest.mark.simulated
async def test_an_error_names_a_throttle(cluster: FakeCluster) -> None:
    async with quick(cluster, request_timeout_ms=300, delivery_timeout_ms=500) as producer:
        cluster.on(ApiKey.PRODUCE).throttle(5_000)
        await asyncio.wait_for(producer.send("orders", b"1", partition=0), PATIENCE)
        words = r"broker 1 at \S+: it throttles this client for 4\.\d s"
        with pytest.raises(DeliveryTimeoutError, match=words):
            await asyncio.wait_for(producer.send("orders", b"2", partition=0), PATIENCE)


@dataclass(frozen=True)
class _Out:
    """A broker and what is wrong with it."""

    node_id: int
    is_ready: bool = False

    def outage(self) -> BrokerConnectionError | None:
        return None if self.is_ready else BrokerConnectionError(f"broker {self.node_id} is out")


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        ([False, False], "broker 0 is out; broker 1 is out"),
        ([False] * 5, "broker 0 is out; broker 1 is out; broker 2 is out; and 2 more"),
        ([False, True], "no metadata"),
        ([False] * 4 + [True], "no metadata"),
        ([], "no metadata"),
    ],
)
def test_outage_of_the_cluster_names_brokers(ready: list[bool], expected: str) -> None:
    outages = Outages()
    outages.metadata_failed(BrokerConnectionError("no metadata"))
    for node_id, is_ready in enumerate(ready):
        outages.broker_added(cast("Broker", _Out(node_id, is_ready)))
    assert str(outages.of_cluster()) == expected


@pytest.mark.simulated
async def test_error_names_missing_producer_id(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).answer(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
    async with quick(cluster, request_timeout_ms=600, delivery_timeout_ms=600) as producer:
        with pytest.raises(DeliveryTimeoutError, match="COORDINATOR_LOAD_IN_PROGRESS"):
            await asyncio.wait_for(producer.send("orders", b"1"), PATIENCE)
