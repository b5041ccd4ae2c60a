"""A producer that has no time: Kafka's defaults are minutes, a test has a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aioproducer import Producer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioproducer.testing import FakeCluster

PATIENCE = 10.0
"""Seconds after which what a test waits for will not come any more."""

QUICK: dict[str, Any] = {
    "linger_ms": 0,
    "request_timeout_ms": 300,
    "delivery_timeout_ms": 8_000,
    "max_block_ms": 5_000,
    "retry_backoff_ms": 10,
    "retry_backoff_max_ms": 50,
    "reconnect_backoff_ms": 10,
    "reconnect_backoff_max_ms": 50,
}


def quick(servers: FakeCluster | str | Sequence[str], **options: Any) -> Producer[Any, Any]:  # noqa: ANN401 - the options are the producer's
    """Make a producer for a cluster or for addresses, all of its times cut short."""
    addresses = servers if isinstance(servers, (str, list, tuple)) else servers.bootstrap
    return Producer(addresses, **{**QUICK, **options})


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Let the event loop turn until something holds."""
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.001)


async def turns(count: int = 10) -> None:
    """Let the event loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)
