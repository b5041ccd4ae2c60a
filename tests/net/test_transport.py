"""TCP connections: bytes in and out, errors, and the choice of addresses."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import pytest

from aioproducer import BrokerConnectionError
from aioproducer.net import transport as module
from aioproducer.net.transport import STALL_CHECKS, Transport, connect, resolve
from tests.net.quick import until
from tests.net.traces import at_each_await, no_traces

SOON = 30

Server: TypeAlias = tuple[int, list[asyncio.StreamWriter], list[asyncio.StreamReader]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Listen; yield the port, and the server's ends of the connections."""
    writers: list[asyncio.StreamWriter] = []
    readers: list[asyncio.StreamReader] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.append(reader)
        writers.append(writer)

    async with await asyncio.start_server(accept, "127.0.0.1") as listening:
        yield listening.sockets[0].getsockname()[1], writers, readers
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _connect(port: int, host: str = "127.0.0.1", timeout: float = SOON) -> Transport:
    return await connect(host, port, timeout=timeout, send_buffer=-1, receive_buffer=-1)


def _resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, str, int]) -> None:
    def getaddrinfo(*_arguments: object, **_options: object) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (host, port)) for family, host, port in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_bytes_are_sent_and_received(server: Server) -> None:
    port, writers, readers = server
    transport = await _connect(port)
    await until(lambda: writers)
    received: list[bytes] = []
    lost: list[Exception | None] = []
    transport.attach(received.append, lambda: None, lost.append)
    transport.write([b"one", memoryview(b"two"), bytearray(b"three")])
    assert await readers[0].readexactly(11) == b"onetwothree"
    writers[0].write(b"answer")
    await until(lambda: received == [b"answer"])
    writers[0].close()
    await until(lambda: lost == [None])
    transport.abort()


async def test_early_events_are_buffered(server: Server) -> None:
    port, writers, _ = server
    transport = await _connect(port)
    await until(lambda: writers)
    writers[0].write(b"early")
    writers[0].close()
    await until(lambda: transport._loss)  # noqa: SLF001 - no callback is set yet
    heard: list[object] = []
    transport.attach(heard.append, lambda: None, lambda error: heard.append(("lost", error)))
    assert heard == [b"early", ("lost", None)]


async def test_abort_calls_nothing(server: Server) -> None:
    port, writers, _ = server
    async with no_traces():
        transport = await _connect(port)
        await until(lambda: writers)
        heard: list[object] = []
        transport.attach(heard.append, lambda: heard.append("writable"), heard.append)
        transport.abort()
        transport.abort()
        writers[0].close()
        await until(writers[0].is_closing)
    assert heard == []


async def test_slow_peer_stops_writing(server: Server) -> None:
    port, writers, readers = server
    transport = await _connect(port)
    await until(lambda: writers)
    writable: list[bool] = []
    transport.attach(lambda _data: None, lambda: writable.append(True), lambda _error: None)
    assert transport.can_write
    size = 0
    while transport.can_write:
        transport.write([bytes(1_000_000)])
        size += 1_000_000
        assert size <= 100_000_000, "it takes whatever is written"
    assert not writable
    while size:
        size -= len(await readers[0].read(1_000_000))
    await until(lambda: writable and transport.can_write)
    transport.abort()


async def test_every_unsent_byte_is_noticed(server: Server) -> None:
    """With acks=0 a record counts as stored when the operating system has taken it."""
    port, writers, _ = server
    transport = await _connect(port)
    await until(lambda: writers)
    transport.attach(lambda _data: None, lambda: None, lambda _error: None)
    transport.hold_nothing_back(60.0)
    chunk = bytes(1_000)
    while transport.can_write:
        transport.write([chunk])
        await asyncio.sleep(0)  # uvloop writes at the end of a turn
    unsent = transport._transport.get_write_buffer_size()  # type: ignore[union-attr] # noqa: SLF001 - the insides
    assert 0 < unsent <= len(chunk)
    transport.abort()


class _Paused(asyncio.Transport):
    """The transport of a peer that reads slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing to set."""

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.parametrize(("taken", "is_lost"), [(1, False), (0, True)])
async def test_writing_more_is_no_stall(*, taken: int, is_lost: bool) -> None:
    """More is written to a slow peer than it takes: it counts that it takes some bytes at all."""
    peer = _Paused()
    transport = Transport(("127.0.0.1", 1))
    transport.connection_made(peer)
    lost: list[Exception | None] = []
    transport.attach(lambda _data: None, lambda: None, lost.append)
    transport.hold_nothing_back(60.0)
    transport.write([bytes(100)])
    transport.pause_writing()
    for _ in range(STALL_CHECKS):
        transport.write([bytes(10)])
        peer.unsent -= taken
        transport._check(60.0)  # noqa: SLF001 - rather than to wait
    assert bool(lost) is peer.is_aborted is is_lost
    transport.abort()


async def test_connection_that_is_paused_already_is_watched() -> None:
    peer = _Paused()
    transport = Transport(("127.0.0.1", 1))
    transport.connection_made(peer)
    transport.attach(lambda _data: None, lambda: None, lambda _error: None)
    transport.write([bytes(100)])
    transport.pause_writing()
    transport.hold_nothing_back(0.001)
    await until(lambda: peer.is_aborted)


async def test_socket_without_transport_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets: list[socket.socket] = []
    configure = module._configure  # noqa: SLF001 - the first to see the socket

    def seen(sock: socket.socket, *sizes: int) -> None:
        sockets.append(sock)
        configure(sock, *sizes)

    def fail(_address: object) -> Transport:
        raise OSError(errno.EMFILE, "no file descriptor is left")

    monkeypatch.setattr(module, "_configure", seen)
    monkeypatch.setattr(module, "Transport", fail)
    with pytest.raises(BrokerConnectionError, match="too many open files"):
        await _connect(server[0])
    assert [sock.fileno() for sock in sockets] == [-1]


async def test_end_of_stream_is_a_loss_at_once(server: Server) -> None:
    """A broker that sends no more reads no more: unsent bytes do not keep the connection."""
    port, writers, _ = server
    transport = await _connect(port)
    await until(lambda: writers)
    lost: list[Exception | None] = []
    transport.attach(lambda _data: None, lambda: None, lost.append)
    while transport.can_write:
        transport.write([bytes(1_000_000)])
        await asyncio.sleep(0)
    writers[0].write_eof()
    await until(lambda: lost == [None])
    transport.abort()


async def test_socket_is_configured(server: Server) -> None:
    port, _, _ = server
    transport = await connect("localhost", port, timeout=SOON, send_buffer=20_000, receive_buffer=30_000)
    sock = transport._transport.get_extra_info("socket")  # type: ignore[union-attr] # noqa: SLF001 - the insides
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert 20_000 <= sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 40_000
    assert 30_000 <= sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 60_000
    transport.abort()


@pytest.mark.scenario("several-addresses")
async def test_all_addresses_are_tried(
    server: Server, dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, writers, _ = server
    _resolves_to(monkeypatch, (socket.AF_INET, "127.0.0.1", dead_port), (socket.AF_INET, "127.0.0.1", port))
    transport = await _connect(9092, "kafka.test")
    await until(lambda: writers)
    transport.abort()


async def test_error_names_addresses_and_causes(dead_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    connects = loop.sock_connect

    async def hang(sock: socket.socket, address: Any) -> None:  # noqa: ANN401 - as asyncio has it
        if address[0] == "127.0.0.9":
            await asyncio.Event().wait()
        await connects(sock, address)

    real = socket.socket

    def without_ipv6(family: int, *arguments: Any) -> socket.socket:  # noqa: ANN401 - as socket has it
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *arguments)

    monkeypatch.setattr(loop, "sock_connect", hang)
    monkeypatch.setattr("aioproducer.net.transport.socket.socket", without_ipv6)
    _resolves_to(
        monkeypatch,
        (socket.AF_INET6, "::1", dead_port),
        (socket.AF_INET, "127.0.0.9", dead_port),
        (socket.AF_INET, "127.0.0.1", dead_port),
    )
    async with no_traces():
        with pytest.raises(BrokerConnectionError) as raised:
            await _connect(9092, "kafka.test", 0.05)
    message = str(raised.value)
    assert message.startswith("cannot connect to kafka.test:9092: [::1]: ")
    assert "not supported" in message
    assert "127.0.0.9: no connection within 0.1 s" in message
    assert "127.0.0.1: connection refused" in message


@pytest.mark.parametrize("name", ["a..b", "x" * 70 + ".test", "\ud800.test", ""])
async def test_invalid_name(name: str) -> None:
    if name:
        with pytest.raises(BrokerConnectionError, match="cannot be resolved"):
            await resolve(name, 9092)
    else:
        assert await resolve("127.0.0.1", 9092)


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.9", socket.AF_INET, ("127.0.0.9", 9092)),
        ("::1", socket.AF_INET6, ("::1", 9092, 0, 0)),
    ],
)
async def test_ip_address_needs_no_resolver(
    host: str, family: int, address: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "the name server is away")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    ((found, kind, _, _, where),) = await resolve(host, 9092)
    assert (found, kind, where) == (family, socket.SOCK_STREAM, address)
    # The resolver refuses invalid ports, and understands zones.
    for strange in ((host, 0), (host, 65536), (f"{host}%lo", 9092)):
        with pytest.raises(BrokerConnectionError):
            await resolve(*strange)


async def test_unresolvable_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(BrokerConnectionError, match=r"'kafka\.test' cannot be resolved") as raised:
        await resolve("kafka.test", 9092)
    assert isinstance(raised.value.__cause__, socket.gaierror)


async def test_cancelled_connect_leaves_nothing(server: Server) -> None:
    port, _, readers = server

    async def connect_and_abort() -> None:
        (await _connect(port)).abort()

    for cut in at_each_await():
        await cut.run(connect_and_abort())
    for reader in readers:
        async with asyncio.timeout(SOON):
            assert await reader.read() == b""
