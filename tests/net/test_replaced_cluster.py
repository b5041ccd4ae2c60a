"""Another cluster, or a restored one, at the addresses of the cluster that gave the producer id.

It gives the same producer ids to other producers. It takes a batch under an old id for a duplicate
of theirs: the batch is acknowledged, but is not in the log.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from aioproducer.core.producer_id import NO_PRODUCER_ID
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from aioproducer.testing.versions import KAFKA_2_1, KAFKA_2_8, KAFKA_3_6, KAFKA_4
from tests.net.quick import insides, quick, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aioproducer import Delivery, Producer
    from aioproducer.protocol.metadata import MetadataResponse
    from aioproducer.testing.versions import BrokerVersion

OLD, NEW = "old", "new"
SOON = 30
SENT = 5
"""A broker recognizes duplicates of the last batches of a producer, so many."""


@asynccontextmanager
async def at_the_addresses_of(
    old: FakeCluster,
    **options: Any,  # noqa: ANN401 - the options of FakeCluster
) -> AsyncIterator[FakeCluster]:
    """Stop a cluster and start another one in its place."""
    await old.stop()
    new = FakeCluster(len(old.topology.nodes), **options)
    for node_id, node in old.topology.nodes.items():
        new.topology.nodes[node_id].port = node.port
    async with new:
        yield new


async def send_singly(
    producer: Producer[Any, Any], word: str, count: int = SENT, topic: str = "orders"
) -> None:
    """Store records one by one, each in a batch of its own."""
    async with asyncio.timeout(SOON):
        for number in range(count):
            await producer.send(topic, f"{word} {number}".encode())


def expected(*words: str, count: int = SENT) -> set[bytes]:
    return {f"{word} {number}".encode() for word in words for number in range(count)}


def values(cluster: FakeCluster, topic: str = "orders") -> list[bytes | None]:
    return [record.value for record in cluster.records(topic)]


async def settled(deliveries: Iterable[Delivery]) -> list[BaseException | None]:
    async with asyncio.timeout(SOON):
        await asyncio.gather(*[delivery.future() for delivery in deliveries], return_exceptions=True)
    return [delivery.exception() for delivery in deliveries]


@pytest.mark.parametrize("cluster_id", [OLD, NEW])
@pytest.mark.parametrize("version", [KAFKA_4, KAFKA_3_6, KAFKA_2_8, KAFKA_2_1])
async def test_acknowledged_records_are_in_new_log(version: BrokerVersion, cluster_id: str) -> None:
    if version is KAFKA_2_1 and cluster_id == OLD:
        pytest.skip("without topic ids a restored cluster cannot be told from the old one")
    options: Any = {"topics": {"orders": 1}, "versions": version}
    async with FakeCluster(cluster_id=OLD, **options) as old, quick(old) as producer:
        await send_singly(producer, "before")
        async with at_the_addresses_of(old, cluster_id=cluster_id, **options) as new, quick(new) as other:
            await send_singly(other, "other", 2 * SENT)
            await send_singly(producer, "after")

    assert set(values(new)) == expected("other", count=2 * SENT) | expected("after")
    assert len(values(new)) == 3 * SENT


@pytest.mark.parametrize("cluster_id", [OLD, NEW])
@pytest.mark.parametrize("after_storing", [False, True])
@pytest.mark.parametrize("version", [KAFKA_4, KAFKA_3_6])
async def test_in_flight_batches_reach_new_log(
    version: BrokerVersion, cluster_id: str, *, after_storing: bool
) -> None:
    """The batches get sequences of the new producer id, in the order of `send`."""
    options: Any = {"topics": {"orders": 1}, "versions": version}
    async with FakeCluster(cluster_id=OLD, **options) as old, quick(old, batch_size=1) as producer:
        await send_singly(producer, "before")
        held = old.on(ApiKey.PRODUCE).hold(after_storing=after_storing)
        deliveries = [producer.send("orders", b"after %d" % number) for number in range(3 * SENT)]
        await held.hit()
        async with at_the_addresses_of(old, cluster_id=cluster_id, **options) as new, quick(new) as other:
            await send_singly(other, "other", 4 * SENT)
            assert await settled(deliveries) == [None] * len(deliveries)

    own = [value for value in values(new) if value is not None and value.startswith(b"after")]
    assert own == [b"after %d" % number for number in range(3 * SENT)]
    assert len(values(new)) == 7 * SENT


async def test_record_may_be_in_old_log() -> None:
    """The new cluster refuses the record; an attempt at the old cluster may have stored it."""
    async with FakeCluster(topics={"orders": 1}, cluster_id=OLD) as old, quick(old) as producer:
        await send_singly(producer, "before")
        held = old.on(ApiKey.PRODUCE).hold(after_storing=True)
        delivery = producer.send("orders", b"after")
        await held.hit()
        async with at_the_addresses_of(old, topics={"orders": 1}, cluster_id=NEW) as new:
            new.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
            (error,) = await settled([delivery])
            assert getattr(error, "may_be_written", None) is True
            later = producer.send("orders", b"later")
            new.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
            (error,) = await settled([later])
            assert getattr(error, "may_be_written", None) is False


async def test_restored_cluster_without_cluster_id() -> None:
    def without_id(response: MetadataResponse) -> MetadataResponse:
        return replace(response, cluster_id=None)

    options: Any = {"topics": {"orders": 1}, "versions": KAFKA_3_6}
    async with FakeCluster(**options) as old:
        old.on(ApiKey.METADATA, times=None).rewrite(without_id)
        async with quick(old) as producer:
            await send_singly(producer, "before")
            async with at_the_addresses_of(old, **options) as new:
                new.on(ApiKey.METADATA, times=None).rewrite(without_id)
                async with quick(new) as other:
                    await send_singly(other, "other", 2 * SENT)
                await send_singly(producer, "after")

    assert set(values(new)) == expected("other", count=2 * SENT) | expected("after")


@pytest.mark.parametrize("version", [KAFKA_4, KAFKA_3_6])
async def test_forgotten_topic_of_restored_cluster(version: BrokerVersion) -> None:
    """A forgotten topic keeps its sequences, and the topic id for which they are valid."""
    options: Any = {"topics": {"orders": 1}, "versions": version}
    async with FakeCluster(**options) as old, quick(old, metadata_max_age_ms=50) as producer:
        await send_singly(producer, "before")
        engine = insides(producer)
        engine.accumulator.topics["orders"].last_used -= 1e6
        engine.metadata._used["orders"] -= 1e6  # noqa: SLF001 - instead of waiting five minutes
        await until(lambda: "orders" not in engine.metadata.topics)
        async with at_the_addresses_of(old, **options) as new, quick(new) as other:
            await send_singly(other, "other", 2 * SENT)
            await send_singly(producer, "after")

    assert set(values(new)) == expected("other", count=2 * SENT) | expected("after")


@pytest.mark.parametrize("is_forgotten", [False, True])
@pytest.mark.parametrize("version", [KAFKA_4, KAFKA_3_6])
async def test_first_records_after_restore(version: BrokerVersion, *, is_forgotten: bool) -> None:
    """Only the topics used before show that the cluster was restored."""
    options: Any = {"topics": {"orders": 1, "audit": 1}, "versions": version}
    async with FakeCluster(**options) as old, quick(old, metadata_max_age_ms=50) as producer:
        await send_singly(producer, "before")
        if is_forgotten:
            engine = insides(producer)
            engine.accumulator.topics["orders"].last_used -= 1e6
            engine.metadata._used["orders"] -= 1e6  # noqa: SLF001 - instead of waiting five minutes
            await until(lambda: "orders" not in engine.metadata.topics)
        async with at_the_addresses_of(old, **options) as new, quick(new) as other:
            await send_singly(other, "other", SENT, "audit")
            await send_singly(producer, "after", SENT, "audit")

    assert set(values(new, "audit")) == expected("other", "after")


@pytest.mark.parametrize("version", [KAFKA_4, KAFKA_3_6])
async def test_restored_cluster_gets_its_topics_later(version: BrokerVersion) -> None:
    """A cluster without any of the topics may be another one: the old producer id is not used."""
    options: Any = {"versions": version, "auto_create_topics": False}
    async with FakeCluster(topics={"orders": 1}, **options) as old, quick(old) as producer:
        await send_singly(producer, "before")
        sequences = insides(producer)._sequences  # noqa: SLF001 - tests of the insides
        assert sequences is not None
        old_id = sequences.producer_id.value
        async with at_the_addresses_of(old, topics={"audit": 1}, **options) as new, quick(new) as other:
            await other.send("audit", b"other")
            deliveries = [producer.send("orders", b"after 0")]
            await until(lambda: sequences.producer_id.value not in {old_id, NO_PRODUCER_ID})
            new.create_topic("orders")
            await send_singly(other, "other", 2 * SENT)
            deliveries += [producer.send("orders", b"after %d" % number) for number in range(1, SENT)]
            assert await settled(deliveries) == [None] * SENT

    assert set(values(new)) == expected("other", count=2 * SENT) | expected("after")


@pytest.mark.parametrize("version", [KAFKA_4, KAFKA_3_6])
async def test_brokers_replaced_one_by_one(version: BrokerVersion) -> None:
    """One node is of the new cluster already, while the other responds for the old one."""
    options: Any = {"topics": {"orders": 2}, "versions": version, "replication_factor": 1}
    async with (
        FakeCluster(2, cluster_id=OLD, **options) as old,
        FakeCluster(2, cluster_id=NEW, **options) as new,
        quick(old) as producer,
    ):
        node = old.leader_of("orders", 1)
        await new.stop()
        for number in range(SENT):
            await producer.send("orders", b"before %d" % number, partition=1)
            await producer.send("orders", b"before %d" % number, partition=0)
        await old.stop_node(node, elects=False)
        new.topology.nodes[node].port = old.topology.nodes[node].port
        await new.start_node(node)
        new.move_leader("orders", 1, node)
        async with quick(f"127.0.0.1:{new.topology.nodes[node].port}") as other, asyncio.timeout(SOON):
            for number in range(2 * SENT):
                await other.send("orders", b"other %d" % number, partition=1)
            for number in range(SENT):
                await producer.send("orders", b"after %d" % number, partition=1)

    stored = {record.value for record in new.records("orders", 1)}
    assert stored == expected("other", count=2 * SENT) | expected("after")


async def test_broker_that_knows_no_brokers_is_not_used() -> None:
    """A broker that has just started may know no topics yet, and is no other cluster."""

    def knows_nothing(response: MetadataResponse) -> MetadataResponse:
        topics = [
            replace(topic, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, partitions=())
            for topic in response.topics
        ]
        return replace(response, brokers=(), topics=tuple(topics))

    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        await send_singly(producer, "before")
        started = cluster.on(ApiKey.METADATA, times=None).rewrite(knows_nothing)
        cluster.on(ApiKey.PRODUCE).disconnect(after_storing=True)
        delivery = producer.send("orders", b"after 0")
        await until(lambda: started.hits >= 5)
        assert not delivery.done()
        cluster.heal()
        assert await settled([delivery]) == [None]

    assert values(cluster) == [*(b"before %d" % number for number in range(SENT)), b"after 0"]


async def test_started_broker_without_topics_yet() -> None:
    """A broker that has just started lists the brokers before it knows the topics (ZooKeeper mode).

    The response to a stored batch is lost: under a new producer id it would be stored twice.
    """

    def knows_no_topics(response: MetadataResponse) -> MetadataResponse:
        topics = [
            replace(topic, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, partitions=())
            for topic in response.topics
        ]
        return replace(response, topics=tuple(topics))

    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        await send_singly(producer, "before")
        started = cluster.on(ApiKey.METADATA, times=None).rewrite(knows_no_topics)
        cluster.on(ApiKey.PRODUCE).disconnect(after_storing=True)
        delivery = producer.send("orders", b"after 0")
        await until(lambda: started.hits >= 5)
        assert not delivery.done()
        cluster.heal()
        assert await settled([delivery]) == [None]

    assert values(cluster) == [*(b"before %d" % number for number in range(SENT)), b"after 0"]


async def test_old_producer_id_is_not_adopted() -> None:
    """The request precedes the replacement of the cluster, the response follows it."""
    async with FakeCluster(topics={"orders": 1}, cluster_id=OLD) as cluster, quick(cluster) as producer:
        held = cluster.on(ApiKey.INIT_PRODUCER_ID).hold()
        await held.hit()
        sequences = insides(producer)._sequences  # noqa: SLF001 - tests of the insides
        assert sequences is not None
        sequences.drop_sequences()
        held.release()
        await until(lambda: not sequences.needs_producer_id)
        assert sequences.producer_id.value > 1000
        await send_singly(producer, "after")


async def test_several_producers_survive_replacement() -> None:
    """Both clusters give the same producer ids, in different orders."""
    options: Any = {"topics": {"orders": 3, "audit": 2}}
    async with FakeCluster(cluster_id=OLD, **options) as old:
        producers = [quick(old, batch_size=200) for _ in range(4)]
        for producer in producers:
            await producer.start()
            await producer.send("orders", b"first")
        before = [producer.send("orders", b"%d" % n) for n in range(200) for producer in producers]
        async with at_the_addresses_of(old, cluster_id=NEW, **options) as new:
            deliveries: list[tuple[bytes, Delivery]] = []
            for number in range(200):
                for index, producer in enumerate(reversed(producers)):
                    value = b"after %d from %d" % (number, index)
                    deliveries.append((value, producer.send(("orders", "audit")[number % 2], value)))
                await asyncio.sleep(0)
            errors = await settled([delivery for _, delivery in deliveries])
            await settled(before)
            for producer in producers:
                await producer.stop()
        stored = values(new) + values(new, "audit")

    assert errors == [None] * len(errors)
    assert all(stored.count(value) == 1 for value, _ in deliveries)


@pytest.mark.parametrize("version", [KAFKA_4, KAFKA_3_6])
async def test_recreated_topic_spares_others(version: BrokerVersion) -> None:
    """The sequences of other topics stay valid until their batches are done; then the new id is used."""
    options: Any = {"topics": {"orders": 1, "audit": 1}, "versions": version}
    async with FakeCluster(**options) as cluster, quick(cluster, batch_size=1) as producer:
        await send_singly(producer, "first", topic="audit")
        await send_singly(producer, "first")
        held = cluster.on(ApiKey.PRODUCE, topic="audit").hold(after_storing=True)
        audit = [producer.send("audit", b"%d" % number) for number in range(3)]
        await held.hit()
        cluster.delete_topic("orders")
        cluster.create_topic("orders")
        sequences = insides(producer)._sequences  # noqa: SLF001 - tests of the insides
        assert sequences is not None
        cluster.drop_connections()
        await until(lambda: insides(producer).gauges()["connection-count"] == 0)
        orders = [producer.send("orders", b"%d" % number) for number in range(3)]
        held.release()
        assert await settled(audit + orders) == [None] * 6
        await until(lambda: sequences.producer_id.generation == 1)
        await send_singly(producer, "last", topic="audit")
        await send_singly(producer, "last")

    sent = [b"0", b"1", b"2"]
    last = [b"last %d" % number for number in range(SENT)]
    assert values(cluster, "audit") == [b"first %d" % number for number in range(SENT)] + sent + last
    assert values(cluster) == sent + last


async def test_replacement_drops_topic_ids() -> None:
    """Metadata of the new cluster gives the new topic id before a record is sent."""
    async with FakeCluster(topics={"orders": 1}, cluster_id=OLD) as old, quick(old) as producer:
        await send_singly(producer, "before")
        async with at_the_addresses_of(old, topics={"orders": 1}, cluster_id=NEW) as new:
            refused = new.on(ApiKey.PRODUCE, times=None).rewrite(lambda response: response)
            await send_singly(producer, "after", 1)
            topic_id = insides(producer).accumulator.topics["orders"].topic_id

    assert refused.hits == 1
    assert isinstance(topic_id, UUID)
    assert topic_id == new.topology.topic("orders").topic_id
