"""The producer uses the event loop's time: frozen or simulated clocks do not disturb it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from freezegun import freeze_time

from aioproducer import DeliveryTimeoutError, Producer
from aioproducer.testing import ApiKey, FakeCluster, MockProducer
from tests.net.quick import quick
from tests.net.simulated import SimulatedLoop

uvloop = pytest.importorskip("uvloop")

PATIENCE = 60.0
LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
MakeLoop = Callable[[], asyncio.AbstractEventLoop]

# freezegun compares the values of all loaded modules. One of testcontainers' asks Docker for its
# address then, and leaves a socket open where Docker does not run.
_frozen = partial(freeze_time, real_asyncio=True, ignore=["testcontainers"])


async def _use(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    """Call everything that depends on time."""
    await producer.send("orders", b"1")
    lingering = producer.send("orders", b"2")
    while not lingering.done():
        await producer.drain()
    await producer.flush(PATIENCE)
    cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
    with pytest.raises(DeliveryTimeoutError):
        await producer.send("orders", b"3")
    cluster.heal()
    await producer.send("orders", b"4")
    assert producer.metrics()["producer-metrics"]["request-latency-max"] >= 0


def _with_short_timeouts(cluster: FakeCluster) -> Producer[Any, Any]:
    return quick(cluster, linger_ms=20, request_timeout_ms=200, delivery_timeout_ms=2_000)


async def _frozen_all_the_time() -> None:
    with _frozen(datetime.now(UTC)):
        async with FakeCluster(topics={"orders": 1}) as cluster, _with_short_timeouts(cluster) as producer:
            await _use(cluster, producer)


async def _frozen_after_the_start() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, _with_short_timeouts(cluster) as producer:
        await producer.send("orders", b"0")
        await producer.drain()
        with _frozen(datetime.now(UTC)):
            await _use(cluster, producer)
        await producer.drain()
        await producer.send("orders", b"5")


@LOOPS
@pytest.mark.parametrize("use", [_frozen_all_the_time, _frozen_after_the_start])
def test_frozen_time_stops_nothing(use: Callable[[], Awaitable[None]], make_loop: MakeLoop) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(use(), PATIENCE))


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, SimulatedLoop])
def test_mock_producer_needs_no_time(make_loop: MakeLoop) -> None:
    async def use() -> None:
        async with MockProducer() as producer:
            await producer.send("orders", b"1")
            await producer.drain()
            await producer.flush()

    with asyncio.Runner(loop_factory=make_loop) as runner, _frozen():
        runner.run(use())


def test_simulated_time_passes_at_once() -> None:
    """Minutes of linger, silence and measured time take no real time."""
    loop = SimulatedLoop()

    async def use() -> None:
        async with (
            FakeCluster(topics={"orders": 1}) as cluster,
            Producer(cluster.bootstrap, linger_ms=30_000, acks="all") as producer,
        ):
            assert producer.metrics()["producer-metrics"]["record-send-rate"] == 0
            started = loop.time()
            await producer.send("orders", b"1")
            assert 30 <= loop.time() - started < 60
            await asyncio.sleep(70)
            assert producer.metrics()["producer-metrics"]["record-send-rate"] == 0
            cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
            started = loop.time()
            with pytest.raises(DeliveryTimeoutError):
                await producer.send("orders", b"2")
            assert 120 <= loop.time() - started < 150

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(use())


def test_simulated_time_lets_bulk_work_pause() -> None:
    loop = SimulatedLoop()

    async def use() -> None:
        async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
            delivery = producer.send("orders", b"1")
            while not delivery.done():
                producer.send("orders", b"2")
                await producer.drain()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(use())
