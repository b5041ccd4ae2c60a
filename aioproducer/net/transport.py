"""A TCP connection, as a few methods: bytes out by `write`, bytes in by a callback.

An asyncio Protocol, not a stream: what arrives is dealt with in the same turn of the event
loop, without a task being woken for it.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio

from aioproducer.errors import BrokerConnectionError
from aioproducer.net.causes import cause_of
from aioproducer.options import format_address, format_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioproducer.protocol.primitives import Chunk

    SocketAddress = tuple[str, int] | tuple[str, int, int, int]
    AddressInfo = tuple[int, int, int, str, SocketAddress]


LAST_PORT = 2**16 - 1

RECEIVED_AT_ONCE = 64 * 1024
"""The size in bytes of the buffer that a connection receives into."""

STALL_CHECKS = 4
"""How many checks in a row find that no byte was taken before a connection counts as stalled."""


class Transport(asyncio.BufferedProtocol):
    """One open connection, to `address`.

    It receives into a buffer of its own: for a plain Protocol asyncio allocates 256 KiB each time.

    `on_data(bytes)`, `on_writable()` and `on_lost(exception or None)` are called by the event
    loop; the last one once, after which nothing is called any more.
    """

    def __init__(self, address: SocketAddress) -> None:
        self.address = address
        self.can_write = True
        self._buffer = bytearray(RECEIVED_AT_ONCE)
        self._transport: asyncio.Transport | None = None
        self._gathers = False
        self._is_lost = False
        self._patience: float | None = None
        self._unsent = 0
        self._idle_checks = 0
        self._timer: asyncio.TimerHandle | None = None
        # Events before `attach` are kept.
        self._early: list[bytes] = []
        self._loss: list[Exception | None] = []
        self._on_data: Callable[[bytes], object] = self._early.append
        self._on_writable: Callable[[], object] = _ignore
        self._on_lost: Callable[[Exception | None], object] = self._loss.append

    def attach(
        self,
        on_data: Callable[[bytes], object],
        on_writable: Callable[[], object],
        on_lost: Callable[[Exception | None], object],
    ) -> None:
        """Say who is told of what happens, and of what has happened since the connection was made."""
        self._on_data = on_data
        self._on_writable = on_writable
        self._on_lost = on_lost
        for data in self._early:
            self._on_data(data)
        for cause in self._loss:
            self._on_lost(cause)

    def write(self, chunks: Sequence[Chunk]) -> None:
        """Send chunks, one after the other; never waits. A connection that ends takes nothing."""
        transport = self._open_transport()
        if transport.is_closing():
            return
        was_paused = not self.can_write
        if self._gathers:
            transport.writelines(chunks)
        else:
            transport.write(b"".join(chunks))
        if was_paused:
            self._unsent += sum(map(len, chunks))
        if transport.is_closing():
            # The write failed. `connection_lost` comes in a later turn: send nothing until then.
            self.can_write = False

    def hold_nothing_back(self, patience: float) -> None:
        """Let `can_write` say whether the operating system has taken all that was written.

        A connection of which it takes no byte for `patience` seconds is lost.
        """
        self._patience = patience
        transport = self._open_transport()
        if not transport.is_closing():
            transport.set_write_buffer_limits(0)

    def abort(self) -> None:
        """Close the connection at once; nobody is told."""
        self._is_lost = True
        self._stop_watching()
        self._on_data = self._on_writable = self._on_lost = _ignore
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over from asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        # uvloop writes several chunks without a copy. In asyncio `writelines` copies as well (3.11),
        # or writes to a socket that is closed and never pauses (3.12 and 3.13: cpython#136234,
        # cpython#127655). `write` is right in all of them.
        self._gathers = type(transport).__module__.startswith("uvloop.")

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - one size fits all
        """Say where to receive into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what has arrived."""
        self._on_data(bytes(memoryview(self._buffer)[:nbytes]))

    def pause_writing(self) -> None:
        """Note that the peer does not read as fast as we write."""
        self.can_write = False
        if self._patience is not None and not self._is_lost:
            self._unsent = self._open_transport().get_write_buffer_size()
            self._idle_checks = 0
            self._watch(self._patience)

    def resume_writing(self) -> None:
        """Note that the peer has caught up."""
        self._stop_watching()
        if self._is_lost or self._open_transport().is_closing():
            return
        self.can_write = True
        self._on_writable()

    def eof_received(self) -> None:
        """End the connection: a broker that sends no more reads no more."""
        # asyncio would call `connection_lost` in a later turn, or when the buffer is written.
        self._end(None)
        self._open_transport().abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on that the connection is gone."""
        self._end(exc)

    def _open_transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self._transport)

    def _end(self, cause: Exception | None) -> None:
        self.can_write = False
        self._stop_watching()
        if not self._is_lost:
            self._is_lost = True
            self._on_lost(cause)

    def _watch(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(patience / STALL_CHECKS, self._check, patience)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, patience: float) -> None:
        # Count checks, not seconds: while something else holds the loop no byte can be written.
        transport = self._open_transport()
        unsent = transport.get_write_buffer_size()
        self._idle_checks = 0 if unsent < self._unsent else self._idle_checks + 1
        self._unsent = unsent
        if self._idle_checks < STALL_CHECKS:
            self._watch(patience)
            return
        self._end(TimeoutError(f"{unsent} bytes wait, and none was taken for {patience * 1000:.0f} ms"))
        transport.abort()


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """Return all addresses of a name, in the order in which they should be tried."""
    if not 0 < port <= LAST_PORT:
        # Some resolvers would cut it down to 16 bits, and something else may listen there.
        msg = f"{format_address(host, port)} is no address: ports are from 1 to {LAST_PORT}"
        raise BrokerConnectionError(msg)
    address = _in_digits(host, port)
    if address is not None:
        return [address]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: it is no name at all
        msg = f"the name {host!r} cannot be resolved: {cause_of(error)}"
        raise BrokerConnectionError(msg) from error
    return cast("list[AddressInfo]", infos)


async def connect(
    host: str, port: int, *, timeout: float, send_buffer: int, receive_buffer: int
) -> Transport:
    """Connect to the first address of `host` that answers, each tried for `timeout` seconds.

    Buffer sizes are in bytes, -1 leaves them to the operating system. Raises
    BrokerConnectionError that names each address and its cause.
    """
    causes: dict[Any, str] = {}
    for family, kind, proto, _, address in await resolve(host, port):
        try:
            sock = socket.socket(family, kind, proto)
        except OSError as error:  # no IPv6 here, or no file descriptor left
            causes[address[0]] = cause_of(error)
            continue
        try:
            _configure(sock, send_buffer, receive_buffer)
            with anyio.fail_after(timeout):
                await asyncio.get_running_loop().sock_connect(sock, address)
                _, transport = await asyncio.get_running_loop().create_connection(
                    partial(Transport, address), sock=sock
                )
        except TimeoutError:
            sock.close()
            causes[address[0]] = f"no connection within {timeout:.1f} s"
        except OSError as error:
            sock.close()
            causes[address[0]] = cause_of(error)
        except BaseException:
            sock.close()
            raise
        else:
            return transport
    listed = [
        cause if digits == host else f"{format_host(digits)}: {cause}" for digits, cause in causes.items()
    ]
    msg = f"cannot connect to {format_address(host, port)}: {'; '.join(listed)}"
    raise BrokerConnectionError(msg)


def _in_digits(host: str, port: int) -> AddressInfo | None:
    # Nobody need be asked about such an address, which otherwise takes a thread and the codec of names.
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", cast("Any", (host, port, *rest))
    return None


def _configure(sock: socket.socket, send_buffer: int, receive_buffer: int) -> None:
    sock.setblocking(False)  # noqa: FBT003 - the standard library has it so
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if send_buffer >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if receive_buffer >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)


def _ignore(*_arguments: object) -> None:
    """Do nothing."""
