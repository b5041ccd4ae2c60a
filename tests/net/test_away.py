"""An absent cluster costs little: neither CPU time nor load on its remaining brokers.

For each kind of absence one producer, in a process of its own, has records that wait. All wait at
the same time; the tests look at their costs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from aioproducer.protocol.api import ApiKey
from aioproducer.testing import FakeCluster
from tests.net.relay import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow

RECORDS = 10_000
SECONDS = 5.0
SETTLING = 2.0
"""Seconds after which the backoffs have reached their maximum."""

PATIENCE = 60.0
WAITING = Path(__file__).with_name("waiting.py")

LEFT = ("gone", "hanging up", "silent")
"""The state of the addresses where the brokers were."""

HANDFUL = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of waiting: a share of a core; connections and requests per second."""

    cpu: float
    connects: float
    pending: int
    metadata_requests: float = 0.0


class Waiting:
    """The process of a waiting producer, see `waiting.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def does(self, command: str) -> dict[str, float]:
        """Send a command and return the response."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        answer: dict[str, float] = json.loads(await self._process.stdout.readline())
        return answer

    async def settles(self) -> None:
        """Wait until the backoffs have reached their maximum."""
        await self.does(f"measure {SETTLING}")

    async def costs(self) -> Cost:
        """Measure the cost."""
        answer = await self.does(f"measure {SECONDS}")
        return Cost(answer["cpu"], answer["connects"], round(answer["pending"]))


@asynccontextmanager
async def waiting(servers: str, **options: int) -> AsyncIterator[Waiting]:
    """Start a process whose producer has these bootstrap servers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WAITING),
        servers,
        json.dumps(options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Waiting(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def never_there() -> Cost:
    async with FakeCluster(brokers=3) as cluster:
        servers = cluster.bootstrap
    async with waiting(servers, max_block_ms=120_000) as producer:
        await producer.settles()
        return await producer.costs()


async def gone(brokers: int, left: str) -> Cost:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(FakeCluster(brokers=brokers, topics={"orders": 6}))
        producer = await stack.enter_async_context(waiting(cluster.bootstrap))
        await producer.does("start")
        await producer.does(f"send orders {RECORDS}")
        await producer.does("flush")
        await cluster.stop()
        for node in cluster.topology.nodes.values():
            if left == "hanging up":
                await stack.enter_async_context(
                    await asyncio.start_server(lambda _, writer: writer.close(), node.host, node.port)
                )
            elif left == "silent":
                await stack.enter_async_context(await asyncio.start_server(silence, node.host, node.port))
        await producer.does(f"send orders {RECORDS}")
        await producer.settles()
        return await producer.costs()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1000):
        pass
    writer.close()


async def with_metadata(producer: Waiting, relay: Relay) -> Cost:
    await producer.settles()
    before = len(relay.asked(ApiKey.METADATA))
    cost = await producer.costs()
    asked = len(relay.asked(ApiKey.METADATA)) - before
    return replace(cost, metadata_requests=asked / SECONDS)


async def unknown_topic() -> Cost:
    async with (
        FakeCluster(auto_create_topics=False) as cluster,
        Relay(cluster) as relay,
        waiting(cluster.bootstrap, max_block_ms=120_000) as producer,
    ):
        await producer.does("start")
        await producer.does(f"send nowhere {RECORDS}")
        return await with_metadata(producer, relay)


async def leaderless() -> Cost:
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        Relay(cluster) as relay,
        waiting(cluster.bootstrap) as producer,
    ):
        await producer.does("start")
        cluster.move_leader("orders", 0, -1)
        await producer.does(f"send orders {RECORDS}")
        return await with_metadata(producer, relay)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def costs() -> dict[str, Cost]:
    """Measure all kinds of absence at the same time."""
    absences = {"never there": never_there(), "unknown topic": unknown_topic(), "no leader": leaderless()}
    absences |= {f"{brokers} {left}": gone(brokers, left) for brokers in (1, 3) for left in LEFT}
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(absence) for name, absence in absences.items()}
    return {name: task.result() for name, task in tasks.items()}


def test_waiting_costs_little_cpu(costs: dict[str, Cost]) -> None:
    """A producer that waits takes less than a fiftieth of a core."""
    assert {name: cost for name, cost in costs.items() if cost.cpu >= 0.02} == {}
    waiting_records = {name: cost.pending for name, cost in costs.items() if name != "never there"}
    assert set(waiting_records.values()) == {RECORDS}


@pytest.mark.scenario("connection-setup")
@pytest.mark.parametrize("absence", ["never there", "1 gone", "1 hanging up", "3 gone", "3 hanging up"])
def test_absent_cluster_is_tried_rarely(costs: dict[str, Cost], absence: str) -> None:
    """Attempts to connect are a handful per second."""
    assert 0 < costs[absence].connects <= HANDFUL


@pytest.mark.parametrize("absence", ["1 silent", "3 silent"])
def test_silent_brokers_are_tried_rarely(costs: dict[str, Cost], absence: str) -> None:
    assert costs[absence].connects <= HANDFUL


@pytest.mark.scenario("missing-topic")
def test_unknown_topic_is_requested_rarely(costs: dict[str, Cost]) -> None:
    """At most ten Metadata requests per second."""
    assert 0 < costs["unknown topic"].metadata_requests <= 10


@pytest.mark.scenario("leaderless-partition")
def test_missing_leader_is_requested_rarely(costs: dict[str, Cost]) -> None:
    """At most ten Metadata requests per second."""
    assert 0 < costs["no leader"].metadata_requests <= 10
