"""A producer whose brokers send garbled responses: every call and record still ends."""

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import Delivery, Producer, ProducerError
from aioproducer.errors import BrokerError
from aioproducer.testing import ApiKey, FakeCluster
from tests.fuzz.garbler import Garbler
from tests.net.quick import PATIENCE, insides, quick, until
from tests.net.relay import Relay
from tests.net.traces import no_traces

if TYPE_CHECKING:
    from aioproducer.config import AllOptions

NODES = 2
PARTITIONS = 3
RECORDS = 90
SEEDS = range(8)
SOON = 10.0
"""Seconds by which a limit may be exceeded on a busy machine."""

OPTIONS: "AllOptions" = {
    "batch_size": 200,
    "request_timeout_ms": 200,
    "delivery_timeout_ms": 1_500,
    "max_block_ms": 400,
    "metadata_max_age_ms": 80,
}
LIMIT = 1.5 + SOON


@asynccontextmanager
async def garbled_cluster(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[FakeCluster, Garbler]]:
    """Run a cluster with random versions, behind relays that garble responses."""
    rng = random.Random(seed)  # noqa: S311 - must be reproducible
    versions: dict[ApiKey, int | None] = {
        ApiKey.PRODUCE: rng.randint(3, 13),
        ApiKey.METADATA: rng.randint(4, 13),
        ApiKey.INIT_PRODUCER_ID: rng.randint(0, 5),
        ApiKey.API_VERSIONS: rng.randint(0, 4),
    }
    garbler = Garbler(rng)
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            FakeCluster(NODES, {"orders": PARTITIONS}, max_versions=versions)
        )
        for node_id in range(1, NODES + 1):
            garbler.attach(await stack.enter_async_context(Relay(cluster, node_id)))
        _block_other_addresses(monkeypatch, {node.port for node in cluster.topology.nodes.values()})
        yield cluster, garbler


def _block_other_addresses(monkeypatch: pytest.MonkeyPatch, ports: set[int]) -> None:
    """Allow connections only to the fake cluster, because addresses may be garbled."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the types of socket.getaddrinfo
        if host != "127.0.0.1" or port not in ports:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return resolve(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@asynccontextmanager
async def leaving_no_traces() -> AsyncIterator[None]:
    """Assert that no task is left after the relays noticed the closed connections."""
    tasks = asyncio.all_tasks()
    async with no_traces():
        yield
        await until(lambda: asyncio.all_tasks() <= tasks)


async def _started(cluster: FakeCluster) -> Producer[Any, Any]:
    """Start a producer that knows its topic; retry, because its short timeouts may expire."""
    async with asyncio.timeout(PATIENCE):
        while True:
            producer = quick(cluster, **OPTIONS)
            try:
                await producer.start()
                await producer.send("orders", b"before", partition=0)
            except ProducerError:
                await producer.stop(0)
            else:
                return producer


def _note(took: list[float], started: float, _delivery: Delivery) -> None:
    took.append(asyncio.get_running_loop().time() - started)


async def _send_steadily(producer: Producer[Any, Any]) -> tuple[list[tuple[bytes, Delivery]], list[float]]:
    """Send all records, or until the producer fails; note the time of each until its end."""
    loop = asyncio.get_running_loop()
    sent: list[tuple[bytes, Delivery]] = []
    took: list[float] = []
    for number in range(RECORDS):
        value = b"%05d" % number * 4
        started = loop.time()
        try:
            delivery = producer.send("orders", value, partition=number % PARTITIONS)
        except ProducerError as error:
            assert error.fatal  # noqa: PT017 - not every seed raises
            break
        delivery.add_done_callback(partial(_note, took, started))
        sent.append((value, delivery))
        await asyncio.sleep(0.004)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*[delivery.future() for _, delivery in sent], return_exceptions=True)
    await until(lambda: len(took) == len(sent))
    return sent, took


@pytest.mark.parametrize("seed", SEEDS)
async def test_records_end_under_garbled_responses(
    seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every record ends in time, and acknowledged records are in the log."""
    async with garbled_cluster(seed, monkeypatch) as (cluster, garbler), leaving_no_traces():
        producer = await _started(cluster)
        garbler.chance = 0.4
        sent, took = await _send_steadily(producer)
        failure = insides(producer).failure
        await producer.stop()
        assert insides(producer).accumulator.buffer.used == 0
        assert max(took) < LIMIT
        assert garbler.garbled > 5
        # A broker's fatal error may end the producer, a bug must not.
        assert failure is None or isinstance(failure, BrokerError)
        assert not [record for record in caplog.records if record.levelno >= logging.CRITICAL]
        stored = {record.value for record in cluster.records("orders")}
        assert {value for value, delivery in sent if delivery.exception() is None} <= stored


@pytest.mark.parametrize("seed", SEEDS)
async def test_start_ends_in_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with garbled_cluster(seed, monkeypatch) as (cluster, garbler), leaving_no_traces():
        garbler.chance = 0.8
        producer = quick(cluster, **OPTIONS)
        async with asyncio.timeout(0.4 + SOON):
            try:
                await producer.start()
            except ProducerError as error:
                assert "127.0.0.1" in str(error)  # noqa: PT017 - not every seed raises
        async with asyncio.timeout(SOON):
            await producer.stop(0)
