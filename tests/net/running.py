"""Brokers whose tasks run, without a producer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Unpack

from aioproducer.metrics.producer_metrics import ProducerMetrics
from aioproducer.net.broker import Broker, NoListener
from aioproducer.net.client_context import ClientContext
from aioproducer.net.endpoint import Endpoint
from tests.net.quick import quick_config

if TYPE_CHECKING:
    from aioproducer.config import AllOptions
    from aioproducer.net.broker import BrokerListener
    from aioproducer.testing import FakeCluster


def client_of(**options: Unpack[AllOptions]) -> ClientContext:
    """Make a client with short times."""
    try:
        clock = asyncio.get_running_loop().time
    except RuntimeError:  # a test without a loop
        clock = time.monotonic
    return ClientContext.of(quick_config("localhost:1", **options), "me", ProducerMetrics(clock()), clock)


def make_broker(
    port: int,
    *,
    node_id: int = 1,
    listener: BrokerListener | None = None,
    client: ClientContext | None = None,
    **options: Unpack[AllOptions],
) -> Broker:
    """Make the broker at a local port."""
    return Broker(
        Endpoint(node_id, "127.0.0.1", port), client or client_of(**options), listener or NoListener()
    )


def port_of(cluster: FakeCluster, node_id: int = 1) -> int:
    """Return the port of a node."""
    return cluster.topology.nodes[node_id].port


class Running:
    """Runs a broker in a task of its own."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def __aenter__(self) -> Broker:
        self._task = asyncio.create_task(self.broker.run())
        return self.broker

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
