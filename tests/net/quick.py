"""A producer with short timeouts: Kafka's defaults are minutes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Unpack, cast

from aioproducer import Producer, ProducerConfig
from aioproducer.testing import FakeCluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aioproducer.config import AllOptions
    from aioproducer.net.engine import Engine

PATIENCE = 60.0
"""Seconds after which a test gives up waiting."""

QUICK: AllOptions = {
    "linger_ms": 0,
    "request_timeout_ms": 3_000,
    "delivery_timeout_ms": 30_000,
    "max_block_ms": 20_000,
    "retry_backoff_ms": 10,
    "retry_backoff_max_ms": 50,
    "reconnect_backoff_ms": 10,
    "reconnect_backoff_max_ms": 50,
}


def quick(servers: FakeCluster | str | Sequence[str], **options: Unpack[AllOptions]) -> Producer[Any, Any]:
    """Make a producer with short timeouts for a cluster or for addresses."""
    addresses = servers.bootstrap if isinstance(servers, FakeCluster) else servers
    return Producer.from_config(quick_config(addresses, **options))


def quick_config(servers: str | Sequence[str], **options: Unpack[AllOptions]) -> ProducerConfig:
    """Make the configuration of such a producer."""
    return ProducerConfig(**cast("Any", {**QUICK, **options, "bootstrap_servers": servers}))


def insides(producer: Producer[Any, Any]) -> Engine:
    """Return the engine of a producer."""
    return producer._engine  # noqa: SLF001 - tests of the insides


async def drained(producer: Producer[Any, Any]) -> None:
    """Make a coroutine of `drain`."""
    await producer.drain()


async def outcome(awaitable: Awaitable[object]) -> object:
    """Await anything, as a coroutine."""
    return await awaitable


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - conditions without events
            await asyncio.sleep(0.001)


async def turns(count: int = 10) -> None:
    """Run a few turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)
