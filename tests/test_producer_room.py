"""Records come faster than they are sent: the buffer, waiting records, `drain`."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aioproducer import BufferExhaustedError, Delivery, Producer
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import drained, quick, turns, until

SOON = 30


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


def _send_until_refused(producer: Producer[Any, Any]) -> list[Delivery]:
    deliveries: list[Delivery] = []
    try:
        while len(deliveries) < 10_000:
            deliveries.append(producer.send("orders", bytes(1_000)))
    except BufferExhaustedError as error:
        assert "in waiting records; await drain() between sends" in str(error)  # noqa: PT017 - the loop counts too
        return deliveries
    pytest.fail("no record was refused")


def _values(cluster: FakeCluster) -> list[bytes | None]:
    return [record.value for record in cluster.records("orders")]


@pytest.mark.scenario("buffer-full")
async def test_records_wait_for_room_in_order(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=5_000, batch_size=1_000) as producer:
        await producer.send("orders", b"first")
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = [producer.send("orders", b"%03d" % number * 100) for number in range(20)]
        await held.hit()
        assert producer.metrics()["producer-metrics"]["waiting-threads"] > 0
        held.release()
        offsets = [(await delivery).offset for delivery in deliveries]
    assert offsets == list(range(1, 21))
    assert _values(cluster)[1:] == [b"%03d" % number * 100 for number in range(20)]


@pytest.mark.scenario("buffer-full")
async def test_other_topics_wait_their_turn(cluster: FakeCluster) -> None:
    cluster.create_topic("audit")
    async with quick(cluster, buffer_memory=3_000) as producer:
        await asyncio.gather(producer.send("orders", b"").future(), producer.send("audit", b"").future())
        held = cluster.on(ApiKey.PRODUCE).hold()
        filling = producer.send("orders", bytes(2_500))
        await held.hit()
        large = producer.send("orders", bytes(2_000))
        small = producer.send("audit", b"small")
        finished: list[str] = []
        large.add_done_callback(lambda _delivery: finished.append("large"))
        small.add_done_callback(lambda _delivery: finished.append("small"))
        await turns()
        assert not small.done()
        held.release()
        await asyncio.gather(filling.future(), large.future(), small.future())
        await until(lambda: len(finished) == 2)


@pytest.mark.simulated
@pytest.mark.scenario("buffer-full")
async def test_wait_for_room_expires(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=1_000, max_block_ms=50) as producer:
        await producer.send("orders", b"")
        held = cluster.on(ApiKey.PRODUCE).hold()
        accepted = producer.send("orders", bytes(800))
        await held.hit()
        in_line = producer.send("orders", bytes(800))
        with pytest.raises(
            BufferExhaustedError, match=r"within max_block_ms \(50\).* of 1000 bytes"
        ) as raised:
            await asyncio.wait_for(in_line, SOON)
        assert not raised.value.may_be_written
        assert not accepted.done()
        assert producer.metrics()["producer-metrics"]["buffer-exhausted-total"] == 1
        held.release()
        assert (await accepted).offset == 1
        assert (await producer.send("orders", bytes(800))).offset == 2


async def test_full_buffer_refuses_sends(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=100_000) as producer:
        deliveries = _send_until_refused(producer)
        assert 90 < len(deliveries) < 200
        await producer.flush()
        assert all(delivery.exception() is None for delivery in deliveries)
    assert len(_values(cluster)) == len(deliveries)


@pytest.mark.scenario("waiting-record-abandoned", "cancelled-awaiter")
async def test_cancelled_task_leaves_waiting_record(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=1_000) as producer:
        await producer.send("orders", b"")
        held = cluster.on(ApiKey.PRODUCE).hold()
        producer.send("orders", bytes(800))
        in_line = producer.send("orders", b"x" * 800)
        await held.hit()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_line, 0.01)
        waiting = asyncio.ensure_future(in_line.future())
        waiting.cancel()
        held.release()
        await producer.flush()
        assert in_line.result().offset == 2


async def test_drain_waits_for_half_the_buffer(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=10_000, batch_size=1_000, max_request_size=1_200) as producer:
        await producer.send("orders", b"")
        held = cluster.on(ApiKey.PRODUCE).hold()
        for _ in range(8):
            producer.send("orders", bytes(1_000))
        draining = asyncio.ensure_future(drained(producer))
        await held.hit()
        await turns()
        assert not draining.done()
        held.release()
        await asyncio.wait_for(draining, SOON)
        figures = producer.metrics()["producer-metrics"]
        assert figures["buffer-available-bytes"] > 5_000


async def test_drain_in_a_loop_of_sends(cluster: FakeCluster) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with quick(cluster, buffer_memory=200_000, linger_ms=5, batch_size=16_000) as producer:
        ticking = asyncio.create_task(tick())
        for number in range(5_000):
            producer.send("orders", b"%d" % number * 100)
            await producer.drain()
        await producer.flush()
        ticking.cancel()
    assert _values(cluster) == [b"%d" % number * 100 for number in range(5_000)]
    assert ticks > 5


async def test_drain_yields_with_free_room(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        turned = asyncio.Event()
        await producer.drain()
        asyncio.get_running_loop().call_soon(turned.set)
        ends = time.monotonic() + 1
        while not turned.is_set() and time.monotonic() < ends:
            await producer.drain()
        assert turned.is_set()


async def test_records_waiting_for_topic_are_bounded(cluster: FakeCluster) -> None:
    held = cluster.on(ApiKey.METADATA, skip=1, times=None).hold()
    async with quick(cluster, buffer_memory=10_000) as producer:
        deliveries = _send_until_refused(producer)
        assert len(deliveries) == 9
        draining = asyncio.ensure_future(drained(producer))
        await turns()
        assert not draining.done()
        held.release()
        cluster.heal()
        await asyncio.wait_for(draining, SOON)
        await producer.flush()
        assert [delivery.result().offset for delivery in deliveries] == list(range(9))


async def test_drain_sees_waiting_records(cluster: FakeCluster) -> None:
    """They are not in the buffer, so `drain` yields as long as there are any."""
    async with quick(cluster) as producer:
        cluster.on(ApiKey.METADATA, topic="new", times=None, optional=True).hold()
        producer._turn_ends = float("inf")  # noqa: SLF001 - as if it had just yielded
        delivery = producer.send("new", b"1")
        for _ in range(2):
            turns: list[int] = []
            asyncio.get_running_loop().call_soon(turns.append, 1)
            await producer.drain()
            assert turns
        cluster.heal()
        await delivery


@pytest.mark.scenario("memory-pressure")
async def test_drain_ends_linger() -> None:
    """Half of the buffer is in batches that are not full; no record waits, and no batch is due."""
    async with (
        FakeCluster(topics={"orders": 3}) as cluster,
        quick(
            cluster, buffer_memory=50_000, batch_size=20_000, linger_ms=60_000, delivery_timeout_ms=120_000
        ) as producer,
    ):
        producer.send("orders", b"first")
        await producer.flush()
        for number in range(3):
            for _ in range(9):
                producer.send("orders", bytes(1_000), partition=number)
        async with asyncio.timeout(SOON):
            await producer.drain()
        await producer.flush()
        assert len(_values(cluster)) == 28
