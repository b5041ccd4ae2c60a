"""A TCP connection, as a few methods: bytes out by `write`, bytes in by a callback.

An asyncio Protocol, not a stream: what arrives is dealt with in the same turn of the event
loop, without a task being woken for it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

import anyio

from aioproducer.errors import BrokerConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioproducer.protocol.fields import Chunk

    AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]


LAST_PORT = 2**16 - 1

RECEIVED_AT_ONCE = 64 * 1024
"""The size in bytes of the buffer that a connection receives into."""


class Transport(asyncio.BufferedProtocol):
    """One open connection.

    It receives into a buffer of its own: for a plain Protocol asyncio allocates 256 KiB each time.

    `on_data(bytes)`, `on_writable()` and `on_lost(exception or None)` are called by the event
    loop; the last one once, after which nothing is called any more.
    """

    def __init__(self) -> None:
        self.can_write = True
        self._buffer = bytearray(RECEIVED_AT_ONCE)
        self._transport: asyncio.Transport | None = None
        # What happens before anybody is attached is kept for him.
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
        """Send chunks, one after the other; never waits."""
        cast("asyncio.Transport", self._transport).writelines(chunks)

    def hold_nothing_back(self) -> None:
        """Have `can_write` say whether all that was written is with the operating system."""
        cast("asyncio.Transport", self._transport).set_write_buffer_limits(0)

    def abort(self) -> None:
        """Close the connection at once; nobody is told."""
        self._on_data = self._on_writable = self._on_lost = _ignore
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over from asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - one size fits all
        """Say where to receive into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what has arrived."""
        self._on_data(bytes(memoryview(self._buffer)[:nbytes]))

    def pause_writing(self) -> None:
        """Take note that the peer does not read as fast as we write."""
        self.can_write = False

    def resume_writing(self) -> None:
        """Take note that the peer has caught up."""
        self.can_write = True
        self._on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on that the connection is gone."""
        self._on_lost(exc)


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """Return all addresses of a name, in the order in which they should be tried."""
    if not 0 < port <= LAST_PORT:
        # Some resolvers would cut it down to 16 bits, and somebody else may listen there.
        msg = f"{host}:{port} is no address: ports are from 1 to {LAST_PORT}"
        raise BrokerConnectionError(msg)
    address = _in_digits(host, port)
    if address is not None:
        return [address]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: it is no name at all
        msg = f"the name {host!r} cannot be resolved: {error}"
        raise BrokerConnectionError(msg) from error
    return cast("list[AddressInfo]", infos)


async def connect(
    host: str, port: int, *, timeout: float, send_buffer: int, receive_buffer: int
) -> Transport:
    """Connect to the first address of `host` that answers, each tried for `timeout` seconds.

    Buffer sizes are in bytes, -1 leaves them to the operating system. Raises
    BrokerConnectionError that names each address and its cause.
    """
    failures = []
    for family, kind, proto, _, address in await resolve(host, port):
        try:
            sock = socket.socket(family, kind, proto)
        except OSError as error:  # no IPv6 here, or no file descriptor left
            failures.append(f"{address[0]}: {error}")
            continue
        try:
            _configure(sock, send_buffer, receive_buffer)
            with anyio.fail_after(timeout):
                await asyncio.get_running_loop().sock_connect(sock, address)
                _, transport = await asyncio.get_running_loop().create_connection(Transport, sock=sock)
        except TimeoutError:
            sock.close()
            failures.append(f"{address[0]}: no connection within {timeout:.1f} s")
        except OSError as error:
            sock.close()
            failures.append(f"{address[0]}: {error}")
        except BaseException:
            sock.close()
            raise
        else:
            return transport
    msg = f"cannot connect to {host}:{port} ({'; '.join(failures)})"
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
    """Nobody is to be told."""
