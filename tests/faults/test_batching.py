"""When batches are sent, and which of them share a request."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Unpack, cast

import pytest

from aioproducer.records.batch import HEADER_SIZE
from aioproducer.testing import ApiKey, FakeCluster, TopicConfig
from tests.faults.outcomes import SOON, all_stored, batches, patient, stored, values
from tests.faults.stored import TOPIC, figure
from tests.net.quick import quick, turns

if TYPE_CHECKING:
    from aioproducer import Producer
    from aioproducer.config import AllOptions
    from aioproducer.protocol.produce import ProduceResponse

# A record of a hundred bytes takes 109 in a batch.
VALUE = b"v" * 100
TAKEN = 109


def with_long_linger(cluster: FakeCluster, **options: Unpack[AllOptions]) -> Producer[Any, Any]:
    """Return a producer with a minute of linger: batches are sent for another reason."""
    minute: AllOptions = {"linger_ms": 60_000, "delivery_timeout_ms": 120_000}
    return patient(cluster, **cast("AllOptions", {**minute, **options}))


class RequestPartitions:
    """Notes the partitions of each Produce request, in the order of the responses."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.partitions: list[list[int]] = []
        cluster.on(ApiKey.PRODUCE, times=None).rewrite(self._note)

    def _note(self, response: ProduceResponse) -> ProduceResponse:
        self.partitions.append([p.index for topic in response.responses for p in topic.partition_responses])
        return response


@pytest.mark.scenario("lone-record-lingers")
async def test_lone_record_lingers() -> None:
    loop = asyncio.get_running_loop()
    arrived: list[float] = []
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        patient(cluster, linger_ms=300) as producer,
    ):
        cluster.on(ApiKey.PRODUCE, times=None).run(lambda: arrived.append(loop.time()))
        sent = loop.time()
        await stored(producer.send(TOPIC, b"alone"))

    assert values(cluster) == [b"alone"]
    assert len(arrived) == 1
    assert arrived[0] - sent >= 0.297


@pytest.mark.scenario("full-batch")
async def test_full_batch_is_sent_at_once() -> None:
    """A batch is sent without linger when a record fills it to the byte, or does not fit."""
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        with_long_linger(cluster, batch_size=HEADER_SIZE + 2 * TAKEN) as producer,
    ):
        await all_stored([producer.send(TOPIC, VALUE, timestamp_ms=1) for _ in range(2)])

        full = producer.send(TOPIC, VALUE, timestamp_ms=1)
        lingers = producer.send(TOPIC, VALUE + b"+", timestamp_ms=1)
        await stored(full)
        assert not lingers.done()

    assert [batch.record_count for batch in batches(cluster)] == [2, 1, 1]


@pytest.mark.scenario("record-larger-than-batch")
@pytest.mark.parametrize("codec", ["none", "gzip"])
async def test_large_record_gets_own_batch(codec: str) -> None:
    large = random.Random(3).randbytes(5_000)  # noqa: S311 - nothing is secret
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        quick(cluster, batch_size=500, linger_ms=20, compression_type=codec) as producer,
    ):
        sent = [b"before", large, b"after"]
        metadata = await all_stored([producer.send(TOPIC, value) for value in sent])

    assert [each.offset for each in metadata] == [0, 1, 2]
    assert values(cluster) == sent
    assert [batch.record_count for batch in batches(cluster)] == [1, 1, 1]
    assert batches(cluster)[1].size > 5_000


@pytest.mark.scenario("memory-pressure")
async def test_waiting_record_ends_linger() -> None:
    """While a record waits for memory, every partition sends its lingering batch."""
    async with (
        FakeCluster(2, {TOPIC: 2}) as cluster,
        with_long_linger(cluster, buffer_memory=2_000) as producer,
    ):
        first = [producer.send(TOPIC, b"first", partition=partition) for partition in (0, 1)]
        await producer.flush()
        assert all(delivery.done() for delivery in first)
        lingering = [producer.send(TOPIC, b"x" * 600, partition=partition) for partition in (0, 1)]
        await turns(50)
        assert len(values(cluster)) == 2

        waits = producer.send(TOPIC, b"y" * 700, partition=0)
        assert figure(producer, "waiting-threads") == 1

        assert [each.partition for each in await all_stored(lingering)] == [0, 1]
        assert not waits.done()
    assert waits.result().offset == 2


@pytest.mark.scenario("small-requests")
async def test_small_requests_serve_every_partition() -> None:
    """Requests hold three batches; no partition gets ahead of another by more than one."""
    count, each = 7, 12
    async with (
        FakeCluster(topics={TOPIC: count}) as cluster,
        patient(
            cluster,
            batch_size=1,
            max_request_size=3 * (HEADER_SIZE + TAKEN),
            acks=1,
            enable_idempotence=False,
        ) as producer,
    ):
        await producer.partitions_for(TOPIC)
        requests = RequestPartitions(cluster)
        await all_stored(
            [producer.send(TOPIC, VALUE, partition=index) for index in range(count) for _ in range(each)]
        )

    served: Counter[int] = Counter(dict.fromkeys(range(count), 0))
    for partitions in requests.partitions:
        assert len(partitions) <= 3
        served.update(partitions)
        assert max(served.values()) - min(served.values()) <= 1
    assert set(served.values()) == {each}


@pytest.mark.scenario("request-fills")
async def test_request_size_is_limited() -> None:
    """A request stays within max_request_size, but carries its first batch at any size."""
    limit = 2_000
    async with (
        FakeCluster(topics={TOPIC: 6}) as cluster,
        with_long_linger(cluster, batch_size=10_000, max_request_size=limit) as producer,
    ):
        await producer.partitions_for(TOPIC)
        requests = RequestPartitions(cluster)
        for _ in range(60):
            producer.send(TOPIC, VALUE, partition=0)
        for partition in range(1, 6):
            producer.send(TOPIC, b"x" * 700, partition=partition)
        async with asyncio.timeout(SOON):
            await producer.flush()

    sizes = [batch.size for partition in range(6) for batch in batches(cluster, partition=partition)]
    assert sizes[0] > 3 * limit
    assert 2 * sizes[1] <= limit < 3 * sizes[1]
    assert requests.partitions == [[0], [1, 2], [3, 4], [5]]


@pytest.mark.scenario("flush")
async def test_flush_waits_for_split_parts() -> None:
    """Flush sends lingering batches and waits for them, split parts too, not for later records."""
    async with (
        FakeCluster(2, {TOPIC: 2}, topic_config=TopicConfig(max_message_bytes=1_500)) as cluster,
        with_long_linger(cluster) as producer,
    ):
        await producer.partitions_for(TOPIC)
        # The first request is too large, the second carries the first part, the third is held.
        last_part = cluster.on(ApiKey.PRODUCE, node=1, skip=2).hold()
        too_late = cluster.on(ApiKey.PRODUCE, node=2).hold()
        lingering = [producer.send(TOPIC, VALUE, partition=0) for _ in range(20)]
        flushing = asyncio.create_task(producer.flush())
        async with asyncio.timeout(SOON):
            await last_part.hit()
            late = producer.send(TOPIC, b"late", partition=1)
            await too_late.hit()
        await stored(lingering[0])
        await turns(50)
        assert not flushing.done()
        assert not lingering[-1].done()

        last_part.release()
        async with asyncio.timeout(SOON):
            await flushing
            assert [delivery.result().offset for delivery in lingering] == list(range(20))
            assert figure(producer, "batch-split-total") == 1
            assert not late.done()
        too_late.release()
        await stored(late)
