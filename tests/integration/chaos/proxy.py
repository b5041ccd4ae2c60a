"""A TCP proxy that runs the network faults of a plan, in its own process.

    producer ──▶ entrance ──requests──▶ exit ──▶ broker
             ◀──           ◀─answers──

A task forwards the chunks of each half of a connection, and checks the active faults before each
chunk. So faults can begin, overlap and end while the connections stay open.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import struct
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.chaos.plan import Direction, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from multiprocessing.connection import Connection

    from tests.integration.chaos.cluster import Route
    from tests.integration.chaos.plan import ChaosFault

CHUNK = 32 * 1024
PIECE_PAUSE = 0.001
TURN = 0.02
_SOON = 10.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Link:
    """The two connections of a client: to the proxy, and from the proxy to the broker."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter

    def target(self, direction: Direction) -> asyncio.StreamWriter:
        """Return the writer for this direction."""
        return self.broker if direction is Direction.REQUESTS else self.client

    def reset(self) -> None:
        """Reset both connections: bytes in transit are lost."""
        for end in (self.client, self.broker):
            reset(end)

    def close_half(self, direction: Direction) -> None:
        """Send EOF in this direction."""
        end = self.target(direction)
        if not end.transport.is_closing():
            with suppress(OSError):
                end.write_eof()


class Proxy:
    """The proxy of one broker. `connections` and `resets` are counters."""

    def __init__(self, route: Route) -> None:
        self.connections = 0
        self.resets = 0
        self._route = route
        self._links: set[Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._in_progress: dict[ChaosFault, asyncio.Event] = {}
        self._allowance: dict[ChaosFault, int] = {}

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Accept connections while the block runs, and reset the open ones at its end."""
        entrance = self._route.entrance
        async with await asyncio.start_server(self._serve, entrance.host, entrance.port):
            yield
            for link in self._links:
                link.reset()
            if self._serving:
                await asyncio.wait(self._serving)

    def __str__(self) -> str:
        return f"{self.connections} connections, {self.resets} of them reset"

    async def apply(self, fault: ChaosFault) -> None:
        """Apply `fault`, and return after its end."""
        over = self._in_progress[fault] = asyncio.Event()
        if fault.kind is Kind.CUT_SHORT:
            self._allowance[fault] = int(fault.amount)
        if fault.kind is Kind.CUT:
            self._reset_all()
        if fault.kind is Kind.HALF_CLOSE and fault.direction:
            for link in self._links:
                link.close_half(fault.direction)
        await asyncio.sleep(fault.seconds)
        if fault.kind is Kind.SWALLOW:
            self._reset_all()
        del self._in_progress[fault]
        over.set()

    def _reset_all(self) -> None:
        self.resets += len(self._links)
        for link in self._links:
            link.reset()

    def _active(self, kind: Kind, direction: Direction) -> ChaosFault | None:
        return next((h for h in self._in_progress if h.kind is kind and h.direction is direction), None)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        leads_to = self._route.exit
        try:
            if any(fault.kind is Kind.CUT for fault in self._in_progress):
                raise ConnectionRefusedError
            answers, broker = await asyncio.open_connection(leads_to.host, leads_to.port)
        except OSError:
            reset(client)
            return
        link = Link(client, broker)
        self._links.add(link)
        serving = [
            asyncio.create_task(self._pump(reader, link, Direction.REQUESTS)),
            asyncio.create_task(self._pump(answers, link, Direction.ANSWERS)),
        ]
        self._serving.update(serving)
        await asyncio.wait(serving)
        self._serving.difference_update(serving)
        self._links.discard(link)
        for end in (client, broker):
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, link: Link, direction: Direction) -> None:
        target = link.target(direction)
        try:
            while chunk := await reader.read(CHUNK):
                await self._pass(chunk, link, direction)
            link.close_half(direction)
        except (OSError, RuntimeError):
            # The connection was reset, or half closed by a fault.
            if target.transport.is_closing():
                link.reset()

    async def _pass(self, chunk: bytes, link: Link, direction: Direction) -> None:
        if fault := self._active(Kind.DELAY, direction):
            await asyncio.sleep(fault.amount)
        while fault := self._active(Kind.SILENCE, direction):
            await self._in_progress[fault].wait()
        if self._active(Kind.SWALLOW, direction):
            return
        if fault := self._active(Kind.CUT_SHORT, direction):
            chunk, rest = chunk[: self._allowance[fault]], chunk[self._allowance[fault] :]
            self._allowance[fault] -= len(chunk)
            if rest:
                await self._trickle(chunk, link.target(direction), direction)
                self.resets += 1
                link.reset()
                return
        await self._trickle(chunk, link.target(direction), direction)

    async def _trickle(self, chunk: bytes, target: asyncio.StreamWriter, direction: Direction) -> None:
        while chunk:
            size, pause = len(chunk), 0.0
            if narrow := self._active(Kind.NARROW, direction):
                size, pause = max(int(narrow.amount * TURN), 1), TURN
            elif fragment := self._active(Kind.FRAGMENT, direction):
                size, pause = max(int(fragment.amount), 1), PIECE_PAUSE
            target.write(chunk[:size])
            await target.drain()
            chunk = chunk[size:]
            if pause:
                await asyncio.sleep(pause)


def reset(end: asyncio.StreamWriter) -> None:
    """Close a connection with a TCP reset."""
    connection: socket.socket | None = end.get_extra_info("socket")
    if connection is not None and not end.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    end.transport.abort()


class NetworkFaults:
    """Runs a plan between clients and brokers; `journal` has the counters of the proxies."""

    def __init__(self, routes: Sequence[Route], plan: Sequence[ChaosFault]) -> None:
        self.journal: list[str] = []
        self._routes = routes
        self._plan = plan
        self._pipe: Connection | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the proxies while the block runs; the child process ends when its parent does."""
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=run_proxies, args=(theirs, self._routes, self._plan), daemon=True)
        process.start()
        theirs.close()
        try:
            with ours:
                ours.recv()
                self._pipe = ours
                yield
            process.join(_SOON)
        finally:
            process.kill()
            process.join()
            process.close()

    def run(self) -> None:
        """Run all faults from now on, and return after the last one; the proxies then only forward."""
        assert self._pipe is not None
        self._pipe.send("begin")
        self.journal = self._pipe.recv()


def run_proxies(pipe: Connection, routes: Sequence[Route], plan: Sequence[ChaosFault]) -> None:
    """Run the proxies; the target of the child process."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(pipe, routes, plan))


async def _run(pipe: Connection, routes: Sequence[Route], plan: Sequence[ChaosFault]) -> None:
    proxies = {route.node: Proxy(route) for route in routes}
    async with AsyncExitStack() as listening:
        for proxy in proxies.values():
            await listening.enter_async_context(proxy.listening())
        pipe.send("ready")
        await _signal(pipe)
        await asyncio.gather(*(_apply_at(fault, proxies[fault.node]) for fault in plan))
        with suppress(OSError):
            pipe.send([f"node {node}: {proxy}" for node, proxy in proxies.items()])
        await _signal(pipe)


async def _signal(pipe: Connection) -> None:
    # A closed pipe counts as a signal: the parent process has ended.
    with suppress(EOFError):
        await asyncio.to_thread(pipe.recv)


async def _apply_at(fault: ChaosFault, proxy: Proxy) -> None:
    await asyncio.sleep(fault.at)
    await proxy.apply(fault)
