"""The partition of each record, read from the log of a fake cluster."""

import asyncio
import random
from collections import Counter
from itertools import groupby

import pytest

from aioproducer.records.murmur2 import partition_of_key
from aioproducer.testing import ApiKey, FakeCluster
from tests.faults.outcomes import SOON, all_stored, batches, patient, stored, values
from tests.faults.stored import TOPIC
from tests.net.quick import insides, quick, until

VALUE = b"v" * 100

# The partition that Java's producer chooses for a key, among 10 partitions and among 100.
KEYS = {b"foobar": (6, 66), b"abc": (7, 7), b"": (1, 81), b"key": (1, 81)}


@pytest.fixture
def fixed_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every run the same random numbers."""
    monkeypatch.setattr(random, "random", random.Random(48).random)  # noqa: S311 - nothing is secret


@pytest.mark.scenario("key-partitioning")
async def test_keys_match_java_partitions() -> None:
    async with FakeCluster(topics={TOPIC: 10}) as cluster, quick(cluster) as producer:
        # The first records wait for the topic's metadata, the others do not.
        for _ in range(2):
            deliveries = {key: producer.send(TOPIC, b"", key=key) for key in KEYS}
            for key, delivery in deliveries.items():
                assert (await stored(delivery)).partition == KEYS[key][0]
    for record in cluster.records(TOPIC):
        assert record.key is not None
        assert record.partition == KEYS[record.key][0]


@pytest.mark.scenario("key-partitioning")
async def test_ignored_keys_are_still_stored() -> None:
    keys = [b"%d" % number for number in range(20)]
    async with (
        FakeCluster(topics={TOPIC: 10}) as cluster,
        quick(cluster, partitioner_ignore_keys=True) as producer,
    ):
        await producer.partitions_for(TOPIC)
        metadata = await all_stored([producer.send(TOPIC, b"", key=key) for key in keys])
    assert len({each.partition for each in metadata}) == 1
    assert [record.key for record in cluster.records(TOPIC)] == keys


@pytest.mark.scenario("sticky-partition")
@pytest.mark.usefixtures("fixed_random")
async def test_partition_is_kept_until_full() -> None:
    """Every batch but the last is full: a change of partition cuts none short."""
    async with FakeCluster(topics={TOPIC: 10}) as cluster, quick(cluster, batch_size=1_000) as producer:
        await producer.partitions_for(TOPIC)
        metadata = await all_stored([producer.send(TOPIC, VALUE) for _ in range(84)])

    partitions = [each.partition for each in metadata]
    stretches = [len(list(stretch)) for _, stretch in groupby(partitions)]
    assert all(length % 8 == 0 for length in stretches[:-1])
    assert len(set(partitions)) > 3
    counts = sorted(batch.record_count for index in range(10) for batch in batches(cluster, partition=index))
    assert counts == [4, *[8] * 10]


@pytest.mark.scenario("sticky-partition")
@pytest.mark.usefixtures("fixed_random")
async def test_partition_changes_after_batch_size() -> None:
    """Small batches stay in one partition until batch_size bytes went there."""
    async with FakeCluster(topics={TOPIC: 10}) as cluster, quick(cluster, batch_size=1_000) as producer:
        partitions = [(await stored(producer.send(TOPIC, VALUE))).partition for _ in range(60)]

    stretches = [len(list(stretch)) for _, stretch in groupby(partitions)]
    assert min(stretches[:-1]) >= 8
    assert len(set(partitions)) > 2


@pytest.mark.scenario("slow-broker-share")
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.usefixtures("fixed_random")
async def test_slow_broker_gets_fewer_records(*, adaptive: bool) -> None:
    """Without adaptive partitioning both partitions get the same."""
    async with (
        FakeCluster(2, {TOPIC: 2}) as cluster,
        patient(
            cluster,
            # Every record fills a batch, so each gets a newly chosen partition.
            batch_size=200,
            partitioner_adaptive_partitioning_enable=adaptive,
        ) as producer,
    ):
        await all_stored([producer.send(TOPIC, b"", partition=partition) for partition in (0, 1)])
        slow = cluster.on(ApiKey.PRODUCE, node=2, times=None).hold()
        deliveries = []
        for _ in range(300):
            deliveries.append(producer.send(TOPIC, VALUE))
            await asyncio.sleep(0.001)
        slow.release()
        counts = Counter(each.partition for each in await all_stored(deliveries))

    if adaptive:
        assert 1 <= counts[1] < counts[0] / 3
    else:
        assert 100 < counts[1] < 200


@pytest.mark.scenario("unavailable-broker")
@pytest.mark.usefixtures("fixed_random")
async def test_unavailable_broker_is_left_out() -> None:
    """Records without keys avoid a broker that accepts no requests, until it accepts them again."""
    timeout_ms = 100
    async with FakeCluster(2, {TOPIC: 4}, replication_factor=1) as cluster:
        cluster.on(ApiKey.API_VERSIONS, node=2, times=None).disconnect()
        async with patient(cluster, batch_size=1, partitioner_availability_timeout_ms=timeout_ms) as producer:
            stuck = producer.send(TOPIC, b"stuck", partition=1)
            engine = insides(producer)
            node = engine.accumulator.schedule.node(2)
            await until(lambda: engine.clock() - node.starved_since > timeout_ms / 1000, SOON)

            metadata = await all_stored([producer.send(TOPIC, VALUE) for _ in range(60)])
            assert {each.partition for each in metadata} == {0, 2}
            assert not stuck.done()

            cluster.heal()
            await stored(stuck)
            metadata = await all_stored([producer.send(TOPIC, VALUE) for _ in range(60)])
            assert {each.partition for each in metadata} == {0, 1, 2, 3}


@pytest.mark.scenario("leaderless-partition")
@pytest.mark.usefixtures("fixed_random")
async def test_leaderless_partition_waits_for_keys() -> None:
    """A partition without a leader gets no records without keys; those with keys wait for it."""
    key = next(b"%d" % number for number in range(100) if partition_of_key(b"%d" % number, 3) == 1)
    async with FakeCluster(2, {TOPIC: 3}) as cluster, quick(cluster, batch_size=1) as producer:
        cluster.move_leader(TOPIC, 1, to=-1)
        keyed = producer.send(TOPIC, b"keyed", key=key)
        # The first records wait for the topic's metadata.
        metadata = await all_stored([producer.send(TOPIC, VALUE) for _ in range(30)])
        metadata += await all_stored([producer.send(TOPIC, VALUE) for _ in range(30)])
        assert {each.partition for each in metadata} == {0, 2}
        assert not keyed.done()

        cluster.move_leader(TOPIC, 1, to=2)
        assert (await stored(keyed)).partition == 1
    assert values(cluster, partition=1) == [b"keyed"]


@pytest.mark.scenario("new-partitions")
@pytest.mark.usefixtures("fixed_random")
async def test_new_partitions_are_used() -> None:
    async with (
        FakeCluster(topics={TOPIC: 10}) as cluster,
        quick(cluster, batch_size=1, metadata_max_age_ms=50) as producer,
    ):
        for key, (of_10, _) in KEYS.items():
            assert (await stored(producer.send(TOPIC, b"", key=key))).partition == of_10
        early = producer.send(TOPIC, b"early", partition=99)
        await all_stored([producer.send(TOPIC, b"", partition=0)])
        assert not early.done()

        cluster.add_partitions(TOPIC, 100)
        assert (await stored(early)).partition == 99
        async with asyncio.timeout(SOON):
            assert len(await producer.partitions_for(TOPIC)) == 100
        for key, (_, of_100) in KEYS.items():
            assert (await stored(producer.send(TOPIC, b"", key=key))).partition == of_100
        assert (await stored(producer.send(TOPIC, b"", partition=98))).partition == 98
        unkeyed = await all_stored([producer.send(TOPIC, VALUE) for _ in range(100)])
        assert max(each.partition for each in unkeyed) >= 10


@pytest.mark.scenario("new-partitions")
async def test_sends_alone_find_new_partitions() -> None:
    """The producer finds new partitions without `partitions_for`."""
    async with FakeCluster(topics={TOPIC: 10}) as cluster, quick(cluster, metadata_max_age_ms=50) as producer:
        assert (await stored(producer.send(TOPIC, b"", key=b"foobar"))).partition == 6
        cluster.add_partitions(TOPIC, 100)
        async with asyncio.timeout(SOON):
            partition = 6
            while partition != 66:
                partition = (await stored(producer.send(TOPIC, b"", key=b"foobar"))).partition
                assert partition in {6, 66}
