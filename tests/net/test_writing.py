"""Writes to brokers that disappear or do not read, on each event loop."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aioproducer import CallTimeoutError
from aioproducer.net.transport import Transport, connect
from aioproducer.testing import FakeCluster
from tests.net.quick import drained, insides, quick, turns, until
from tests.net.relay import Relay
from tests.net.traces import no_traces

uvloop = pytest.importorskip("uvloop")

SOON = 30
MEGABYTE = bytes(1_000_000)
FIRE_AND_FORGET: Any = {
    "acks": 0,
    "enable_idempotence": False,
    "batch_size": 1_000,
    "max_request_size": 2_000_000,
    "request_timeout_ms": 60_000,
    "delivery_timeout_ms": 60_000,
}


async def _connect(host: str, port: int, *, send_buffer: int = -1) -> Transport:
    return await connect(host, port, timeout=SOON, send_buffer=send_buffer, receive_buffer=-1)


def _reset(listener: socket.socket) -> None:
    """Accept a connection and reset it, without a turn of the event loop."""
    peer, _ = listener.accept()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def _closing_broker() -> None:
    """Send after the end of the stream was read and before the connection is lost."""
    async with FakeCluster(topics={"orders": 1}) as cluster, no_traces(), quick(cluster) as producer:
        await producer.send("orders", b"0")
        for number in range(1, 4):
            await cluster.stop_node(1)
            delivery = producer.send("orders", b"%d" % number)
            await asyncio.sleep(0.05)
            await cluster.start_node(1)
            assert (await asyncio.wait_for(delivery, SOON)).offset == number


async def _several_writes() -> None:
    """Send several requests in one turn to a broker that disappeared; it comes back."""
    async with FakeCluster(topics={"orders": 5}) as cluster, no_traces():  # noqa: SIM117 - the comment
        # One batch fills a request, so each partition has a request of its own.
        async with quick(cluster, max_request_size=20_000, request_timeout_ms=5_000) as producer:
            await producer.send("orders", b"0")
            for _ in range(3):
                await cluster.stop_node(1)
                deliveries = [producer.send("orders", bytes(15_000), partition=each) for each in range(5)]
                await asyncio.sleep(0.05)
                await cluster.start_node(1)
                # An attempt to connect may take 10 s, so the first one must succeed.
                async with asyncio.timeout(SOON):
                    await asyncio.gather(*(delivery.future() for delivery in deliveries))


async def _failed_writes() -> None:
    """Write several times in one turn to a dead peer; the next socket has the same number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        transport = await _connect(host, port)
        _reset(listener)
        lost: list[Exception | None] = []
        transport.attach(lambda _data: None, lambda: None, lost.append)
        for _ in range(3):
            transport.write([b"one", b"two"])
        assert not transport.can_write
        await until(lambda: lost)
        transport.write([b"three"])
        second = await _connect(host, port)
        received: list[bytes] = []
        second.attach(received.append, lambda: None, lost.append)
        peer, _ = listener.accept()
        with peer:
            second.write([b"one", b"two"])
            assert peer.recv(6) == b"onetwo"
            peer.send(b"answer")
            await until(lambda: received == [b"answer"])
        second.abort()
        assert len(lost) == 1


async def _no_reader() -> None:
    """Bound the memory when a broker does not read (acks=0)."""
    async with FakeCluster(topics={"orders": 1}) as cluster, Relay(cluster) as relay, no_traces():
        async with quick(cluster, **FIRE_AND_FORGET, buffer_memory=10_000_000) as producer:
            await producer.send("orders", b"0")
            await until(lambda: cluster.records("orders"))
            relay.reads.clear()
            deliveries = []
            for _ in range(40):
                deliveries.append(producer.send("orders", MEGABYTE))
                try:
                    await asyncio.wait_for(drained(producer), 0.5)
                except TimeoutError:
                    break
            else:
                pytest.fail("drain() does not wait for the broker to read")
            assert not deliveries[-1].done()
            (broker,) = insides(producer)._cluster.brokers.values()  # type: ignore[union-attr] # noqa: SLF001
            transport: Any = broker.channel._transport._transport  # type: ignore[union-attr] # noqa: SLF001
            assert transport.get_write_buffer_size() < 2 * len(MEGABYTE)
            with pytest.raises(CallTimeoutError):
                await producer.flush(timeout=0.2)
            relay.reads.set()
            await asyncio.wait_for(producer.flush(), 4 * SOON)
        await until(lambda: len(cluster.records("orders")) == 1 + len(deliveries))
        assert relay.connections == 2  # one of them to find the cluster


async def _half_open() -> None:
    """Replace a connection that takes no more bytes (acks=0)."""
    async with FakeCluster(topics={"orders": 1}) as cluster, Relay(cluster) as relay, no_traces():
        options = {**FIRE_AND_FORGET, "request_timeout_ms": 300}
        async with quick(cluster, **options, buffer_memory=40_000_000) as producer:
            await producer.send("orders", b"0")
            await until(lambda: cluster.records("orders"))
            relay.reads.clear()
            (broker,) = insides(producer)._cluster.brokers.values()  # type: ignore[union-attr] # noqa: SLF001
            for _ in range(20):
                producer.send("orders", MEGABYTE)
            await until(lambda: relay.connections == 3)
            assert "none was taken for 300 ms" in str(broker.last_error)
            relay.reads.set()
            await asyncio.wait_for(producer.send("orders", b"last"), SOON)
            await until(lambda: cluster.records("orders")[-1].value == b"last")


async def _slow_reader() -> None:
    """Read slowly: a connection that takes some bytes is not stalled."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = await _connect(*listener.getsockname(), send_buffer=16_384)
        peer, _ = listener.accept()
        lost: list[Exception | None] = []
        transport.attach(lambda _data: None, lambda: None, lost.append)
        transport.hold_nothing_back(1.0)
        transport.write([MEGABYTE * 8])
        with peer:
            loop = asyncio.get_running_loop()
            ends = loop.time() + 2.5
            while loop.time() < ends:
                peer.recv(100_000)
                await asyncio.sleep(0.05)
            assert not lost
            assert not transport.can_write
            await until(lambda: lost)
            assert isinstance(lost[0], TimeoutError)


async def _blocked_loop() -> None:
    """Block the loop: time in which no byte can be written does not count."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = await _connect(*listener.getsockname(), send_buffer=16_384)
        peer, _ = listener.accept()
        lost: list[Exception | None] = []
        transport.attach(lambda _data: None, lambda: None, lost.append)
        transport.write([MEGABYTE * 8])
        with peer:
            await asyncio.sleep(0.2)  # the system takes the bytes for which it has room
            transport.hold_nothing_back(0.4)
            time.sleep(1.0)  # noqa: ASYNC251 - the tested case
            await turns()
            assert not lost
            peer.setblocking(False)  # noqa: FBT003 - the standard library has it so
            while not transport.can_write:
                with contextlib.suppress(BlockingIOError):
                    peer.recv(1_000_000)
                await asyncio.sleep(0)
            assert not lost
        transport.abort()


@pytest.mark.parametrize(
    "scenario",
    [
        _closing_broker,
        _several_writes,
        _failed_writes,
        _no_reader,
        _half_open,
        _slow_reader,
        _blocked_loop,
    ],
)
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_writing_to(
    scenario: Callable[[], Awaitable[None]], make_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 8 * SOON))
