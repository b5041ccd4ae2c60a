"""Each fault has its effect on a connection, and ends in time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.chaos.cluster import Route
from tests.integration.chaos.plan import ChaosFault, Direction, Kind
from tests.integration.chaos.proxy import Proxy
from tests.integration.layout import free_ports
from tests.integration.wire import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
SOON = 10.0
DATA = b"bytes to send through the proxy." * 64


class Echo:
    """A proxy before an echo server, and a connection through it."""

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        self.server_received = bytearray()
        self._more_received = asyncio.Event()
        self._port = port

    async def connect(self) -> None:
        """Connect, and check that the connection works."""
        self.reader, self.writer = await asyncio.open_connection(HOST, self._port)
        assert await self.exchange(b"hello") == b"hello"

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes, and return those that come back before the connection ends."""
        self.writer.write(data)
        try:
            return await self.reader.readexactly(len(data))
        except asyncio.IncompleteReadError as short:
            return short.partial

    async def wait_received(self, data: bytes) -> None:
        """Wait until the server has received these bytes."""
        while not self.server_received.endswith(data):
            self._more_received.clear()
            await self._more_received.wait()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while chunk := await reader.read(1000):
                self.server_received += chunk
                self._more_received.set()
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
async def fault_in_progress(
    echo: Echo, kind: Kind, direction: Direction, seconds: float = 0.3, amount: float = 0
) -> AsyncIterator[float]:
    """Apply a fault, and return the time of its begin."""
    fault = ChaosFault(0, kind, 1, seconds, amount, direction)
    applying = asyncio.create_task(echo.proxy.apply(fault))
    await asyncio.sleep(0)
    yield asyncio.get_running_loop().time()
    await applying


def since(began: float) -> float:
    return asyncio.get_running_loop().time() - began


both_directions = pytest.mark.parametrize("direction", Direction)


@both_directions
async def test_delay_holds_bytes(echo: Echo, direction: Direction) -> None:
    async with fault_in_progress(echo, Kind.DELAY, direction, amount=0.2) as began:
        assert await echo.exchange(DATA) == DATA
        assert since(began) >= 0.2


@both_directions
async def test_bandwidth_limit_slows_bytes(echo: Echo, direction: Direction) -> None:
    async with fault_in_progress(echo, Kind.NARROW, direction, seconds=0.5, amount=4 * len(DATA)) as began:
        assert await echo.exchange(DATA) == DATA
        assert since(began) >= 0.2


@both_directions
async def test_small_pieces_arrive_whole(echo: Echo, direction: Direction) -> None:
    async with fault_in_progress(echo, Kind.FRAGMENT, direction, amount=7):
        assert await echo.exchange(DATA) == DATA


@both_directions
async def test_silence_delays_bytes(echo: Echo, direction: Direction) -> None:
    async with fault_in_progress(echo, Kind.SILENCE, direction) as began:
        assert await echo.exchange(DATA) == DATA
        assert since(began) >= 0.3


@both_directions
async def test_swallowed_bytes_never_arrive(echo: Echo, direction: Direction) -> None:
    async with fault_in_progress(echo, Kind.SWALLOW, direction):
        with pytest.raises(ConnectionResetError):
            await echo.exchange(DATA)
    assert echo.server_received == b"hello" + (DATA if direction is Direction.ANSWERS else b"")


@both_directions
async def test_cut_refuses_new_connections(echo: Echo, direction: Direction) -> None:
    async with fault_in_progress(echo, Kind.CUT, direction):
        with pytest.raises(ConnectionResetError):
            await echo.exchange(DATA)
        with pytest.raises(ConnectionResetError):
            await echo.connect()
    await echo.connect()


@both_directions
async def test_connection_is_cut_midway(echo: Echo, direction: Direction) -> None:
    async with fault_in_progress(echo, Kind.CUT_SHORT, direction, amount=100):
        with pytest.raises(ConnectionResetError):
            await echo.exchange(DATA)
    expected = DATA[:100] if direction is Direction.REQUESTS else DATA
    assert echo.server_received == b"hello" + expected


async def test_responses_end(echo: Echo) -> None:
    async with fault_in_progress(echo, Kind.HALF_CLOSE, Direction.ANSWERS):
        assert await echo.exchange(DATA) == b""
    await echo.wait_received(DATA)


async def test_requests_end(echo: Echo) -> None:
    async with fault_in_progress(echo, Kind.HALF_CLOSE, Direction.REQUESTS):
        # The server closes its end after the end of the requests.
        assert await echo.exchange(DATA) == b""
    assert echo.server_received == b"hello"


async def test_proxy_recovers_after_fault(echo: Echo) -> None:
    for kind in (Kind.DELAY, Kind.NARROW, Kind.FRAGMENT, Kind.SILENCE):
        async with fault_in_progress(echo, kind, Direction.REQUESTS, seconds=0.01, amount=1):
            pass
    assert await echo.exchange(DATA) == DATA
