"""The producer on each event loop, and in asyncio's debug mode."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from aioproducer import BootstrapError, ProducerClosedError, WrongLoopError
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick, until
from tests.net.traces import at_each_await, no_traces

uvloop = pytest.importorskip("uvloop")

SOON = 30


async def _round_trip() -> None:
    async with FakeCluster(3, {"orders": 6}) as cluster, no_traces():
        async with quick(cluster, linger_ms=1) as producer:
            deliveries = []
            for number in range(2_000):
                deliveries.append(producer.send("orders", b"%d" % number, key=b"%d" % (number % 50)))
                await producer.drain()
            await producer.flush()
            assert all(delivery.exception() is None for delivery in deliveries)
        assert len(cluster.records("orders")) == 2_000


async def _trouble() -> None:
    async with FakeCluster(3, {"orders": 3}) as cluster, no_traces():
        async with quick(cluster, batch_size=100, request_timeout_ms=500) as producer:
            await producer.send("orders", b"0")
            cluster.on(ApiKey.PRODUCE, skip=2).disconnect(after_storing=True)
            cluster.on(ApiKey.PRODUCE, skip=4).fall_silent()
            cluster.on(ApiKey.PRODUCE, skip=6).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
            cluster.on(ApiKey.PRODUCE, skip=8).answer_bytes(b"\x00\x00\x00\x05nonsense")
            cluster.on(ApiKey.PRODUCE, skip=10).cut(9)
            for number in range(60):
                producer.send("orders", b"%d" % number * 20, partition=number % 3)
                await asyncio.sleep(0.001)
                if number == 30:
                    await cluster.stop_node(2)
            async with asyncio.timeout(SOON):
                await producer.flush()
        for partition in range(3):
            values = [each.value for each in cluster.records("orders", partition) if each.value != b"0"]
            assert values == [b"%d" % number * 20 for number in range(partition, 60, 3)]


async def _back_pressure() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, no_traces():
        async with quick(cluster, buffer_memory=3_000_000, max_request_size=2_000_000) as producer:
            for number in range(40):
                producer.send("orders", b"%d" % number * 300_000)
                await producer.drain()
            await producer.flush()
        assert len(cluster.records("orders")) == 40


async def _nobody() -> None:
    cluster = FakeCluster()
    await cluster.start()
    address = cluster.bootstrap
    await cluster.stop()
    async with no_traces():
        with pytest.raises(BootstrapError, match=address):
            await quick(address, max_block_ms=200).start()


async def _cancelled() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        for cut in at_each_await():
            async with no_traces():
                producer = quick(cluster)
                await cut.run(producer.start())
                await producer.stop()
        for cut in at_each_await():
            async with no_traces():
                producer = quick(cluster)
                await producer.start()
                delivery = producer.send("orders", b"1")
                await cut.run(producer.stop())
                await producer.stop()
                assert delivery.done()
                delivery.exception()


async def _wrong_thread() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"1")
        with pytest.raises(WrongLoopError):
            await asyncio.to_thread(producer.send, "orders", b"2")
        await producer.stop()
        with pytest.raises(ProducerClosedError):
            producer.send("orders", b"3")


async def _compressed() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, no_traces():
        async with quick(cluster, compression_type="gzip", batch_size=500_000, linger_ms=2) as producer:
            for number in range(300):
                producer.send("orders", b"%d " % number * 1_000)
            await producer.flush()
        assert len(cluster.records("orders")) == 300


async def _idle() -> None:
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        no_traces(),
        quick(cluster, connections_max_idle_ms=30) as producer,
    ):
        await producer.send("orders", b"1")
        await until(lambda: not cluster.connections(1))
        assert (await producer.send("orders", b"2")).offset == 1


@pytest.mark.parametrize(
    "scenario",
    [_round_trip, _trouble, _back_pressure, _nobody, _cancelled, _wrong_thread, _compressed, _idle],
)
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_event_loop(
    scenario: Callable[[], Awaitable[None]],
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    *,
    debug: bool,
) -> None:
    with asyncio.Runner(debug=debug, loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 4 * SOON))
    gc.collect()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_loop_ends_without_stop(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A producer that is never stopped does not keep its loop from closing."""

    async def forget_to_stop() -> None:
        cluster = FakeCluster(topics={"orders": 1})
        await cluster.start()
        producer = quick(cluster)
        await producer.start()
        assert (await producer.send("orders", b"1")).offset == 0
        await cluster.stop()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(forget_to_stop())
    gc.collect()


async def test_loop_option(pytestconfig: pytest.Config) -> None:
    """Coroutine tests run on the event loop that `--loop` names."""
    is_uvloop = isinstance(asyncio.get_running_loop(), uvloop.Loop)

    assert is_uvloop is (pytestconfig.getoption("--loop") == "uvloop")
