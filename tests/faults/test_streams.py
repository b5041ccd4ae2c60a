"""A stream of records while brokers restart, networks fail and versions change."""

import asyncio
from typing import Any

import pytest

from aioproducer import Delivery, Producer
from aioproducer.testing import (
    KAFKA_2_1,
    KAFKA_2_8,
    KAFKA_3_6,
    KAFKA_4,
    REDPANDA,
    ApiKey,
    BrokerVersion,
    FakeCluster,
)
from tests.faults.stored import AMPLE, offsets_of, values
from tests.net.quick import PATIENCE, quick, turns, until
from tests.net.relay import Asked, Relay


def patient(
    cluster: FakeCluster, *, batch_size: int = 200, metadata_max_age_ms: int = AMPLE
) -> Producer[Any, Any]:
    """Return a producer with small batches and long timeouts."""
    return quick(
        cluster,
        batch_size=batch_size,
        metadata_max_age_ms=metadata_max_age_ms,
        request_timeout_ms=AMPLE,
        delivery_timeout_ms=AMPLE,
    )


class Stream:
    """Numbered records, sent to all partitions in turn."""

    def __init__(self, cluster: FakeCluster, producer: Producer[Any, Any], partitions: int) -> None:
        self._cluster = cluster
        self._producer = producer
        self._sent: list[list[tuple[bytes, Delivery]]] = [[] for _ in range(partitions)]

    async def send(self, count: int) -> list[Delivery]:
        """Send `count` records to each partition, and return the deliveries of the last ones."""
        for _ in range(count):
            for partition, sent in enumerate(self._sent):
                value = b"%06d" % len(sent)
                sent.append((value, self._producer.send("orders", value, partition=partition)))
            await asyncio.sleep(0)
        return [sent[-1][1] for sent in self._sent]

    async def check(self) -> None:
        """Assert that each record was acknowledged, and is in the log once, in order, at its offset."""
        for partition, sent in enumerate(self._sent):
            offsets = await offsets_of(delivery for _, delivery in sent)
            assert offsets == list(range(len(sent)))
            assert values(self._cluster, partition) == [value for value, _ in sent]


@pytest.mark.scenario("broker-restarts")
@pytest.mark.parametrize("is_clean", [True, False])
async def test_bouncing_leaders_lose_nothing(*, is_clean: bool) -> None:
    async with FakeCluster(3, {"orders": 3}) as cluster, patient(cluster) as producer:
        stream = Stream(cluster, producer, 3)
        for bounce in range(9):
            await offsets_of(await stream.send(20))
            leader = cluster.leader_of("orders", bounce % 3)
            if is_clean:
                for partition in range(3):
                    if cluster.leader_of("orders", partition) == leader:
                        cluster.move_leader("orders", partition, to=leader % 3 + 1)
                await offsets_of(await stream.send(20))
            else:
                # The leader stops after it has stored a batch and before it answers.
                dying = cluster.on(ApiKey.PRODUCE, node=leader).hold(after_storing=True)
                await stream.send(20)
                await asyncio.wait_for(dying.hit(), PATIENCE)
                await turns()
            await cluster.stop_node(leader)
            await offsets_of(await stream.send(20))
            await cluster.start_node(leader)
        await stream.check()


@pytest.mark.scenario("lossy-network")
async def test_lossy_network_is_only_slow() -> None:
    async with (
        FakeCluster(topics={"orders": 3}) as cluster,
        Relay(cluster) as relay,
        patient(cluster, batch_size=500) as producer,
    ):
        stream = Stream(cluster, producer, 3)
        await offsets_of(await stream.send(1))
        cluster.on(times=None).delay(0.01)
        lost = 0

        def loses(asked: Asked, each: int) -> bool:
            nonlocal lost
            if asked.api is not ApiKey.PRODUCE or len(relay.asked(ApiKey.PRODUCE)) % each:
                return False
            lost += 1
            return True

        relay.on_request = lambda asked: not loses(asked, 7)
        relay.on_answer = lambda asked, frame: None if loses(asked, 5) else [frame]
        for _ in range(30):
            await stream.send(10)
            await asyncio.sleep(0.01)

        await stream.check()

        assert lost > 2
        # Requests carried more than one record each.
        assert len(relay.asked(ApiKey.PRODUCE)) < 300


VERSIONS = [KAFKA_2_1, KAFKA_2_8, KAFKA_3_6, KAFKA_4, REDPANDA]


@pytest.mark.scenario("version-negotiation", "mixed-releases")
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_every_release_survives_faults(version: BrokerVersion) -> None:
    async with (
        FakeCluster(2, {"orders": 2}, versions=version) as cluster,
        Relay(cluster, 1) as one,
        Relay(cluster, 2) as other,
        patient(cluster) as producer,
    ):
        stream = Stream(cluster, producer, 2)
        await stream.send(10)
        cluster.on(ApiKey.PRODUCE, skip=1).disconnect(after_storing=True)
        await offsets_of(await stream.send(10))
        cluster.move_leader("orders", 0, to=2)
        await offsets_of(await stream.send(10))
        cluster.move_leader("orders", 0, to=1)

        await offsets_of(await stream.send(10))

        await stream.check()
        for api in (ApiKey.PRODUCE, ApiKey.METADATA, ApiKey.INIT_PRODUCER_ID):
            asked = {asked.version for relay in (one, other) for asked in relay.asked(api)}
            assert asked == {version.apis[api].max}


@pytest.mark.scenario("mixed-releases")
async def test_mixed_cluster_uses_own_versions() -> None:
    """Each broker of a mixed cluster gets requests in its own versions."""
    versions = {1: KAFKA_4, 2: KAFKA_2_1}
    async with (
        FakeCluster(2, {"orders": 2}, versions=versions) as cluster,
        Relay(cluster, 1) as new,
        Relay(cluster, 2) as old,
        patient(cluster, metadata_max_age_ms=20) as producer,
    ):
        stream = Stream(cluster, producer, 2)
        for leaders in ((1, 2), (2, 1), (1, 1), (2, 2)) * 2:
            for partition, leader in enumerate(leaders):
                cluster.move_leader("orders", partition, to=leader)
            await offsets_of(await stream.send(10))
            await turns()
        await stream.check()
        # Metadata requests go to a random broker: wait until both have got one.
        await until(lambda: all(broker.asked(ApiKey.METADATA) for broker in (old, new)))

        assert {asked.version for asked in old.asked(ApiKey.PRODUCE)} == {7}
        # Metadata of an old broker has no topic ids, so version 12 names the topics.
        assert {asked.version for asked in new.asked(ApiKey.PRODUCE)} <= {12, 13}
        assert {asked.version for asked in old.asked(ApiKey.METADATA)} == {7}
        assert {asked.version for asked in new.asked(ApiKey.METADATA)} == {13}


@pytest.mark.scenario("broker-restarts", "mixed-releases")
async def test_rolling_upgrade_loses_nothing() -> None:
    async with FakeCluster(3, {"orders": 3}, versions=KAFKA_2_1) as cluster, patient(cluster) as producer:
        stream = Stream(cluster, producer, 3)
        for version in (KAFKA_2_8, KAFKA_3_6, KAFKA_4, KAFKA_2_8):
            for node in (1, 2, 3):
                for partition in range(3):
                    cluster.move_leader("orders", partition, to=node)
                await offsets_of(await stream.send(10))
                stored = cluster.on(ApiKey.PRODUCE, node=node).hold(after_storing=True)
                await stream.send(10)
                await asyncio.wait_for(stored.hit(), PATIENCE)
                await turns()
                await cluster.restart_node(node, version)
                await offsets_of(await stream.send(10))
        await stream.check()


@pytest.mark.scenario("mixed-releases")
async def test_changed_release_is_negotiated_again() -> None:
    async with FakeCluster(topics={"orders": 1}, versions=KAFKA_4) as cluster, patient(cluster) as producer:
        stream = Stream(cluster, producer, 1)
        for version in (KAFKA_2_1, KAFKA_3_6, KAFKA_2_1, KAFKA_4):
            await offsets_of(await stream.send(10))
            await cluster.restart_node(1, version)
        await offsets_of(await stream.send(10))
        await stream.check()
