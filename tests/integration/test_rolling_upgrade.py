"""Brokers are upgraded one by one from Kafka 3.9 to 4, under a load with keys."""

from __future__ import annotations

import asyncio
from itertools import count, islice
from typing import TYPE_CHECKING

import pytest

from aioproducer import Producer
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.produce import ProduceRequest
from aioproducer.records.murmur2 import partition_of_key
from tests.integration.kafka import NEWEST, KafkaCluster
from tests.integration.stream import Stream
from tests.net.quick import insides

if TYPE_CHECKING:
    from collections.abc import Iterator

BEFORE = "3.9.1"
PARTITIONS = 6
KEYS = 50
"""The number of keys of each partition."""


class KeyedStream(Stream):
    """A stream with keys: the key of record n hashes to partition n modulo `partitions`."""

    async def _send(self, pause: float) -> None:
        keys = [
            list(islice((key for key in _numerals() if partition_of_key(key, self._partitions) == own), KEYS))
            for own in range(self._partitions)
        ]
        for number in count():
            key = keys[number % self._partitions][number // self._partitions % KEYS]
            self.deliveries.append(self._producer.send(self._topic, b"%d" % number, key=key))
            await self._producer.drain()
            if number % 300 == 0:
                self._progress.set()
                await asyncio.sleep(pause)


def _numerals() -> Iterator[bytes]:
    return (b"%d" % number for number in count())


@pytest.fixture(scope="module")
def mixed(clusters: list[KafkaCluster]) -> Iterator[KafkaCluster]:
    """Three nodes of Kafka 3.9, each a broker and a controller, to be upgraded."""
    with KafkaCluster(BEFORE, brokers=3) as cluster:
        clusters.append(cluster)
        yield cluster
        clusters.remove(cluster)


def produce_versions(producer: Producer) -> dict[int, int]:
    """Return the Produce version in use for each broker."""
    cluster = insides(producer)._cluster  # noqa: SLF001 - no public name
    assert cluster is not None
    return {
        node: broker.version(ApiKey.PRODUCE, ProduceRequest.versions)
        for node, broker in sorted(cluster.brokers.items())
    }


@pytest.mark.slow
@pytest.mark.scenario("version-negotiation", "broker-restarts", "mixed-releases")
async def test_keyed_load_survives_rolling_upgrade(mixed: KafkaCluster, topic_name: str) -> None:
    config = {"min.insync.replicas": 2}
    topic = await asyncio.to_thread(mixed.create_topic, topic_name, PARTITIONS, 3, config)
    async with Producer(mixed.bootstrap, linger_ms=2, buffer_memory=256 * 1024) as producer:
        stream = KeyedStream(producer, topic, PARTITIONS)
        async with stream.flowing(pause=0.05):
            await stream.acknowledged(2_000)
            versions = {1: 11, 2: 11, 3: 11}
            assert produce_versions(producer) == versions
            for node in mixed.node_ids:
                await asyncio.to_thread(mixed.upgrade, node, NEWEST)
                for partition in range(node - 1, PARTITIONS, 3):
                    await asyncio.to_thread(mixed.move_leader, topic, partition, node)
                # The upgraded broker leads again, so brokers of both versions get records.
                await stream.acknowledged(len(stream.deliveries) + 2_000)
                versions[node] = 13
                assert produce_versions(producer) == versions

    await stream.check(mixed)
