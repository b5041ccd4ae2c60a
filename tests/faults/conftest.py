from collections.abc import AsyncIterator
from typing import Any

import pytest

from aioproducer import Producer
from aioproducer.testing import FakeCluster
from tests.faults.stored import patient


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


@pytest.fixture
async def producer(cluster: FakeCluster) -> AsyncIterator[Producer[Any, Any]]:
    """Return a producer with one record per batch, after its first record is stored."""
    async with patient(cluster) as producer:
        await producer.send("orders", b"first")
        yield producer
