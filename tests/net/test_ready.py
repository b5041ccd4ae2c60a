"""A producer started while Kafka is down."""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from aioproducer import (
    AuthenticationError,
    BootstrapError,
    IllegalStateError,
    Producer,
    ProducerClosedError,
    ProducerNotStartedError,
    UnknownTopicError,
)
from aioproducer.testing import FakeCluster, MockProducer
from tests.net.quick import insides, quick, turns, until
from tests.net.simulated import SimulatedLoop
from tests.net.traces import at_each_turn, no_traces

SOON = 10


async def _down() -> FakeCluster:
    """Make a cluster that is down and has an address."""
    cluster = FakeCluster(topics={"orders": 1})
    await cluster.start()
    await cluster.stop_node(1)
    return cluster


@pytest.mark.parametrize("enable_idempotence", [True, False])
async def test_records_wait_for_the_cluster(*, enable_idempotence: bool) -> None:
    cluster = await _down()
    async with no_traces():
        producer = quick(cluster, enable_idempotence=enable_idempotence)
        await producer.start(wait=False)
        deliveries = [producer.send("orders", b"%d" % number) for number in range(10)]
        asking = asyncio.create_task(producer.partitions_for("orders"))
        waiting = asyncio.create_task(producer.ready())
        await until(lambda: insides(producer).metadata.next_refresh(0) > 0)
        assert not producer.is_ready

        await cluster.start_node(1)

        async with asyncio.timeout(SOON):
            await waiting
            assert producer.is_ready
            assert [(await delivery).offset for delivery in deliveries] == list(range(10))
            assert len(await asking) == 1
            await producer.ready(0)
            await producer.stop()
        assert not producer.is_ready
        await cluster.stop()


async def test_max_block_bounds_the_wait() -> None:
    cluster = await _down()
    producer = quick(cluster, max_block_ms=100)
    await producer.start(wait=False)
    delivery = producer.send("orders", b"1")

    async with asyncio.timeout(SOON):
        with pytest.raises(UnknownTopicError):
            await delivery
        with pytest.raises(BootstrapError, match=r"within 0\.1 s.*127\.0\.0\.1") as raised:
            await producer.ready()
        assert list(raised.value.causes) == [cluster.bootstrap]
        with pytest.raises(BootstrapError):
            await producer.ready(0)
        await cluster.start_node(1)
        await producer.ready(SOON)
        assert (await producer.send("orders", b"2")).offset == 0
        await producer.stop()
    await cluster.stop()


@pytest.mark.parametrize("enable_idempotence", [True, False])
async def test_refused_credentials(*, enable_idempotence: bool) -> None:
    """Each call has the cause at once, and the producer recovers when the password is right."""
    async with FakeCluster(
        topics={"orders": 1}, security="SASL_PLAINTEXT", users={"alice": "right"}
    ) as cluster:
        options = {
            **cluster.client_options,
            "sasl_password": "wrong",
            "enable_idempotence": enable_idempotence,
        }
        producer = quick(options.pop("bootstrap_servers"), **options, max_block_ms=60_000)
        await producer.start(wait=False)
        asking = asyncio.create_task(producer.partitions_for("orders"))
        async with asyncio.timeout(SOON):
            for call in (producer.send("orders", b"1").future(), producer.ready(), asking):
                with pytest.raises(
                    AuthenticationError, match=r"^127\.0\.0\.1:\d+: PLAIN authentication failed"
                ):
                    await call
            with pytest.raises(BootstrapError, match=r"within 0\.0 s: 127\.0\.0\.1:\d+: PLAIN authent"):
                await producer.ready(0)

            cluster.set_user("alice", "wrong")
            while not producer.is_ready:
                with suppress(AuthenticationError):
                    await producer.ready()
            assert (await producer.send("orders", b"2")).offset == 0
            assert len(await producer.partitions_for("orders")) == 1
            await producer.stop()


async def test_outage_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    cluster = await _down()
    producer = quick(cluster)
    with caplog.at_level(logging.INFO, logger="aioproducer"):
        await producer.start(wait=False)
        await until(lambda: sum("no bootstrap server" in line for line in caplog.messages) > 3)
        await cluster.start_node(1)
        await until(lambda: "a bootstrap server answers again" in caplog.messages)
        await producer.stop()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    # Deliveries of an earlier test may be collected now, and log that they were never looked at.
    assert [record.levelname for record in warnings if record.name != "aioproducer.delivery"] == ["WARNING"]
    await cluster.stop()


async def test_stop_while_cluster_is_down() -> None:
    cluster = await _down()
    async with no_traces():
        producer = quick(cluster)
        await producer.start(wait=False)
        with pytest.raises(IllegalStateError):
            await producer.start()
        delivery = producer.send("orders", b"1")
        waiting = asyncio.create_task(producer.ready())
        await turns()
        async with asyncio.timeout(SOON):
            await producer.stop(0)
            with pytest.raises(ProducerClosedError):
                await waiting
        assert isinstance(delivery.exception(), ProducerClosedError)
    await cluster.stop()


async def test_cancelled_stop_while_down() -> None:
    """`stop` is cancelled at any turn while the cluster is down."""
    cluster = await _down()
    for cut in at_each_turn(30, again=1):
        async with no_traces():
            producer = quick(cluster)
            await producer.start(wait=False)
            delivery = producer.send("orders", b"1")
            await cut.run(producer.stop())
            await producer.stop()
            assert delivery.exception() is not None
        if cut.at == 20:
            # By now it waits for the record.
            break
    await cluster.stop()


async def test_waiters_that_give_up_are_forgotten() -> None:
    """A readiness check asks every second for as long as Kafka is down."""
    cluster = await _down()
    producer = quick(cluster)
    await producer.start(wait=False)
    for _ in range(10):
        with pytest.raises(BootstrapError):
            await producer.ready(0.001)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(producer.partitions_for("orders"), 0.001)
    shell = insides(producer)._cluster  # noqa: SLF001 - tests of the insides
    assert shell is not None
    assert len(shell._finders) == 1, "the producer id waits for the cluster"  # noqa: SLF001 - likewise
    assert not any(shell._waiters.values())  # noqa: SLF001 - likewise
    await producer.stop(0)
    await cluster.stop()


async def test_unstarted_producer_is_not_ready() -> None:
    producer = Producer("localhost:1")
    assert not producer.is_ready
    with pytest.raises(ProducerNotStartedError):
        await producer.ready()


async def test_started_producer_is_ready() -> None:
    async with FakeCluster() as cluster, quick(cluster) as producer:
        assert producer.is_ready
        await producer.ready(0)


async def test_mock_producer_is_ready_at_once() -> None:
    producer: MockProducer[Any, Any] = MockProducer()
    assert not producer.is_ready
    with pytest.raises(ProducerNotStartedError):
        await producer.ready()
    await producer.start(wait=False)
    assert producer.is_ready
    await producer.ready()
    await producer.stop()
    assert not producer.is_ready


# Cancellation of a waiting start.


def _refuses() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def _says_nothing() -> socket.socket:
    sock = _refuses()
    sock.listen()
    return sock


@pytest.mark.parametrize("server", [_refuses, _says_nothing])
def test_cancellation_ends_start(server: Callable[[], socket.socket]) -> None:
    loop = SimulatedLoop()

    async def use(address: str) -> None:
        starting = asyncio.create_task(Producer(address).start())
        await asyncio.sleep(1.5)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    with server() as sock, asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(use(f"127.0.0.1:{sock.getsockname()[1]}"))
        assert loop.time() < 2
