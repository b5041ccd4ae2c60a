"""Timeouts while the event loop is blocked: received bytes are read before a request expires."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from aioproducer import BrokerConnectionError
from aioproducer.net.timer import READS, LateTimer, late_timeout
from aioproducer.testing import ApiKey, FakeCluster
from tests.faults.stored import figure
from tests.net.elsewhere import elsewhere
from tests.net.quick import PATIENCE, insides, quick, until

uvloop = pytest.importorskip("uvloop")

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

REQUEST_TIMEOUT_MS = 600
HOLD = 0.9
"""Seconds for which the loop is blocked: longer than a request may take."""

loops = pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main, 6 * PATIENCE))


def hold(cluster: FakeCluster, stored: int) -> None:
    """Block the loop until the cluster has stored so many records, and longer than a request may take."""
    ends = time.monotonic() + PATIENCE
    while len(cluster.records("orders")) < stored and time.monotonic() < ends:
        time.sleep(0.01)
    time.sleep(HOLD)


@loops
@pytest.mark.parametrize("delivery_timeout_ms", [60_000, REQUEST_TIMEOUT_MS])
def test_blocked_loop_stores_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop], delivery_timeout_ms: int
) -> None:
    """The loop is blocked between a request and its response, and again in the next turn.

    In that turn the response is read and the next request is sent; the late timer comes after it.
    """

    async def main(cluster: FakeCluster) -> None:
        loop = asyncio.get_running_loop()
        async with quick(
            cluster,
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            batch_size=1,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            delivery_timeout_ms=delivery_timeout_ms,
        ) as producer:
            await producer.send("orders", b"first")
            deliveries = [producer.send("orders", b"%d" % number) for number in range(2)]
            await until(lambda: insides(producer)._cluster.brokers[1].requests_in_flight)  # type: ignore[union-attr] # noqa: SLF001 - started
            loop.call_later(0.01, hold, cluster, 3)
            hold(cluster, 2)
            for delivery in deliveries:
                await delivery
            assert figure(producer, "record-retry-total") == 0
            assert figure(producer, "connection-close-total") == 1  # the bootstrap connection

    with elsewhere(topics={"orders": 1}) as cluster:
        cluster.on(ApiKey.PRODUCE, times=None).delay(0.05)
        run(new_loop, main(cluster))
        assert len(cluster.records("orders")) == 3


@loops
def test_blocked_loop_fails_no_request(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A Metadata response stays unread for longer than a request, a call and a record may take."""

    async def main(cluster: FakeCluster) -> None:
        async with quick(
            cluster, request_timeout_ms=REQUEST_TIMEOUT_MS, max_block_ms=REQUEST_TIMEOUT_MS
        ) as producer:
            await producer.send("orders", b"first")
            delivery = producer.send("another", b"")
            known = asyncio.create_task(producer.partitions_for("another"))
            await until(lambda: insides(producer)._cluster.brokers[1].requests_in_flight)  # type: ignore[union-attr] # noqa: SLF001 - started
            hold(cluster, 0)
            assert len(await known) == 1
            assert (await delivery).offset == 0

    with elsewhere(topics={"orders": 1, "another": 1}) as cluster:
        metadata = cluster.on(ApiKey.METADATA, topic="another", times=None).delay(0.05)
        run(new_loop, main(cluster))
        assert metadata.hits == 1


@loops
def test_blocked_loop_fails_no_start(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main(cluster: FakeCluster) -> None:
        producer = quick(cluster, request_timeout_ms=5_000, max_block_ms=REQUEST_TIMEOUT_MS)
        starting = asyncio.create_task(producer.start())
        await asyncio.wait_for(asyncio.to_thread(asked.wait), PATIENCE)
        hold(cluster, 0)
        await starting
        await producer.stop()

    asked = threading.Event()
    with elsewhere(topics={"orders": 1}) as cluster:
        cluster.on(ApiKey.METADATA).run(asked.set)
        cluster.on(ApiKey.METADATA).delay(0.05)
        run(new_loop, main(cluster))


@loops
def test_sockets_are_read_before_expiry(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        happened: list[str] = []
        done = asyncio.Event()

        def read() -> None:
            here.recv(100)
            happened.append("read")

        def hold_and_write() -> None:
            time.sleep(0.05)
            there.send(b"x")
            happened.append("held")

        def expire(now: float) -> None:
            assert now <= loop.time()
            happened.append("expired")
            done.set()

        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)  # noqa: FBT003 - the standard library has it so
            loop.add_reader(here, read)
            loop.call_later(0.005, hold_and_write)
            timer = LateTimer(0.01, expire, clock=loop.time)
            time.sleep(0.05)  # noqa: ASYNC251 - it blocks the loop
            await done.wait()
            loop.remove_reader(here)
            timer.cancel()
        assert happened == ["held", "read", "expired"]

    run(new_loop, main())


@loops
def test_expiry_has_time_before_reading(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A deadline that passes in the extra turns is not past: its data may be unread."""

    async def main() -> None:
        now = 0.0
        seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        timer = LateTimer(0.0, seen.set_result, clock=lambda: now)
        while timer._turns == READS:  # noqa: ASYNC110, SLF001 - until the first extra turn is planned
            await asyncio.sleep(0)
        now = 5.0
        assert await seen == 0.0

    run(new_loop, main())


@loops
def test_timer_is_cancelled(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for turns in range(4):
            timer = LateTimer(0.0, lambda _now: pytest.fail("it was cancelled"), clock=loop.time)
            for _ in range(turns):
                await asyncio.sleep(0)
            timer.cancel()
        for _ in range(10):
            await asyncio.sleep(0.001)

    run(new_loop, main())


async def test_late_timeout_raises() -> None:
    with pytest.raises(TimeoutError), late_timeout(0.01):
        await asyncio.sleep(PATIENCE)
    with late_timeout(0.0):
        pass
    lost = BrokerConnectionError("lost")
    with pytest.raises(BrokerConnectionError), late_timeout(PATIENCE):
        raise lost
