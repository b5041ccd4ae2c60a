"""Each preset behaves like its release, and several clients produce to it."""

import asyncio
from dataclasses import replace

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse
from aioproducer.protocol.frame import decode_response, encode_request
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic
from aioproducer.testing import (
    KAFKA_2_1,
    KAFKA_2_8,
    KAFKA_3_6,
    KAFKA_4,
    REDPANDA,
    ApiKey,
    BrokerVersion,
    FakeCluster,
    TopicConfig,
)
from aioproducer.testing.versions import UnknownVersion
from tests.net.quick import quick
from tests.testing.batches import make_batch
from tests.testing.raw_client import RawClient, produce_request
from tests.testing.test_foreign_clients import check, with_aiokafka, with_librdkafka

PRESETS = [KAFKA_2_1, KAFKA_2_8, KAFKA_3_6, KAFKA_4, REDPANDA]
INTRODUCTION = ApiVersionsRequest(client_software_name="raw", client_software_version="1")

each_preset = pytest.mark.parametrize("version", PRESETS, ids=lambda version: version.name)


@each_preset
async def test_aioproducer_produces(version: BrokerVersion) -> None:
    async with FakeCluster(3, {"orders": 4}, versions=version) as cluster, quick(cluster) as producer:
        for n in range(300):
            value = b"%d" % n
            headers = [("n", value), ("empty", b"")]
            producer.send("orders", value, key=b"k%d" % (n % 7), headers=headers)
        await producer.flush()
        check(cluster.records("orders"))


@each_preset
@pytest.mark.parametrize("idempotent", [False, True])
async def test_aiokafka_produces(version: BrokerVersion, *, idempotent: bool) -> None:
    async with FakeCluster(3, {"orders": 4}, versions=version) as cluster:
        await with_aiokafka(cluster, "gzip", idempotent=idempotent)
        check(cluster.records("orders"))


@each_preset
@pytest.mark.parametrize("idempotent", [False, True])
async def test_librdkafka_produces(version: BrokerVersion, *, idempotent: bool) -> None:
    async with FakeCluster(3, {"orders": 4}, versions=version) as cluster:
        await asyncio.to_thread(with_librdkafka, cluster, "lz4", idempotent=idempotent)
        check(cluster.records("orders"))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (KAFKA_2_1, [(0, 7), (0, 7), (0, 2), (0, 1)]),
        (KAFKA_2_8, [(0, 9), (0, 11), (0, 3), (0, 4)]),
        (KAFKA_3_6, [(0, 9), (0, 12), (0, 3), (0, 4)]),
        (KAFKA_4, [(0, 13), (0, 13), (0, 4), (0, 5)]),
        (REDPANDA, [(0, 7), (0, 8), (0, 3), (0, 3)]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_preset_lists_its_versions(version: BrokerVersion, expected: list[tuple[int, int]]) -> None:
    async with FakeCluster(versions=version) as cluster, await RawClient.connect(cluster) as client:
        response = await client.ask(ApiVersionsRequest(), 2)
        listed = {api.api_key: (api.min_version, api.max_version) for api in response.api_keys}
        asked = (ApiKey.PRODUCE, ApiKey.METADATA, ApiKey.API_VERSIONS, ApiKey.INIT_PRODUCER_ID)
        assert [listed[api] for api in asked] == expected
        assert {1, int(ApiKey.FIND_COORDINATOR)} < listed.keys()


@each_preset
async def test_unlisted_versions_close_connection(version: BrokerVersion) -> None:
    highest = version.apis[ApiKey.PRODUCE].max
    async with FakeCluster(topics={"orders": 1}, versions=version) as cluster:
        async with await RawClient.connect(cluster) as client:
            answer = await client.produce("orders", 0, make_batch(b"a"), version=min(highest, 12))
            assert answer.error_code == ErrorCode.NONE
        async with await RawClient.connect(cluster) as client:
            body = (0).to_bytes(2) + (highest + 1).to_bytes(2) + bytes(20)
            client.send_bytes(len(body).to_bytes(4) + body)
            assert await client.closed() == b""


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (KAFKA_4, {18}),
        (KAFKA_2_1, set()),
        (REDPANDA, {0, 1, 3, 10, 17, 18, 22, 36}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_unknown_version_gets_version_0(version: BrokerVersion, told: set[int]) -> None:
    version = version.capped({ApiKey.API_VERSIONS: 2})
    async with FakeCluster(versions=version) as cluster, await RawClient.connect(cluster) as client:
        client.send_bytes(b"".join(encode_request(INTRODUCTION, 4, 9, "raw")))
        correlation_id, response = decode_response(ApiVersionsResponse, await client.frame(), 0)
        assert (correlation_id, response.error_code) == (9, ErrorCode.UNSUPPORTED_VERSION)
        assert {api.api_key for api in response.api_keys} == told


async def test_unknown_version_can_close_connection() -> None:
    version = replace(KAFKA_3_6, unknown_version=UnknownVersion.CLOSE_CONNECTION)
    async with FakeCluster(versions=version) as cluster, await RawClient.connect(cluster) as client:
        client.send(INTRODUCTION, 4)
        assert await client.closed() == b""


@pytest.mark.parametrize("unknown", UnknownVersion)
async def test_aioproducer_negotiates_any_refusal(unknown: UnknownVersion) -> None:
    version = replace(KAFKA_2_1, unknown_version=unknown)
    async with FakeCluster(topics={"orders": 1}, versions=version) as cluster, quick(cluster) as producer:
        await producer.send("orders", b"a")
        assert [record.value for record in cluster.records("orders")] == [b"a"]


async def test_nodes_can_have_different_releases() -> None:
    versions = {1: KAFKA_2_8, 2: REDPANDA}
    async with FakeCluster(3, {"orders": 3}, versions=versions) as cluster, quick(cluster) as producer:
        await asyncio.gather(*[producer.send("orders", b"%d" % n, partition=n).future() for n in range(3)])
        assert [record.value for record in cluster.records("orders")] == [b"0", b"1", b"2"]
    with pytest.raises(ValueError, match="no nodes"):
        FakeCluster(versions={2: KAFKA_4})


async def test_restart_as_other_release() -> None:
    async with FakeCluster(3, {"orders": 3}, versions=KAFKA_2_8) as cluster, quick(cluster) as producer:
        for round_, node in enumerate((1, 2, 3)):
            deliveries = [producer.send("orders", b"%d" % round_, partition=n) for n in range(3)]
            await cluster.restart_node(node, KAFKA_4)
            for delivery in deliveries:
                await delivery
        assert len(cluster.records("orders")) == 9
        async with await RawClient.connect(cluster, 3) as client:
            response = await client.ask(ApiVersionsRequest(), 0)
            assert max(api.max_version for api in response.api_keys if api.api_key == ApiKey.PRODUCE) == 13


@pytest.mark.parametrize(("version", "code"), [(KAFKA_2_1, ErrorCode.UNKNOWN_PRODUCER_ID), (KAFKA_2_8, 0)])
async def test_old_brokers_refuse_forgotten_producers(version: BrokerVersion, code: ErrorCode) -> None:
    async with (
        FakeCluster(topics={"orders": 1}, versions=version) as cluster,
        await RawClient.connect(cluster) as client,
    ):
        for sequence in (0, 1):
            await client.produce("orders", 0, make_batch(b"a", producer=(9, 0, sequence)), version=7)
        cluster.delete_records("orders", 0, before=2)
        cluster.forget_producer(9)
        answer = await client.produce("orders", 0, make_batch(b"b", producer=(9, 0, 2)), version=7)
        assert (answer.error_code, answer.log_start_offset) == (code, 2)
        again = await client.produce("orders", 0, make_batch(b"b", producer=(8, 0, 0)), version=7)
        assert again.error_code == ErrorCode.NONE


@pytest.mark.parametrize(("version", "code"), [(KAFKA_3_6, ErrorCode.NOT_ENOUGH_REPLICAS), (KAFKA_4, 0)])
async def test_impossible_min_isr_by_release(version: BrokerVersion, code: int) -> None:
    """Old brokers refuse records of a topic with fewer replicas than min.insync.replicas."""
    config = TopicConfig(min_insync_replicas=2)
    async with (
        FakeCluster(topics={"orders": 1}, versions=version, topic_config=config) as cluster,
        await RawClient.connect(cluster) as client,
    ):
        assert (await client.produce("orders", 0, make_batch(b"a"))).error_code == code


@pytest.mark.parametrize(("version", "code"), [(KAFKA_3_6, 0), (KAFKA_4, ErrorCode.INVALID_TIMESTAMP)])
async def test_kafka_4_refuses_future_timestamps(version: BrokerVersion, code: int) -> None:
    async with (
        FakeCluster(topics={"orders": 1}, versions=version) as cluster,
        await RawClient.connect(cluster) as client,
    ):
        batch = make_batch(b"a", timestamp_ms=4_000_000_000_000)
        assert (await client.produce("orders", 0, batch)).error_code == code


@pytest.mark.parametrize(
    ("version", "code"),
    [(KAFKA_2_8, ErrorCode.LEADER_NOT_AVAILABLE), (KAFKA_4, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)],
)
async def test_new_topic_error_by_release(version: BrokerVersion, code: ErrorCode) -> None:
    async with FakeCluster(versions=version) as cluster, await RawClient.connect(cluster) as client:
        request = MetadataRequest(topics=(MetadataRequestTopic("new"),))
        for expected in (code, ErrorCode.NONE):
            [topic] = (await client.ask(request, 9)).topics
            assert topic.error_code == expected


def test_cap_is_an_existing_version() -> None:
    with pytest.raises(ValueError, match=r"Kafka 2\.1 has PRODUCE 0-7, not 8"):
        KAFKA_2_1.capped({ApiKey.PRODUCE: 8})
    assert ApiKey.PRODUCE not in KAFKA_2_1.capped({ApiKey.PRODUCE: None}).apis


async def test_zstd_needs_produce_7() -> None:
    async with FakeCluster(topics={"orders": 1}, versions=KAFKA_2_1) as cluster:
        async with quick(cluster, compression_type="zstd") as producer:
            await producer.send("orders", b"a" * 1000)
        async with await RawClient.connect(cluster) as client:
            answer = await client.ask(produce_request("orders", {0: make_batch(b"a")}), 6)
            assert answer.responses[0].partition_responses[0].error_code == ErrorCode.NONE
