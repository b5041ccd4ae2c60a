"""A TCP connection, as a few methods: bytes out by `write`, bytes in by a callback.

An asyncio Protocol, not a stream: received bytes are handled in the same turn of the event loop,
without waking a task.

    connect ──resolve──▶ addresses in order ──▶ one attempt after the other, ADDRESS_HEAD_START apart
                                                   first to connect ──▶ Transport
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, cast

import anyio

from aioproducer.config.kinds import format_address, format_host
from aioproducer.errors import BrokerConnectionError
from aioproducer.net.causes import cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioproducer.protocol.fields import Chunk

    SocketAddress = tuple[str, int] | tuple[str, int, int, int]
    AddressInfo = tuple[int, int, int, str, SocketAddress]


LAST_PORT = 2**16 - 1

RECEIVED_AT_ONCE = 64 * 1024
"""The size in bytes of the buffer that a connection receives into."""

ADDRESS_HEAD_START = 0.25
"""Seconds after which the next address is tried in parallel (RFC 8305)."""

STALL_CHECKS = 4
"""A connection is stalled when so many checks in a row find no byte taken."""


class Transport(asyncio.BufferedProtocol):
    """One open connection, to `address`.

    It receives into one buffer: for a plain Protocol asyncio allocates 256 KiB for each read.

    The event loop calls `on_data(bytes)`, `on_writable()` and `on_lost(exception or None)`. The
    last one is called once, and no other after it.
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
        # Events before `attach` are buffered.
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
        """Set the callbacks, and call them for the events so far."""
        self._on_data = on_data
        self._on_writable = on_writable
        self._on_lost = on_lost
        for data in self._early:
            self._on_data(data)
        for cause in self._loss:
            self._on_lost(cause)

    def write(self, chunks: Sequence[Chunk]) -> None:
        """Send chunks in order; never waits. A closing connection drops them."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        # While it is paused, `_check` watches the unsent bytes. New bytes are added there too, or
        # they would look like a stalled connection.
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
        """Make `can_write` mean that the operating system has taken all bytes.

        If it does not take a byte for `patience` seconds, the connection is lost.
        """
        self._patience = patience
        transport = self._open_transport()
        if transport.is_closing():
            return
        # asyncio pauses at the first byte that the socket does not take.
        transport.set_write_buffer_limits(0)
        if not self.can_write:
            self._start_watching()

    def abort(self) -> None:
        """Close the connection at once, without `on_lost`."""
        self._is_lost = True
        self._stop_watching()
        self._on_data = self._on_writable = self._on_lost = _ignore
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep asyncio's transport."""
        self._transport = cast("asyncio.Transport", transport)
        # uvloop writes several chunks without a copy. In asyncio `writelines` copies as well (3.11),
        # or writes to a socket that is closed and never pauses (3.12 and 3.13: cpython#136234,
        # cpython#127655). `write` is right in all of them.
        self._gathers = type(transport).__module__.startswith("uvloop.")

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - one size fits all
        """Return the buffer to receive into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on the received bytes."""
        # Copy the bytes: the next read overwrites the buffer, and frames are views.
        self._on_data(bytes(memoryview(self._buffer)[:nbytes]))

    def pause_writing(self) -> None:
        """Note that the peer reads more slowly than we write."""
        self.can_write = False
        self._start_watching()

    def resume_writing(self) -> None:
        """Note that the unsent bytes are written."""
        self._stop_watching()
        if self._is_lost or self._open_transport().is_closing():
            return
        self.can_write = True
        self._on_writable()

    def eof_received(self) -> None:
        """End the connection: a broker that stops sending stops reading too."""
        # asyncio would call `connection_lost` in a later turn, or when the buffer is written.
        self._end(None)
        self._open_transport().abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the loss of the connection."""
        self._end(exc)

    def _open_transport(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self._transport)

    def _end(self, cause: Exception | None) -> None:
        self.can_write = False
        self._stop_watching()
        if not self._is_lost:
            self._is_lost = True
            self._on_lost(cause)

    def _start_watching(self) -> None:
        self._stop_watching()
        if self._patience is not None and not self._is_lost:
            self._unsent = self._open_transport().get_write_buffer_size()
            self._idle_checks = 0
            self._watch(self._patience)

    def _watch(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(patience / STALL_CHECKS, self._check, patience)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, patience: float) -> None:
        # Count checks, not seconds: while a callback blocks the loop, no byte can be written.
        transport = self._open_transport()
        unsent = transport.get_write_buffer_size()
        self._idle_checks = 0 if unsent < self._unsent else self._idle_checks + 1
        self._unsent = unsent
        if self._idle_checks < STALL_CHECKS:
            self._watch(patience)
            return
        self._end(TimeoutError(f"{unsent} bytes are unsent, and none was taken for {patience * 1000:.0f} ms"))
        transport.abort()


class Addresses:
    """The order of a host name's addresses: the last one that worked first, failed ones last."""

    def __init__(self) -> None:
        self._ranks: dict[SocketAddress, int] = {}

    def worked(self, address: SocketAddress) -> None:
        """Try this address first from now on."""
        self._ranks = {address: -1}

    def failed(self, address: SocketAddress) -> None:
        """Try this address last from now on: TCP connects, but no broker responds."""
        self._ranks[address] = 1 + max([0, *self._ranks.values()])

    def order(self, found: Sequence[AddressInfo]) -> list[AddressInfo]:
        """Return each address once, in the order in which to try them.

        IPv4 and IPv6 alternate, because often all addresses of one family fail together.
        """
        families: dict[int, list[AddressInfo]] = {}
        for info in dict.fromkeys(found):
            families.setdefault(info[0], []).append(info)
        turns = chain.from_iterable(zip_longest(*families.values()))
        return sorted(
            (info for info in turns if info is not None), key=lambda info: self._ranks.get(info[4], 0)
        )


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """Return all addresses of a name, in the system's order."""
    if not 0 < port <= LAST_PORT:
        # Some resolvers truncate the port to 16 bits, where another service may listen.
        msg = f"{format_address(host, port)} is no address: ports are from 1 to {LAST_PORT}"
        raise BrokerConnectionError(msg)
    address = _in_digits(host, port)
    if address is not None:
        return [address]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: not a host name
        msg = f"the name {host!r} cannot be resolved: {cause_of(error)}"
        raise BrokerConnectionError(msg) from error
    return cast("list[AddressInfo]", infos)


async def connect(
    host: str,
    port: int,
    *,
    timeout: float,
    send_buffer: int,
    receive_buffer: int,
    addresses: Addresses | None = None,
) -> Transport:
    """Connect to the first address of `host` that accepts, each tried for `timeout` seconds.

    The attempts run in parallel, each begins ADDRESS_HEAD_START after the one before, or as soon as that
    fails (RFC 8305). `addresses` gives the order. Buffer sizes are in bytes; -1 leaves them to the
    operating system. Raises BrokerConnectionError, which names each address and its cause.
    """
    try:
        with anyio.fail_after(timeout):
            found = await resolve(host, port)
    except TimeoutError:
        msg = f"the name {host!r} cannot be resolved: no answer within {timeout:.1f} s"
        raise BrokerConnectionError(msg) from None
    attempts = _Attempts(timeout, send_buffer, receive_buffer)
    try:
        transport = await attempts.run((addresses or Addresses()).order(found))
    except BaseException:
        attempts.close()
        raise
    if transport is not None:
        return transport
    causes = [
        cause if digits == host else f"{format_host(digits)}: {cause}"
        for (digits, *_), cause in attempts.causes.items()
    ]
    msg = f"cannot connect to {format_address(host, port)}: {'; '.join(causes)}"
    raise BrokerConnectionError(msg)


class _Attempts:
    """Parallel attempts to connect to several addresses; the first to succeed wins.

    `causes` maps each address to the reason of its failure, in the order of the attempts.
    """

    def __init__(self, timeout: float, send_buffer: int, receive_buffer: int) -> None:
        self.causes: dict[SocketAddress, str] = {}
        self._timeout = timeout
        self._send_buffer = send_buffer
        self._receive_buffer = receive_buffer
        self._winner: tuple[socket.socket, SocketAddress] | None = None
        self._running = 0
        self._ended = asyncio.Event()

    async def run(self, infos: Sequence[AddressInfo]) -> Transport | None:
        """Return the first connection, None if all attempts fail."""
        self.causes = {address: "" for *_, address in infos}
        async with anyio.create_task_group() as group:
            for info in infos:
                self._running += 1
                self._ended.clear()
                group.start_soon(self._attempt, info, name=f"connect-{info[4][0]}")
                with anyio.move_on_after(ADDRESS_HEAD_START):
                    await self._ended.wait()
                if self._winner is not None:
                    break
            while self._winner is None and self._running:
                self._ended.clear()
                await self._ended.wait()
            group.cancel_scope.cancel()
        if self._winner is None:
            return None
        sock, address = self._winner
        try:
            with anyio.fail_after(self._timeout):
                _, transport = await asyncio.get_running_loop().create_connection(
                    partial(Transport, address), sock=sock
                )
        except OSError as error:
            self.close()
            self._fail(address, error)
            return None
        return transport

    def close(self) -> None:
        """Close the socket of the first connection, if it has no transport yet."""
        if self._winner is not None:
            self._winner[0].close()

    async def _attempt(self, info: AddressInfo) -> None:
        family, kind, proto, _, address = info
        sock = None
        try:
            sock = socket.socket(family, kind, proto)
            _configure(sock, self._send_buffer, self._receive_buffer)
            with anyio.fail_after(self._timeout):
                await asyncio.get_running_loop().sock_connect(sock, address)
            # Two attempts may succeed in one turn of the loop: the second socket is closed below.
            if self._winner is None:
                self._winner, sock = (sock, address), None
        except OSError as error:  # also raised without IPv6, or without free file descriptors
            self._fail(address, error)
        finally:
            if sock is not None:
                sock.close()
            self._running -= 1
            self._ended.set()

    def _fail(self, address: SocketAddress, error: OSError) -> None:
        # ETIMEDOUT of the operating system has an errno; the time limit of this attempt has none.
        is_late = isinstance(error, TimeoutError) and error.errno is None
        self.causes[address] = f"no connection within {self._timeout:.1f} s" if is_late else cause_of(error)


def _in_digits(host: str, port: int) -> AddressInfo | None:
    # Do not ask the resolver for an IP address: it would cost a thread.
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", cast("Any", (host, port, *rest))
    return None


def _configure(sock: socket.socket, send_buffer: int, receive_buffer: int) -> None:
    sock.setblocking(False)  # noqa: FBT003 - the standard library has it so
    # Without it the last small packet of a request waits for an acknowledgement (Nagle).
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if send_buffer >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if receive_buffer >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)


def _ignore(*_arguments: object) -> None:
    """Do nothing."""
