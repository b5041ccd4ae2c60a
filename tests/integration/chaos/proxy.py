"""A TCP proxy that does to connections what a plan says, in a process of its own.

    producer ──▶ entrance ──requests──▶ exit ──▶ broker
             ◀──           ◀─answers──

The one idea: each half of a connection is a pump, and before it passes a chunk on it asks which
harms are under way. So harms can come, overlap and go while the connections stay.
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
    from tests.integration.chaos.plan import Harm

CHUNK = 32 * 1024
CRUMB_PAUSE = 0.001
TURN = 0.02
_SOON = 10.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Link:
    """A connection and the one that it is passed on to, each with how to write to it."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter

    def target(self, direction: Direction) -> asyncio.StreamWriter:
        """Where what goes in this direction is written to."""
        return self.broker if direction is Direction.REQUESTS else self.client

    def reset(self) -> None:
        """Break both connections off: what is on its way is lost."""
        for end in (self.client, self.broker):
            reset(end)

    def close_half(self, direction: Direction) -> None:
        """Say that nothing more comes in this direction, in which things still may be sent."""
        end = self.target(direction)
        if not end.transport.is_closing():
            with suppress(OSError):
                end.write_eof()


class Proxy:
    """The way to one broker. `connections` and `resets` count what became of it."""

    def __init__(self, route: Route) -> None:
        self.connections = 0
        self.resets = 0
        self._route = route
        self._links: set[Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._under_way: dict[Harm, asyncio.Event] = {}
        self._allowance: dict[Harm, int] = {}

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take connections while the block lasts, and break off those that are left at its end."""
        entrance = self._route.entrance
        async with await asyncio.start_server(self._serve, entrance.host, entrance.port):
            yield
            for link in self._links:
                link.reset()
            if self._serving:
                await asyncio.wait(self._serving)

    def __str__(self) -> str:
        return f"{self.connections} connections, {self.resets} of them reset"

    async def suffer(self, harm: Harm) -> None:
        """Let `harm` be under way for as long as it lasts."""
        over = self._under_way[harm] = asyncio.Event()
        if harm.kind is Kind.CUT_SHORT:
            self._allowance[harm] = int(harm.amount)
        if harm.kind is Kind.CUT:
            self._reset_all()
        if harm.kind is Kind.HALF_CLOSE and harm.direction:
            for link in self._links:
                link.close_half(harm.direction)
        await asyncio.sleep(harm.seconds)
        if harm.kind is Kind.SWALLOW:
            self._reset_all()
        del self._under_way[harm]
        over.set()

    def _reset_all(self) -> None:
        self.resets += len(self._links)
        for link in self._links:
            link.reset()

    def _suffers(self, kind: Kind, direction: Direction) -> Harm | None:
        return next((h for h in self._under_way if h.kind is kind and h.direction is direction), None)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        leads_to = self._route.exit
        try:
            if any(harm.kind is Kind.CUT for harm in self._under_way):
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
            # What cannot be written to any more was reset, or half closed by a harm.
            if target.transport.is_closing():
                link.reset()

    async def _pass(self, chunk: bytes, link: Link, direction: Direction) -> None:
        if harm := self._suffers(Kind.DELAY, direction):
            await asyncio.sleep(harm.amount)
        while harm := self._suffers(Kind.SILENCE, direction):
            await self._under_way[harm].wait()
        if self._suffers(Kind.SWALLOW, direction):
            return
        if harm := self._suffers(Kind.CUT_SHORT, direction):
            chunk, rest = chunk[: self._allowance[harm]], chunk[self._allowance[harm] :]
            self._allowance[harm] -= len(chunk)
            if rest:
                await self._trickle(chunk, link.target(direction), direction)
                self.resets += 1
                link.reset()
                return
        await self._trickle(chunk, link.target(direction), direction)

    async def _trickle(self, chunk: bytes, target: asyncio.StreamWriter, direction: Direction) -> None:
        while chunk:
            size, pause = len(chunk), 0.0
            if narrow := self._suffers(Kind.NARROW, direction):
                size, pause = max(int(narrow.amount * TURN), 1), TURN
            elif crumble := self._suffers(Kind.CRUMBLE, direction):
                size, pause = max(int(crumble.amount), 1), CRUMB_PAUSE
            target.write(chunk[:size])
            await target.drain()
            chunk = chunk[size:]
            if pause:
                await asyncio.sleep(pause)


def reset(end: asyncio.StreamWriter) -> None:
    """Break a connection off with a reset instead of an orderly end."""
    connection: socket.socket | None = end.get_extra_info("socket")
    if connection is not None and not end.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    end.transport.abort()


class NetworkHarms:
    """Carries a plan out between clients and brokers; `journal` says how many connections that took."""

    def __init__(self, routes: Sequence[Route], plan: Sequence[Harm]) -> None:
        self.journal: list[str] = []
        self._routes = routes
        self._plan = plan
        self._pipe: Connection | None = None

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Have the proxies listen while the block lasts; a child that is left alone ends by itself."""
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

    def carry_out(self) -> None:
        """Let it all happen, from now on; returns when it is over, and the proxies only pass on."""
        assert self._pipe is not None
        self._pipe.send("begin")
        self.journal = self._pipe.recv()


def run_proxies(pipe: Connection, routes: Sequence[Route], plan: Sequence[Harm]) -> None:
    """Be the process of the proxies."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(pipe, routes, plan))


async def _run(pipe: Connection, routes: Sequence[Route], plan: Sequence[Harm]) -> None:
    proxies = {route.node: Proxy(route) for route in routes}
    async with AsyncExitStack() as listening:
        for proxy in proxies.values():
            await listening.enter_async_context(proxy.listening())
        pipe.send("ready")
        await _told(pipe)
        await asyncio.gather(*(_carry_out(harm, proxies[harm.node]) for harm in plan))
        with suppress(OSError):
            pipe.send([f"node {node}: {proxy}" for node, proxy in proxies.items()])
        await _told(pipe)


async def _told(pipe: Connection) -> None:
    # The end of whoever started this process counts as a word of his too.
    with suppress(EOFError):
        await asyncio.to_thread(pipe.recv)


async def _carry_out(harm: Harm, proxy: Proxy) -> None:
    await asyncio.sleep(harm.at)
    await proxy.suffer(harm)
