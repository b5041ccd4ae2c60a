"""Peers that misbehave before they are known to be brokers: bounded in time and in memory."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import AuthenticationError, BootstrapError, Producer
from aioproducer.core.connection import MAX_EARLY_RESPONSE
from aioproducer.protocol.api import ApiKey
from aioproducer.testing import Certificates, FakeCluster
from tests.net.quick import quick

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from ssl import SSLContext

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

SOON = 20.0
BLOCK_MS = 600
USERS = {"alice": "alice-secret"}
CERTIFICATES = Certificates.make()


def secured(mechanism: str) -> FakeCluster:
    """Make a cluster for the credentials of `hasty`."""
    return FakeCluster(
        topics={"orders": 1}, security="SASL_PLAINTEXT", users=USERS, sasl_mechanisms=[mechanism]
    )


def hasty(cluster: FakeCluster) -> Producer[Any, Any]:
    """Make a producer that gives up soon."""
    options = {**cluster.client_options, "max_block_ms": BLOCK_MS}
    return quick(options.pop("bootstrap_servers"), **options)


@asynccontextmanager
async def listening(serve: Serve, context: SSLContext | None = None) -> AsyncIterator[str]:
    """Serve each connection, and return the address."""
    tasks: set[asyncio.Task[object]] = set()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(closing, "127.0.0.1", ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()


# Exchanges of SASL.


@pytest.mark.parametrize("iterations", [1, 4_095, 600_001, 2**31, 10**40])
async def test_iteration_count(iterations: int) -> None:
    """Too few iterations let an eavesdropper guess the password, too many take minutes."""

    def first(data: bytes) -> bytes:
        nonce = data.decode().rpartition("r=")[2]
        salt = base64.b64encode(b"salt").decode()
        return f"r={nonce}more,s={salt},i={iterations}".encode()

    async with secured("SCRAM-SHA-512") as cluster, asyncio.timeout(SOON):
        cluster.on(ApiKey.SASL_AUTHENTICATE, times=None).answer_auth_bytes(first)
        producer = hasty(cluster)
        started = time.process_time()
        with pytest.raises(AuthenticationError, match=r"(?i)iterations"):
            await producer.start()
        # A count of 2**31 would take a quarter of an hour.
        assert time.process_time() - started < SOON / 2


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"])
@pytest.mark.parametrize("answer", [b'{"status":"again"}', b"r=x,s=eA==,i=4096", b"\x00" * 1_000])
async def test_endless_exchange(mechanism: str, answer: bytes) -> None:
    """A broker that never ends the exchange: the mechanism knows how many steps there are."""
    async with secured(mechanism) as cluster, asyncio.timeout(SOON):
        asked = cluster.on(ApiKey.SASL_AUTHENTICATE, times=None)
        fault = asked.answer_auth_bytes(answer)
        producer = hasty(cluster)
        if mechanism == "PLAIN":
            # The answer means nothing for PLAIN: the broker closes the connection afterwards.
            with pytest.raises((AuthenticationError, BootstrapError)):
                await producer.start()
        else:
            with pytest.raises(AuthenticationError):
                await producer.start()
            assert fault.hits <= 2


# Sizes of frames.


@pytest.mark.parametrize("api", [ApiKey.API_VERSIONS, ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE])
@pytest.mark.parametrize("size", [-1, -(2**31), MAX_EARLY_RESPONSE + 1, 10_000_000, 2**31 - 1])
async def test_sizes_before_authentication(api: ApiKey, size: int) -> None:
    async with secured("PLAIN") as cluster, asyncio.timeout(SOON):
        cluster.on(api, times=None).answer_bytes(struct.pack(">i", size))
        producer = hasty(cluster)
        started = time.monotonic()
        with pytest.raises(BootstrapError, match=f"a frame cannot have {size} bytes .the limit is 65536"):
            await producer.start()
        assert time.monotonic() - started < SOON / 2


async def test_largest_frame_before_authentication() -> None:
    """A frame at the limit is read; it is no ApiVersions response."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(struct.pack(">i", MAX_EARLY_RESPONSE) + bytes(MAX_EARLY_RESPONSE))
        await reader.read()

    async with listening(serve) as address, asyncio.timeout(SOON):
        with pytest.raises(BootstrapError) as caught:
            await quick(address, max_block_ms=BLOCK_MS).start()
    assert "a frame cannot have" not in str(caught.value)


# Slow peers, and floods.


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
async def test_slow_loris(protocol: str) -> None:
    """A byte every few milliseconds gives a peer no more time than a silent one has."""
    attempts = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        await reader.read(1_000)
        header = b"\x16\x03\x03\x40\x00" if protocol == "SSL" else struct.pack(">i", 60_000)
        writer.write(header)
        while True:
            writer.write(b"\0")
            await writer.drain()
            await asyncio.sleep(0.005)

    options: dict[str, Any] = {"security_protocol": protocol, "max_block_ms": 1_500}
    if protocol == "SSL":
        options["ssl_context"] = CERTIFICATES.client_context()
    async with listening(serve) as address, asyncio.timeout(SOON):
        started = time.monotonic()
        with pytest.raises((BootstrapError, AuthenticationError)):
            await quick(address, request_timeout_ms=200, **options).start()
        assert time.monotonic() - started < SOON / 2
        # Each attempt had its own limit, of 0.2 s.
        assert attempts > 1


@pytest.mark.parametrize("data", [bytes(65_536), b"\xff" * 65_536, struct.pack(">ii", 4, 77) * 8_192])
async def test_flood_in_tls_records(data: bytes) -> None:
    """The first bytes that are no response end the connection, and the rest is not kept."""
    taken: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(taken)
        taken.append(0)
        await reader.read(1)
        while True:
            writer.write(data)
            await writer.drain()
            taken[number] += len(data)

    async with listening(serve, CERTIFICATES.server_context()) as address, asyncio.timeout(SOON):
        options: dict[str, Any] = {"security_protocol": "SSL", "ssl_context": CERTIFICATES.client_context()}
        with pytest.raises(BootstrapError):
            await quick(address, max_block_ms=BLOCK_MS, **options).start()
    # The buffers of the operating system take some megabytes.
    assert max(taken) < 32 * 2**20


async def test_flood_of_plain_bytes_in_handshake() -> None:
    """TLS records of handshakes without an end: OpenSSL refuses the first message that is too long."""
    taken = 0

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        # A ServerHello of 16 MB, in records of 16 KiB.
        record = b"\x16\x03\x03\x40\x00" + (b"\x02\xff\xff\xff" + bytes(16_380))
        while True:
            writer.write(record)
            await writer.drain()
            taken += len(record)

    async with listening(serve) as address, asyncio.timeout(SOON):
        options: dict[str, Any] = {"security_protocol": "SSL", "ssl_context": CERTIFICATES.client_context()}
        with pytest.raises((BootstrapError, AuthenticationError)):
            await quick(address, max_block_ms=BLOCK_MS, **options).start()
    assert taken < 32 * 2**20
