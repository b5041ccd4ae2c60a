"""Rare events of brokers: forgotten producers, quotas, recreated topics, new partitions, smaller limits.

Each happens under load; librdkafka reads the log afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from aioproducer import Producer
from tests.integration.kafka import NEWEST, Kafka, KafkaCluster
from tests.integration.polling import until
from tests.integration.stream import Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aioproducer import Delivery
    from tests.integration.consumer import ConsumedRecord

LONGEST = 60.0
KEYS = 50
QUOTA = 100_000


pytestmark = pytest.mark.slow


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


@pytest.fixture(scope="module", params=[NEWEST, "3.6.1"])
def peculiar(request: pytest.FixtureRequest, clusters: list[KafkaCluster]) -> Iterator[KafkaCluster]:
    """One broker that soon forgets idle producers, and soon enforces quotas."""
    config = {
        "producer.id.expiration.ms": 700,
        "producer.id.expiration.check.interval.ms": 100,
        # The quota limits the mean of 2 seconds; the default is 11.
        "quota.window.num": 2,
    }
    with KafkaCluster(request.param, config=config) as cluster:
        clusters.append(cluster)
        yield cluster
        clusters.remove(cluster)


class Load:
    """Sends numbers, every other one with a key, at a low rate."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self.deliveries: list[Delivery] = []
        self._producer = producer
        self._topic = topic
        self._progress = asyncio.Event()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send while the block runs, and wait for all results."""
        async with asyncio.timeout(LONGEST):
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send())
                yield
                sending.cancel()
            await asyncio.wait([delivery.future() for delivery in self.deliveries])

    async def more(self, count: int) -> list[Delivery]:
        """Wait until `count` more records are sent and have results; return those."""
        first = len(self.deliveries)
        while len(self.deliveries) < first + count:
            self._progress.clear()
            await self._progress.wait()
        these = self.deliveries[first : first + count]
        await asyncio.wait([delivery.future() for delivery in these])
        return these

    async def _send(self) -> None:
        while True:
            for _ in range(20):
                number = len(self.deliveries)
                key = b"%d" % (number % KEYS) if number % 2 else None
                self.deliveries.append(self._producer.send(self._topic, b"%d" % number, key=key))
            self._progress.set()
            await asyncio.sleep(0.002)


def places(records: list[ConsumedRecord]) -> dict[int, tuple[int, int]]:
    """Return the place of each number; asserts that it is there once, in order in its partition."""
    numbers: defaultdict[int, list[int]] = defaultdict(list)
    for record in records:
        numbers[record.partition].append(int(record.value or b""))
    assert all(each == sorted(each) for each in numbers.values())
    found = {int(record.value or b""): (record.partition, record.offset) for record in records}
    assert len(found) == len(records)
    return found


def told(deliveries: list[Delivery]) -> dict[int, tuple[int, int]]:
    """Return the place of each number from its delivery; asserts that none failed."""
    results = [delivery.result() for delivery in deliveries]
    return {number: (result.partition, result.offset) for number, result in enumerate(results)}


@pytest.mark.scenario("producer-id-expired")
async def test_forgotten_producer_recovers(peculiar: KafkaCluster, topic_name: str) -> None:
    topic = await asyncio.to_thread(peculiar.create_topic, topic_name)
    sent: list[Delivery] = []
    async with Producer(peculiar.bootstrap) as producer:
        for _ in range(3):
            sent += [producer.send(topic, b"%d" % number) for number in range(len(sent), len(sent) + 2_000)]
            await producer.flush()
            await asyncio.to_thread(
                until, "the broker has forgotten the producer", lambda: not peculiar.producers(topic)
            )
        sent.append(producer.send(topic, b"%d" % len(sent)))

    assert told(sent) == {number: (0, number) for number in range(len(sent))}
    records = await asyncio.to_thread(peculiar.consume, topic, len(sent))
    assert places(records) == told(sent)


@pytest.mark.scenario("topic-deleted", "topic-ids")
async def test_topic_is_recreated_under_load(broker: Kafka, topic_name: str) -> None:
    """Acknowledged records of the old topic are gone with it; later ones are in the new topic."""
    topic = await asyncio.to_thread(broker.create_topic, topic_name, 3)
    async with Producer(broker.bootstrap, retry_backoff_max_ms=100) as producer:
        load = Load(producer, topic)
        async with load.flowing():
            await load.more(2_000)
            for _ in range(3):
                await asyncio.to_thread(broker.delete_topic, topic)
                await asyncio.to_thread(broker.create_topic, topic, 3)
                ended = {number for number, delivery in enumerate(load.deliveries) if delivery.done()}
                await load.more(2_000)

    all_told = told(load.deliveries)
    new = {number: place for number, place in all_told.items() if number not in ended}
    records = await asyncio.to_thread(broker.consume, topic, len(new))
    assert new.items() <= places(records).items() <= all_told.items()


@pytest.mark.scenario("new-partitions")
async def test_partitions_are_added_under_load(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)
    async with Producer(broker.bootstrap, metadata_max_age_ms=200, batch_size=1_000) as producer:
        load = Load(producer, topic)
        async with load.flowing():
            for total in (2, 5, 8):
                await load.more(2_000)
                await asyncio.to_thread(broker.add_partitions, topic, total)
                used: set[int] = set()
                while used != set(range(total)):
                    used = {delivery.result().partition for delivery in await load.more(1_000)}

    records = await asyncio.to_thread(broker.consume, topic, len(load.deliveries))
    assert places(records) == told(load.deliveries)


@pytest.mark.scenario("too-few-replicas")
async def test_replicas_fail_and_return_under_load(kafka_three: KafkaCluster, topic_name: str) -> None:
    config = {"min.insync.replicas": 3}
    topic = await asyncio.to_thread(kafka_three.create_topic, topic_name, 3, 3, config)
    async with Producer(kafka_three.bootstrap, retry_backoff_max_ms=100, linger_ms=2) as producer:
        load = Load(producer, topic)
        async with load.flowing():
            await load.more(2_000)
            await asyncio.to_thread(kafka_three.stop_node, 3)
            await asyncio.to_thread(
                until,
                "the replica is missing everywhere",
                lambda: all(len(each.in_sync) == 2 for each in kafka_three.partitions(topic).values()),
            )
            waiting = load.deliveries[-1]
            await asyncio.sleep(1)
            assert not waiting.done()
            await asyncio.to_thread(kafka_three.restart, 3)
            await load.more(2_000)

    records = await asyncio.to_thread(kafka_three.consume, topic, len(load.deliveries))
    assert places(records) == told(load.deliveries)


@pytest.mark.scenario("split-too-large", "split-ends")
@pytest.mark.parametrize("codec", ["none", "lz4"])
async def test_large_batches_split_under_load(broker: Kafka, topic_name: str, codec: str) -> None:
    config = {"max.message.bytes": 20_000}
    topic = await asyncio.to_thread(broker.create_topic, topic_name, 3, config=config)
    async with Producer(
        broker.bootstrap,
        batch_size=100_000,
        linger_ms=500,
        buffer_memory=1_000_000,
        compression_type=codec,
    ) as producer:
        stream = Stream(producer, topic, partitions=3)
        async with stream.flowing():
            await stream.acknowledged(30_000)
        assert producer.metrics()["producer-metrics"]["batch-split-total"] > 0

    await stream.check(broker)


@pytest.mark.scenario("throttling")
async def test_quota_is_obeyed(peculiar: KafkaCluster, topic_name: str) -> None:
    """The broker's throttle is longer than request_timeout_ms, and no request times out."""
    topic = await asyncio.to_thread(peculiar.create_topic, topic_name)
    await asyncio.to_thread(peculiar.limit_producers, topic_name, QUOTA)
    values = [b"%06d" % number * 100 for number in range(5 * QUOTA // 600)]

    async with Producer(
        peculiar.bootstrap, client_id=topic_name, batch_size=QUOTA, request_timeout_ms=1_500
    ) as producer:
        started = time.monotonic()
        deliveries = [producer.send(topic, value) for value in values]
        await producer.flush()
        took = time.monotonic() - started
        metrics = producer.metrics()["producer-metrics"]
    await asyncio.to_thread(peculiar.limit_producers, topic_name, None)

    records = await asyncio.to_thread(peculiar.consume, topic, len(values))
    assert [record.value for record in records] == values
    assert [delivery.result().offset for delivery in deliveries] == list(range(len(values)))
    assert took > 1
    assert metrics["produce-throttle-time-max"] > 500
    assert metrics["request-latency-max"] > 1_500
    assert metrics["produce-throttle-time-avg"] > 0
    assert metrics["record-retry-total"] == 0
