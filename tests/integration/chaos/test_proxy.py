"""Each harm does to a connection what its name says, and is over when it should be."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.chaos.cluster import Route
from tests.integration.chaos.plan import Direction, Harm, Kind
from tests.integration.chaos.proxy import Proxy
from tests.integration.layout import free_ports
from tests.integration.wire import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
SOON = 10.0
WORDS = b"a word to the wise is sufficient" * 64


class Echo:
    """A proxy before a server that answers what it is told, and a connection through it."""

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        self.told = bytearray()
        self._more_told = asyncio.Event()
        self._port = port

    async def connect(self) -> None:
        """Make the connection, and see that it works."""
        self.reader, self.writer = await asyncio.open_connection(HOST, self._port)
        assert await self.say(b"hello") == b"hello"

    async def say(self, words: bytes) -> bytes:
        """Return what comes back, which is less where the connection ends before."""
        self.writer.write(words)
        try:
            return await self.reader.readexactly(len(words))
        except asyncio.IncompleteReadError as short:
            return short.partial

    async def hears(self, words: bytes) -> None:
        """Wait until the server was told these words."""
        while not self.told.endswith(words):
            self._more_told.clear()
            await self._more_told.wait()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the server."""
        try:
            while chunk := await reader.read(1000):
                self.told += chunk
                self._more_told.set()
                writer.write(chunk)
        except OSError:
            pass
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    entrance, leads_to = (Address(HOST, port) for port in free_ports(2))
    proxy = Proxy(Route(1, entrance, leads_to))
    echo = Echo(proxy, entrance.port)
    async with asyncio.timeout(SOON):
        async with await asyncio.start_server(echo.answer, HOST, leads_to.port), proxy.listening():
            await echo.connect()
            yield echo
            echo.writer.close()


@asynccontextmanager
async def harmed(
    echo: Echo, kind: Kind, direction: Direction, seconds: float = 0.3, amount: float = 0
) -> AsyncIterator[float]:
    """Let a harm be under way, and give when it began."""
    harm = Harm(0, kind, 1, seconds, amount, direction)
    suffering = asyncio.create_task(echo.proxy.suffer(harm))
    await asyncio.sleep(0)
    yield asyncio.get_running_loop().time()
    await suffering


def since(began: float) -> float:
    return asyncio.get_running_loop().time() - began


both_directions = pytest.mark.parametrize("direction", Direction)


@both_directions
async def test_delay_holds_bytes(echo: Echo, direction: Direction) -> None:
    async with harmed(echo, Kind.DELAY, direction, amount=0.2) as began:
        assert await echo.say(WORDS) == WORDS
        assert since(began) >= 0.2


@both_directions
async def test_bandwidth_limit_slows_bytes(echo: Echo, direction: Direction) -> None:
    async with harmed(echo, Kind.NARROW, direction, seconds=0.5, amount=4 * len(WORDS)) as began:
        assert await echo.say(WORDS) == WORDS
        assert since(began) >= 0.2


@both_directions
async def test_small_pieces_arrive_whole(echo: Echo, direction: Direction) -> None:
    async with harmed(echo, Kind.CRUMBLE, direction, amount=7):
        assert await echo.say(WORDS) == WORDS


@both_directions
async def test_silence_delays_bytes(echo: Echo, direction: Direction) -> None:
    async with harmed(echo, Kind.SILENCE, direction) as began:
        assert await echo.say(WORDS) == WORDS
        assert since(began) >= 0.3


@both_directions
async def test_swallowed_bytes_never_arrive(echo: Echo, direction: Direction) -> None:
    async with harmed(echo, Kind.SWALLOW, direction):
        with pytest.raises(ConnectionResetError):
            await echo.say(WORDS)
    assert echo.told == b"hello" + (WORDS if direction is Direction.ANSWERS else b"")


@both_directions
async def test_cut_refuses_new_connections(echo: Echo, direction: Direction) -> None:
    async with harmed(echo, Kind.CUT, direction):
        with pytest.raises(ConnectionResetError):
            await echo.say(WORDS)
        with pytest.raises(ConnectionResetError):
            await echo.connect()
    await echo.connect()


@both_directions
async def test_connection_is_cut_midway(echo: Echo, direction: Direction) -> None:
    async with harmed(echo, Kind.CUT_SHORT, direction, amount=100):
        with pytest.raises(ConnectionResetError):
            await echo.say(WORDS)
    told = WORDS[:100] if direction is Direction.REQUESTS else WORDS
    assert echo.told == b"hello" + told


async def test_responses_end(echo: Echo) -> None:
    async with harmed(echo, Kind.HALF_CLOSE, Direction.ANSWERS):
        assert await echo.say(WORDS) == b""
    await echo.hears(WORDS)


async def test_requests_end(echo: Echo) -> None:
    async with harmed(echo, Kind.HALF_CLOSE, Direction.REQUESTS):
        # The server takes its leave too when nothing more comes.
        assert await echo.say(WORDS) == b""
    assert echo.told == b"hello"


async def test_proxy_recovers_after_fault(echo: Echo) -> None:
    for kind in (Kind.DELAY, Kind.NARROW, Kind.CRUMBLE, Kind.SILENCE):
        async with harmed(echo, kind, Direction.REQUESTS, seconds=0.01, amount=1):
            pass
    assert await echo.say(WORDS) == WORDS
