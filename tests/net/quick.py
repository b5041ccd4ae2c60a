"""A producer that has no time: Kafka's defaults are minutes, a test has a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Unpack, cast

from aioproducer import Producer, ProducerConfig
from aioproducer.testing import FakeCluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aioproducer.config import AllOptions
    from aioproducer.net.engine import Engine

PATIENCE = 10.0
"""Seconds after which what a test waits for will not come any more."""

QUICK: AllOptions = {
    "linger_ms": 0,
    "request_timeout_ms": 300,
    "delivery_timeout_ms": 8_000,
    "max_block_ms": 5_000,
    "retry_backoff_ms": 10,
    "retry_backoff_max_ms": 50,
    "reconnect_backoff_ms": 10,
    "reconnect_backoff_max_ms": 50,
}


def quick(servers: FakeCluster | str | Sequence[str], **options: Unpack[AllOptions]) -> Producer[Any, Any]:
    """Make a producer for a cluster or for addresses, all of its times cut short."""
    addresses = servers.bootstrap if isinstance(servers, FakeCluster) else servers
    return Producer.from_config(quick_config(addresses, **options))


def quick_config(servers: str | Sequence[str], **options: Unpack[AllOptions]) -> ProducerConfig:
    """Make the configuration of such a producer."""
    return ProducerConfig(**cast("Any", {**QUICK, **options, "bootstrap_servers": servers}))


def insides(producer: Producer[Any, Any]) -> Engine:
    """Return what a user never sees of a producer."""
    return producer._engine  # noqa: SLF001 - tests of the insides


async def drained(producer: Producer[Any, Any]) -> None:
    """Make a coroutine of `drain`."""
    await producer.drain()


async def outcome(awaitable: Awaitable[object]) -> object:
    """Make a coroutine of anything that can be awaited."""
    return await awaitable


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Let the event loop turn until something holds."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - what it looks at knows no events
            await asyncio.sleep(0.001)


async def turns(count: int = 10) -> None:
    """Let the event loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)
