"""The end of `async with` with silent brokers, in simulated time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aioproducer import Delivery, DeliveryTimeoutError, Producer, ProducerClosedError
from aioproducer.producer import LEAVE_TIMEOUT
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.simulated import SimulatedLoop

Leave = Callable[[], Awaitable[None]]


async def _plainly() -> None:
    """Let the body end."""


async def _by_an_error() -> None:
    raise ZeroDivisionError


async def _by_an_exit() -> None:
    raise SystemExit


async def _cancelled() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _gone(cluster: FakeCluster) -> None:
    await cluster.stop()
    await asyncio.sleep(0.1)


async def _silent(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.PRODUCE, times=None).fall_silent()


def _leave(leave: Leave, die: Callable[[FakeCluster], Awaitable[None]]) -> tuple[float, list[Delivery]]:
    """Return the seconds to leave, and the deliveries for a known and an unknown topic."""
    deliveries: list[Delivery] = []
    times: list[float] = []
    loop = SimulatedLoop()

    async def use() -> None:
        cluster = FakeCluster(topics={"orders": 1})
        await cluster.start()
        try:
            async with Producer(cluster.bootstrap) as producer:
                await producer.send("orders", b"1")
                await die(cluster)
                deliveries.extend(producer.send(topic, b"2") for topic in ("orders", "unknown"))
                times.append(loop.time())
                await leave()
        except (ZeroDivisionError, SystemExit, asyncio.CancelledError):
            pass
        finally:
            times.append(loop.time())
            await cluster.stop()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(use())
    return times[1] - times[0], deliveries


@pytest.mark.parametrize("die", [_gone, _silent])
@pytest.mark.parametrize("leave", [_by_an_error, _by_an_exit, _cancelled])
def test_error_waits_seconds(leave: Leave, die: Callable[[FakeCluster], Awaitable[None]]) -> None:
    took, deliveries = _leave(leave, die)

    assert LEAVE_TIMEOUT <= took <= LEAVE_TIMEOUT + 1
    for delivery in deliveries:
        assert isinstance(delivery.exception(), ProducerClosedError)


def test_body_end_waits_delivery_timeout() -> None:
    took, (delivery, _unknown) = _leave(_plainly, _silent)

    assert 115 <= took < 200
    assert isinstance(delivery.exception(), DeliveryTimeoutError)


def test_error_loses_no_records() -> None:
    """The brokers respond: records that were accepted before the error are stored."""

    async def alive(_cluster: FakeCluster) -> None:
        """Change nothing."""

    _, deliveries = _leave(_by_an_error, alive)

    assert [delivery.exception() for delivery in deliveries] == [None, None]
