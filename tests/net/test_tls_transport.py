"""TLS over a transport: bytes both ways, the ends of a connection, hostile peers. Real TLS servers answer."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from aioproducer import AuthenticationError, BrokerConnectionError
from aioproducer.net.endpoint import Endpoint
from aioproducer.net.tls_transport import TlsTransport
from aioproducer.net.transport import connect
from aioproducer.testing.certificates import Certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SOON = 20.0

CERTIFICATES = Certificates.make()


class Ends:
    """The callbacks of a connection, and what came."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.losses: list[Exception | None] = []
        self.changed = asyncio.Event()

    def received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def writable(self) -> None:
        self.changed.set()

    def lost(self, cause: Exception | None) -> None:
        self.losses.append(cause)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def server(handle: Handle, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(closing, "127.0.0.1", ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def encrypted(
    port: int, *, timeout: float = SOON, context: ssl.SSLContext | None = None
) -> TlsTransport:
    plain = await connect("127.0.0.1", port, timeout=SOON, send_buffer=-1, receive_buffer=-1)
    tls = TlsTransport(
        plain,
        context or CERTIFICATES.client_context(),
        Endpoint(1, "localhost", port),
        has_client_certificate=False,
    )
    await tls.handshake(timeout)
    return tls


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 1_000_000])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_bytes_come_back_in_order(size: int, version: ssl.TLSVersion) -> None:
    context = CERTIFICATES.client_context()
    context.minimum_version = context.maximum_version = version
    data = bytes(number * 31 % 251 for number in range(size))
    async with server(echo, CERTIFICATES.server_context()) as port:
        tls, ends = await encrypted(port, context=context), Ends()
        tls.attach(ends.received, ends.writable, ends.lost)
        tls.write([data[: size // 2], data[size // 2 :]])
        await ends.until(lambda: len(ends.data) >= size)
        assert bytes(ends.data) == data
        assert ends.losses == []
        tls.abort()


async def test_early_bytes_are_kept() -> None:
    """A server may send right after the handshake, before the client attaches its callbacks."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        await reader.read()

    async with server(greet, CERTIFICATES.server_context()) as port:
        tls, ends = await encrypted(port), Ends()
        await asyncio.sleep(0.05)
        tls.attach(ends.received, ends.writable, ends.lost)
        await ends.until(lambda: ends.data == b"welcome")
        tls.abort()


@pytest.mark.parametrize("is_clean", [True, False])
async def test_close_is_reported_once(*, is_clean: bool) -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        if is_clean:
            writer.close()
            await writer.wait_closed()

    async with server(close, CERTIFICATES.server_context()) as port:
        tls, ends = await encrypted(port), Ends()
        tls.attach(ends.received, ends.writable, ends.lost)
        tls.write([b"x"])
        await ends.until(lambda: bool(ends.losses))
        await asyncio.sleep(0)
        assert len(ends.losses) == 1
        assert not tls.can_write
        # It is dropped: nothing raises.
        tls.write([b"y"])


async def test_abort_reports_nothing() -> None:
    async with server(echo, CERTIFICATES.server_context()) as port:
        tls, ends = await encrypted(port), Ends()
        tls.attach(ends.received, ends.writable, ends.lost)
        tls.write([b"x"])
        tls.abort()
        await asyncio.sleep(0.05)
        assert not ends.data
        assert ends.losses == []


async def test_back_pressure_is_the_sockets() -> None:
    """`can_write` ends when the peer stops reading, and comes back when it reads again."""
    reads = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reads.wait()
        while await reader.read(1 << 20):
            pass

    async with server(slow, CERTIFICATES.server_context()) as port:
        tls, ends = await encrypted(port), Ends()
        tls.attach(ends.received, ends.writable, ends.lost)
        chunk = bytes(1 << 20)
        written = 0
        while tls.can_write and written < 100:
            tls.write([chunk])
            written += 1
            await asyncio.sleep(0)
        assert written < 100
        reads.set()
        await ends.until(lambda: tls.can_write)
        tls.abort()


async def test_silent_peer_is_given_up() -> None:
    async with server(silent, None) as port:
        with pytest.raises(BrokerConnectionError, match="the TLS handshake did not end in time"):
            await encrypted(port, timeout=0.2)


async def test_slow_peer_is_given_up() -> None:
    """A peer that sends a byte now and then gets no more time than a silent one."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The header of a TLS record of 16 KiB.
        for byte in b"\x16\x03\x03\x40\x00" + bytes(16_384):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    async with server(drip, None) as port:
        with pytest.raises(BrokerConnectionError, match="the TLS handshake did not end in time"):
            await encrypted(port, timeout=0.3)


async def test_flood_is_not_kept() -> None:
    """Records that are no handshake end it at the first one, however many follow."""

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write((b"\x17\x03\x03\x40\x00" + bytes(16_384)) * 64)
            await writer.drain()

    async with server(flood, None) as port:
        with pytest.raises((AuthenticationError, BrokerConnectionError)):
            await encrypted(port)


async def test_refused_certificate_names_cause() -> None:
    context = CERTIFICATES.server_context()
    context.verify_mode = ssl.CERT_REQUIRED

    def refuse(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            context.wrap_socket(connection, server_side=True)

    # asyncio's servers close such a connection without the alert that brokers send.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listening))
        # With TLS 1.3 the client's handshake is complete before the broker refuses.
        tls, ends = await encrypted(listening.getsockname()[1]), Ends()
        tls.attach(ends.received, ends.writable, ends.lost)
        await ends.until(lambda: bool(ends.losses))
        await refusing
    [error] = ends.losses
    assert isinstance(error, AuthenticationError)
    assert "requires a client certificate" in str(error)


async def test_damaged_record_is_no_refusal() -> None:
    """Bytes change on the way: the options fit, and a new connection may work."""

    def damage(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, CERTIFICATES.server_context().wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)
            with socket.socket(fileno=os.dup(tls.fileno())) as plain:
                plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            with suppress(OSError):
                tls.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        damaging = asyncio.create_task(asyncio.to_thread(damage, listening))
        tls, ends = await encrypted(listening.getsockname()[1]), Ends()
        tls.attach(ends.received, ends.writable, ends.lost)
        tls.write([b"a"])
        await ends.until(lambda: bool(ends.losses))
        await damaging
    [error] = ends.losses
    assert isinstance(error, BrokerConnectionError)
    assert "the TLS connection is broken: " in str(error)


async def test_unknown_authority_is_refused() -> None:
    async with server(echo, Certificates.make().server_context()) as port:
        with pytest.raises(AuthenticationError, match=r"CN=localhost \(issued by CN=.*\) is not trusted"):
            await encrypted(port)


async def test_cancelled_handshake_closes() -> None:
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        closed.set()

    async with server(wait, None) as port:
        task = asyncio.create_task(encrypted(port))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(SOON):
            await closed.wait()
