"""The search for the cluster by addresses, some of which do not work."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest

from aioproducer import BootstrapError, ProducerError
from aioproducer.net.broker import Broker
from aioproducer.net.channel import Channel
from aioproducer.protocol.metadata import MetadataResponse
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import quick, until
from tests.net.traces import no_traces

SOON = 30


def _dead() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


@asynccontextmanager
async def _server(greeting: bytes) -> AsyncIterator[str]:
    """Respond to everything with the same bytes; no bytes are silence."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_one_working_address_suffices() -> None:
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        _server(b"") as silent,
        _server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as stranger,
    ):
        for _ in range(5):
            servers = [_dead(), silent, stranger, "no.such.name.invalid:9092", cluster.bootstrap]
            async with no_traces():
                started = time.monotonic()
                patient: Any = {"request_timeout_ms": 60_000, "delivery_timeout_ms": 60_000}
                async with quick(servers, max_block_ms=60_000, **patient) as producer:
                    assert time.monotonic() - started < SOON
                    await producer.send("orders", b"1")


@pytest.mark.simulated
async def test_error_names_each_address() -> None:
    async with _server(b"") as silent, _server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as stranger:
        dead = _dead()
        producer = quick([dead, silent, stranger], max_block_ms=600, request_timeout_ms=200)
        started = asyncio.get_running_loop().time()
        async with no_traces():
            with pytest.raises(BootstrapError, match="could be used within 0") as raised:
                await producer.start()
        assert 0.5 < asyncio.get_running_loop().time() - started < 1
        causes = raised.value.causes
        assert set(causes) == {dead, silent, stranger}
        assert "cannot connect" in str(causes[dead])
        assert "HTTP server" in str(causes[stranger])
        assert "did not" in str(causes[silent])
        for address, cause in causes.items():
            assert f"{address}: {cause}" in str(raised.value)


@pytest.mark.simulated
async def test_zero_time_tries_each_once() -> None:
    """With `max_block_ms=0` no record waits; attempts to connect have their own limits."""
    made = partial(quick, max_block_ms=0, socket_connection_setup_timeout_ms=300)
    async with FakeCluster(topics={"orders": 1}) as cluster, _server(b"") as silent:
        cluster.on(ApiKey.METADATA).delay(0.1)
        async with no_traces(), made([_dead(), silent, cluster.bootstrap]) as producer:
            assert "running" in repr(producer)
        dead, other = _dead(), _dead()
        async with no_traces():
            with pytest.raises(BootstrapError) as raised:
                await asyncio.wait_for(made([dead, silent, other]).start(), SOON)
        causes = raised.value.causes
        assert set(causes) == {dead, silent, other}
        assert all("cannot connect" in str(causes[address]) for address in (dead, other))
        assert "did not" in str(causes[silent])


@pytest.mark.simulated
@pytest.mark.parametrize("attempt", range(4))
async def test_little_time_tries_each(attempt: int) -> None:
    """In every order of the addresses the silent ones leave time for the last."""
    async with FakeCluster() as cluster, _server(b"") as silent, _server(b"") as mute, _server(b"") as still:
        servers = [silent, mute, still, cluster.bootstrap]
        async with quick(servers, max_block_ms=700, request_timeout_ms=5_000) as producer:
            assert "running" in repr(producer), attempt


@pytest.mark.simulated
async def test_duplicate_address_counts_once() -> None:
    dead = _dead()
    async with FakeCluster() as cluster:
        producer = quick([dead, dead], max_block_ms=300)
        starting = asyncio.create_task(producer.start())
        with pytest.raises(BootstrapError) as raised:
            await asyncio.wait_for(starting, SOON)
        assert "cannot connect" in str(raised.value.causes[dead])
        async with quick([dead, dead, cluster.bootstrap, cluster.bootstrap]) as producer:
            assert producer.metrics()


async def test_late_cluster_is_found() -> None:
    cluster = FakeCluster(topics={"orders": 1})
    await cluster.start()
    address = cluster.bootstrap
    await cluster.stop()
    producer = quick(address)
    starting = asyncio.create_task(producer.start())
    await asyncio.sleep(0.1)
    assert not starting.done()
    await cluster.start()
    await asyncio.wait_for(starting, SOON)
    assert (await producer.send("orders", b"1")).offset == 0
    await producer.stop()
    await cluster.stop()


@pytest.mark.simulated
async def test_response_without_brokers_is_refused() -> None:
    async with FakeCluster() as cluster:
        cluster.on(ApiKey.METADATA, times=None).rewrite(
            lambda _answer: MetadataResponse(brokers=(), topics=())
        )
        producer = quick(cluster, max_block_ms=200)
        with pytest.raises(BootstrapError, match="the answer names no broker"):
            await producer.start()
        cluster.heal()


async def test_unknown_names_end_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start ends at once, or after `bootstrap_resolve_timeout_ms`."""
    tries = 0

    def fail(*_arguments: object, **_options: object) -> None:
        nonlocal tries
        tries += 1
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    servers = ["a.test:1", "b.test:1"]
    with pytest.raises(BootstrapError, match="name not known"):
        await asyncio.wait_for(quick(servers, max_block_ms=60_000).start(), SOON)
    assert tries == 2
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(BootstrapError):
        await quick(servers, max_block_ms=60_000, bootstrap_resolve_timeout_ms=200).start()
    # uvloop's clock has milliseconds.
    assert 0.197 <= loop.time() - started < SOON
    # Both names were looked up at least once more; how often depends on the machine.
    assert tries >= 4


async def test_canonical_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`client_dns_lookup` may replace names by canonical ones."""
    async with FakeCluster() as cluster:
        loop = asyncio.get_running_loop()
        asked: list[str] = []
        real = socket.getaddrinfo

        def getaddrinfo(host: str, *arguments: Any, **options: Any) -> list[Any]:  # noqa: ANN401 - as socket has it
            asked.append(host)
            return real("127.0.0.1", *arguments, **options)

        async def getnameinfo(_address: object, _flags: int = 0) -> tuple[str, str]:
            return "canonical.test", "1"

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(loop, "getnameinfo", getnameinfo)
        port = cluster.bootstrap.partition(":")[2]
        servers = f"alias.test:{port}"
        async with quick(servers, client_dns_lookup="resolve_canonical_bootstrap_servers_only"):
            assert asked[:2] == ["alias.test", "canonical.test"]


async def test_losing_connections_are_closed() -> None:
    async with FakeCluster(3) as cluster, no_traces(), quick(cluster):
        await until(lambda: sum(map(cluster.connections, (1, 2, 3))) <= 1)


@pytest.mark.simulated
async def test_closing_address_gets_each_version_once() -> None:
    """A server that closes every connection is asked in all versions of ApiVersions once."""
    tries: list[float] = []

    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(time.monotonic())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        pause = 300
        producer = quick(
            f"127.0.0.1:{port}", max_block_ms=2_000, retry_backoff_ms=pause, retry_backoff_max_ms=pause
        )
        with pytest.raises(BootstrapError, match=r"closed|reset"):
            await producer.start()
    # Two connections for each of the three versions, then one for each further search.
    looks = 2_000 / (0.8 * pause)
    assert 6 < len(tries) <= 6 + looks


@pytest.mark.parametrize("closes", range(1, 7))
async def test_search_ends_at_closed_connection(monkeypatch: pytest.MonkeyPatch, closes: int) -> None:
    """A search that is cancelled in the turn in which a server closes the connection ends."""
    requests = channels = 0
    close, request = Channel.close, Broker.request

    def cancel_after_close(channel: Channel, error: ProducerError, *, is_idle: bool = False) -> None:
        nonlocal channels
        close(channel, error, is_idle=is_idle)
        channels += 1
        if channels == closes:
            # The task of the broker has its turn first: it was woken by `close`.
            asyncio.get_running_loop().call_soon(search.cancel)

    async def counted_request(broker: Broker, *arguments: object, **options: Any) -> object:  # noqa: ANN401
        nonlocal requests
        requests += 1
        assert requests < 100, "the search never ends"
        return await request(broker, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Channel, "close", cancel_after_close)
    monkeypatch.setattr(Broker, "request", counted_request)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        producer = quick(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with anyio.CancelScope() as search:
            await producer.start()
        assert search.cancelled_caught
    await producer.stop()
