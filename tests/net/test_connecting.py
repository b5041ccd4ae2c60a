"""Host names with several addresses, some of them dead, on each event loop."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

from aioproducer import BrokerConnectionError
from aioproducer.net import transport as module
from aioproducer.net.transport import Addresses, Transport, connect
from aioproducer.testing import FakeCluster
from tests.net.quick import PATIENCE, insides, quick
from tests.net.traces import at_each_await, at_each_turn, no_traces

uvloop = pytest.importorskip("uvloop")

SOON = 30
FOREVER = 600

AddressInfo: TypeAlias = tuple[Any, ...]
"""An item of `socket.getaddrinfo`."""


@contextmanager
def _silent(count: int = 1) -> Iterator[list[tuple[str, int]]]:
    """Yield addresses that ignore attempts to connect, as a firewall does that drops packets."""
    sockets: list[socket.socket] = []
    addresses = []
    for number in range(count):
        listener = socket.create_server((f"127.0.0.{10 + number}", 0), backlog=0)
        addresses.append(listener.getsockname())
        sockets.append(listener)
        # Linux drops SYN packets when the backlog is full.
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)  # noqa: FBT003 - the standard library has it so
            filler.connect_ex(addresses[-1])
            sockets.append(filler)
    try:
        yield addresses
    finally:
        for each in sockets:
            each.close()


def _refusing() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        return host, port


def _info(host: str, port: int = 9092) -> AddressInfo:
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)


def _resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    async def resolve(_host: str, _port: int) -> list[AddressInfo]:
        await asyncio.sleep(0)
        return [_info(*address) for address in addresses]

    monkeypatch.setattr(module, "resolve", resolve)


async def _connect(addresses: Addresses | None = None, timeout: float = FOREVER) -> Transport:
    return await connect(
        "kafka.test", 9092, timeout=timeout, send_buffer=-1, receive_buffer=-1, addresses=addresses
    )


def _hosts(infos: Sequence[AddressInfo]) -> list[object]:
    return [address[0] for *_, address in infos]


def test_families_take_turns() -> None:
    found = [_info(host) for host in ("::1", "::2", "::3", "10.0.0.1", "10.0.0.1", "10.0.0.2")]
    assert _hosts(Addresses().order(found)) == ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]


def test_address_that_worked_is_first() -> None:
    found = [_info(f"10.0.0.{number}") for number in range(1, 5)]
    addresses = Addresses()
    addresses.worked(found[2][4])
    assert _hosts(addresses.order(found)) == ["10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.4"]
    addresses.worked(found[1][4])
    assert _hosts(addresses.order(found)) == ["10.0.0.2", "10.0.0.1", "10.0.0.3", "10.0.0.4"]
    assert _hosts(addresses.order(found[2:])) == ["10.0.0.3", "10.0.0.4"]


def test_address_that_failed_is_last() -> None:
    found = [_info(f"10.0.0.{number}") for number in range(1, 4)]
    addresses = Addresses()
    for failed, order in ((1, "231"), (2, "312"), (3, "123"), (1, "231")):
        addresses.failed(found[failed - 1][4])
        assert [str(host)[-1] for host in _hosts(addresses.order(found))] == list(order)


async def _dead_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the last of four addresses in less than the request timeout."""
    with _silent(3) as dead:
        async with FakeCluster(topics={"orders": 1}) as cluster, no_traces():
            _resolves_to(monkeypatch, *dead, ("127.0.0.1", cluster.topology.nodes[1].port))
            options: Any = {
                "socket_connection_setup_timeout_ms": 60_000,
                "max_block_ms": 60_000,
                # The request timeout begins after the connection: three head starts take longer.
                "request_timeout_ms": 500,
            }
            async with asyncio.timeout(SOON), quick("kafka.test:9092", **options) as producer:
                await producer.send("orders", b"1")


async def _reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with the address that worked last."""
    tried: list[object] = []
    attempt = module._Attempts._attempt  # noqa: SLF001 - the observed function

    async def observed(self: Any, info: AddressInfo) -> None:  # noqa: ANN401 - a private class
        tried.append(info[4])
        await attempt(self, info)

    monkeypatch.setattr(module._Attempts, "_attempt", observed)  # noqa: SLF001 - the same
    with _silent(2) as dead:
        async with FakeCluster(topics={"orders": 1}) as cluster, no_traces():
            node = cluster.topology.nodes[1]
            alive = (node.host, node.port)
            node.host = "kafka.test"
            _resolves_to(monkeypatch, *dead, alive)
            # The bootstrap server is the same address: a lost connection may make both connect.
            options: Any = {"request_timeout_ms": 30_000, "delivery_timeout_ms": 60_000}
            async with quick(f"kafka.test:{node.port}", **options) as producer:
                await producer.send("orders", b"1")
                assert tried[:3] == [*dead, alive]
                # A stall of the loop must not start an attempt at the next address.
                monkeypatch.setattr(module, "ADDRESS_HEAD_START", FOREVER)
                (broker,) = insides(producer)._cluster.brokers.values()  # type: ignore[union-attr] # noqa: SLF001
                for _ in range(3):
                    tried.clear()
                    broker.drop(BrokerConnectionError("dropped by the test"))
                    await asyncio.wait_for(producer.send("orders", b"2"), PATIENCE)
                    assert tried
                    assert set(tried) == {alive}


async def _refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try the next address at once when one fails."""
    monkeypatch.setattr(module, "ADDRESS_HEAD_START", FOREVER)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _resolves_to(monkeypatch, _refusing(), _refusing(), listener.getsockname())
        transport = await _connect()
        assert transport.address == listener.getsockname()
        transport.abort()


async def _all_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name every address and its cause, in little more time than one attempt takes."""
    with _silent(3) as dead:
        _resolves_to(monkeypatch, *dead, _refusing())
        async with no_traces():
            with pytest.raises(BrokerConnectionError) as raised:
                await _connect(timeout=0.4)
    assert str(raised.value) == (
        "cannot connect to kafka.test:9092: 127.0.0.10: no connection within 0.4 s; "
        "127.0.0.11: no connection within 0.4 s; 127.0.0.12: no connection within 0.4 s; "
        "127.0.0.1: connection refused"
    )


async def _timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell the operating system's timeout from the limit of an attempt, which has no errno."""

    def fail(*_arguments: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(module, "_configure", fail)
    _resolves_to(monkeypatch, ("10.0.0.1", 9092))
    with pytest.raises(BrokerConnectionError) as raised:
        await _connect()
    assert str(raised.value) == "cannot connect to kafka.test:9092: 10.0.0.1: connection timed out"


async def _cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no socket and no task behind, at whichever await the attempts are cancelled."""
    monkeypatch.setattr(module, "ADDRESS_HEAD_START", 0.001)
    # The system accepts connections for the listener: no server task is needed.
    with _silent(1) as dead, socket.create_server(("127.0.0.1", 0), backlog=1_000) as listener:
        _resolves_to(monkeypatch, *dead, _refusing(), listener.getsockname(), listener.getsockname())

        async def connect_and_abort() -> None:
            (await _connect()).abort()

        async with no_traces():
            for cut in at_each_await():
                await cut.run(connect_and_abort())
        for insists in (False, True):
            async with no_traces():
                for turn in at_each_turn(insists=insists):
                    await turn.run(connect_and_abort())


async def _several_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close the losing connections."""
    monkeypatch.setattr(module, "ADDRESS_HEAD_START", 0)
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        _resolves_to(monkeypatch, first.getsockname(), second.getsockname())
        async with no_traces():
            transport = await _connect()
            assert transport.address in (first.getsockname(), second.getsockname())
            transport.abort()


async def _mute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try another address when one accepts connections but never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with FakeCluster(topics={"orders": 1}) as cluster, no_traces():
            node = cluster.topology.nodes[1]
            _resolves_to(monkeypatch, listener.getsockname(), (node.host, node.port))
            node.host = "kafka.test"
            server = f"kafka.test:{node.port}"
            async with asyncio.timeout(SOON), quick(server, request_timeout_ms=500) as producer:
                await producer.send("orders", b"1")
            node.host = "127.0.0.1"


async def _slow_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a silent name server."""

    async def resolve(_host: str, _port: int) -> list[AddressInfo]:
        await asyncio.sleep(FOREVER)
        return []

    monkeypatch.setattr(module, "resolve", resolve)
    with pytest.raises(
        BrokerConnectionError, match=r"'kafka\.test' cannot be resolved: no answer within 0\.1 s"
    ):
        await _connect(timeout=0.1)


SCENARIOS = [
    _dead_addresses,
    _reconnects,
    _refused,
    _all_dead,
    _timed_out,
    _cancelled,
    _several_alive,
    _mute,
    _slow_name_server,
]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_connecting(
    scenario: Callable[[pytest.MonkeyPatch], Awaitable[None]],
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(scenario(monkeypatch), 12 * SOON))
