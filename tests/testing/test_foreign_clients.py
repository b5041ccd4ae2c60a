"""Other clients produce to the fake cluster, and their records are stored."""

import asyncio
from collections import defaultdict

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Consumer as LibrdkafkaConsumer
from confluent_kafka import Producer as LibrdkafkaProducer

from aioproducer.testing import ApiKey, ErrorCode, FakeCluster, StoredRecord
from tests.net.quick import until

RECORDS = 300
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def check(records: list[StoredRecord]) -> None:
    assert sorted(int(record.value or b"") for record in records) == list(range(RECORDS))
    by_partition = defaultdict(list)
    for record in records:
        assert record.key == b"k%d" % (int(record.value or b"") % 7)
        assert record.headers == (("n", record.value), ("empty", b""))
        by_partition[record.partition].append(record)
    for partition in by_partition.values():
        assert [record.offset for record in partition] == list(range(len(partition)))
        assert [int(record.value or b"") for record in partition] == sorted(
            int(record.value or b"") for record in partition
        )


async def with_aiokafka(cluster: FakeCluster, codec: str, *, idempotent: bool) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap,
        compression_type=None if codec == "none" else codec,
        enable_idempotence=idempotent,
        retry_backoff_ms=10,
    )
    await producer.start()
    try:
        sent = [
            await producer.send(
                "orders", b"%d" % n, key=b"k%d" % (n % 7), headers=[("n", b"%d" % n), ("empty", b"")]
            )
            for n in range(RECORDS)
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def with_librdkafka(cluster: FakeCluster, codec: str, *, idempotent: bool) -> None:
    failed = []
    producer = LibrdkafkaProducer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "compression.codec": codec,
            "enable.idempotence": idempotent,
            "retry.backoff.ms": 10,
            "linger.ms": 1,
        }
    )
    for n in range(RECORDS):
        producer.produce(
            "orders",
            b"%d" % n,
            key=b"k%d" % (n % 7),
            headers=[("n", b"%d" % n), ("empty", b"")],
            on_delivery=lambda error, _message: failed.append(error) if error else None,
        )
    assert producer.flush(20) == 0
    assert not failed


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("codec", CODECS)
async def test_aiokafka_produces(codec: str, *, idempotent: bool) -> None:
    async with FakeCluster(2, {"orders": 4}) as cluster:
        await with_aiokafka(cluster, codec, idempotent=idempotent)
        check(cluster.records("orders"))


@pytest.mark.parametrize("codec", CODECS)
async def test_librdkafka_produces(codec: str) -> None:
    async with FakeCluster(2, {"orders": 4}) as cluster:
        await asyncio.to_thread(with_librdkafka, cluster, codec, idempotent=False)
        check(cluster.records("orders"))


async def test_librdkafka_survives_lost_responses() -> None:
    async with FakeCluster(2, {"orders": 4}) as cluster:
        lost = cluster.on(ApiKey.PRODUCE, times=2).disconnect(after_storing=True)
        await asyncio.to_thread(with_librdkafka, cluster, "lz4", idempotent=True)
        assert lost.hits == 2
        check(cluster.records("orders"))


async def test_aiokafka_survives_errors_and_moves() -> None:
    async with FakeCluster(2, {"orders": 4}) as cluster:
        cluster.on(ApiKey.PRODUCE, skip=1).run(lambda: cluster.move_leader("orders", 0, 2))
        cluster.on(ApiKey.PRODUCE, partition=1).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        await with_aiokafka(cluster, "none", idempotent=True)
        check(cluster.records("orders"))


@pytest.mark.parametrize("highest", [3, 5, 7, 8, 9])
async def test_librdkafka_produces_to_older_brokers(highest: int) -> None:
    caps = {ApiKey.PRODUCE: highest, ApiKey.METADATA: 7, ApiKey.API_VERSIONS: 2}
    async with FakeCluster(topics={"orders": 4}, max_versions=caps) as cluster:
        await asyncio.to_thread(with_librdkafka, cluster, "gzip", idempotent=False)
        check(cluster.records("orders"))


async def test_requested_topic_is_created() -> None:
    async with FakeCluster(default_partitions=4) as cluster:
        await with_aiokafka(cluster, "none", idempotent=True)
        check(cluster.records("orders"))


async def test_log_explains_refused_consumer(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeCluster(topics={"orders": 1}, strict=False) as cluster:
        consumer = LibrdkafkaConsumer(
            {"bootstrap.servers": cluster.bootstrap, "group.id": "readers", "log_level": 0}
        )
        try:
            await asyncio.to_thread(consumer.subscribe, ["orders"])
            await until(lambda: "does not implement FIND_COORDINATOR" in caplog.text, 20)
        finally:
            await asyncio.to_thread(consumer.close)


async def test_aiokafka_describes_the_cluster() -> None:
    async with FakeCluster(2, {"orders": 4}, strict=False) as cluster:
        client = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        await client.start()
        try:
            assert await client.list_topics() == ["orders"]
            assert len((await client.describe_cluster())["brokers"]) == 2
        finally:
            await client.close()
