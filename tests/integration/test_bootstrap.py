"""Bootstrap addresses that are dead, silent or of other services: others are used, or each is named."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from aioproducer import BootstrapError, Producer
from tests.integration.kafka import Kafka
from tests.integration.layout import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]

PROMPTLY = 2.0
"""Seconds within which the valid address must be found."""


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


async def be_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(1000):
        pass


async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await writer.drain()


async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(random.randbytes(1000))  # noqa: S311 - no secret
    await writer.drain()


async def babble_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    while not writer.is_closing():
        writer.write(b"\x00\x00\x00\x40" + random.randbytes(64))  # noqa: S311 - no secret
        await writer.drain()
        await asyncio.sleep(0.01)


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def impostor(talk: Talk) -> AsyncIterator[str]:
    """Return the address of a server that is no broker."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


def closed_address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


async def start_promptly(bootstrap: list[str], topic: str) -> None:
    started = time.monotonic()
    async with Producer(bootstrap) as producer:
        assert time.monotonic() - started < PROMPTLY
        await producer.send(topic, b"value")
        assert time.monotonic() - started < PROMPTLY


async def test_dead_addresses_are_skipped(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)

    for _ in range(5):
        await start_promptly([closed_address(), broker.bootstrap, closed_address()], topic)


@pytest.mark.parametrize("talk", [be_silent, speak_http, babble, babble_on, hang_up])
async def test_other_services_are_skipped(broker: Kafka, topic_name: str, talk: Talk) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)

    async with impostor(talk) as first, impostor(talk) as second:
        for _ in range(5):
            await start_promptly([first, second, broker.bootstrap], topic)


async def test_every_failed_address_is_named() -> None:
    dead = closed_address()
    async with impostor(be_silent) as silent, impostor(speak_http) as web, impostor(hang_up) as gone:
        producer = Producer([dead, silent, web, gone], max_block_ms=1_500)
        started = time.monotonic()

        with pytest.raises(BootstrapError, match="none of the bootstrap servers") as raised:
            await producer.start()

        assert 1.4 < time.monotonic() - started < 6
    causes = raised.value.causes
    assert set(causes) == {dead, silent, web, gone}
    for address, cause in causes.items():
        assert f"{address}: {cause}" in str(raised.value)
    assert "connection refused" in str(causes[dead])
    assert "no answer in time" in str(causes[silent])
    assert "no Kafka broker" in str(causes[web])
    assert "was lost" in str(causes[gone])


async def test_silent_broker_is_named() -> None:
    """A failed address is named with its own error, not with the timeout."""
    async with impostor(be_silent) as silent:
        producer = Producer(silent, max_block_ms=1_000, socket_connection_setup_timeout_ms=300)

        with pytest.raises(BootstrapError) as raised:
            await producer.start()

    assert "within" in str(raised.value.causes[silent])


async def test_failed_start_can_be_stopped() -> None:
    producer = Producer(closed_address(), max_block_ms=200)

    with pytest.raises(BootstrapError):
        await producer.start()

    await producer.stop()
