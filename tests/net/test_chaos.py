"""Random faults: acknowledged records are in the log once and in order."""

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import Delivery, Producer
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick

if TYPE_CHECKING:
    from aioproducer.config import AllOptions

SOON = 30
NODES = (1, 2, 3)
PARTITIONS = 4
RECORDS = 300

PASSING = [
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.REQUEST_TIMED_OUT,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.CORRUPT_MESSAGE,
]
WRITTEN = [ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, ErrorCode.REQUEST_TIMED_OUT]


class _Chaos:
    """Random faults for a cluster, reproducible by the seed."""

    def __init__(self, cluster: FakeCluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)  # noqa: S311 - must be reproducible

    async def strike(self) -> None:
        """Cause one fault."""
        rng, cluster = self._random, self._cluster
        api = rng.choice([ApiKey.PRODUCE, ApiKey.PRODUCE, ApiKey.PRODUCE, ApiKey.METADATA])
        partition = rng.choice([None, rng.randrange(PARTITIONS)]) if api is ApiKey.PRODUCE else None
        on = cluster.on(api, partition=partition, skip=rng.randrange(4), times=rng.randrange(1, 4))
        stored = rng.random() < 0.5
        match rng.randrange(10):
            case 0:
                on.disconnect(after_storing=stored)
            case 1:
                on.fall_silent(after_storing=stored)
            case 2:
                on.cut(rng.randrange(60))
            case 3:
                on.answer_bytes(rng.randbytes(rng.randrange(40)))
            case 4:
                on.answer(rng.choice(WRITTEN if stored else PASSING), after_storing=stored)
            case 5:
                on.leave_out()
            case 6:
                on.throttle(rng.randrange(30))
            case 7:
                on.delay(rng.random() / 50, after_storing=stored)
            case 8:
                cluster.move_leader("orders", rng.randrange(PARTITIONS), to=rng.choice(self._alive()))
            case _:
                await self._lose_a_node()

    def _alive(self) -> list[int]:
        return [node.node_id for node in self._cluster.topology.live_nodes()]

    async def _lose_a_node(self) -> None:
        for node in NODES:
            await self._cluster.start_node(node)
        if self._random.random() < 0.7:
            await self._cluster.stop_node(self._random.choice(NODES))


async def _produce(
    cluster: FakeCluster, producer: Producer[Any, Any], seed: int
) -> list[list[tuple[bytes, Delivery]]]:
    """Produce during faults, then without faults until all deliveries are done."""
    chaos = _Chaos(cluster, seed)
    sent: list[list[tuple[bytes, Delivery]]] = [[] for _ in range(PARTITIONS)]
    for number in range(RECORDS):
        partition = number % PARTITIONS
        value = b"%05d" % number * 4
        sent[partition].append((value, producer.send("orders", value, partition=partition)))
        await asyncio.sleep(0.0005)
        if number % 15 == 0:
            await chaos.strike()
    cluster.heal()
    for node in NODES:
        await cluster.start_node(node)
    async with asyncio.timeout(SOON):
        await producer.flush()
    return sent


@pytest.mark.scenario("broker-restarts")
@pytest.mark.parametrize("seed", range(3))
async def test_all_records_are_stored_once(seed: int) -> None:
    """With enough time all records are stored, in order."""
    async with FakeCluster(3, {"orders": PARTITIONS}) as cluster:
        async with quick(cluster, batch_size=150, request_timeout_ms=100) as producer:
            sent = await _produce(cluster, producer, seed)
        for partition, deliveries in enumerate(sent):
            records = cluster.records("orders", partition)
            assert [record.value for record in records] == [value for value, _ in deliveries]
            for record, (_, delivery) in zip(records, deliveries, strict=True):
                assert delivery.result().offset in {record.offset, -1}


@pytest.mark.simulated
@pytest.mark.parametrize("seed", range(3))
async def test_failed_records_tell_truth(seed: int) -> None:
    """With little time some records fail; their errors tell whether they may be in the log."""
    async with FakeCluster(3, {"orders": PARTITIONS}) as cluster:
        options: AllOptions = {"batch_size": 150, "request_timeout_ms": 60, "delivery_timeout_ms": 120}
        async with quick(cluster, **options) as producer:
            sent = await _produce(cluster, producer, seed)
            async with asyncio.timeout(SOON):
                for partition in range(PARTITIONS):
                    await producer.send("orders", b"works again", partition=partition)
        for partition, deliveries in enumerate(sent):
            *values, last = [record.value for record in cluster.records("orders", partition)]
            assert last == b"works again"
            assert values == sorted(set(values), key=str)
            for value, delivery in deliveries:
                error = delivery.exception()
                assert error is not None or value in values
                assert error is None or error.may_be_written or value not in values
