"""Faults that Kafka overlooks: a strict cluster refuses them, another one accepts them as Kafka does."""

import struct

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.frame import encode_request
from aioproducer.protocol.metadata import MetadataRequest, MetadataResponse
from aioproducer.protocol.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from aioproducer.testing import FakeCluster
from tests.testing.batches import make_batch, put, spoil
from tests.testing.raw_client import RawClient, only_answer

ALL = MetadataRequest(topics=None)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def metadata_from(client_id: bytes) -> bytes:
    """Return a request for all topics, in version 1."""
    return framed(struct.pack(">hhi", 3, 1, 1) + client_id + b"\xff\xff\xff\xff")


@pytest.mark.parametrize("strict", [True, False])
async def test_trailing_bytes_after_request(*, strict: bool) -> None:
    async with FakeCluster(strict=strict) as cluster, await RawClient.connect(cluster) as client:
        client.send(ALL, 9)
        await client.receive(MetadataResponse, 9)
        body = b"".join(encode_request(ALL, 9, 1, "raw"))[4:]
        client.send_bytes(framed(body + b"more"))
        if strict:
            assert await client.closed() == b""
        else:
            assert (await client.receive(MetadataResponse, 9)).controller_id == 1


@pytest.mark.parametrize("client_id", [b"\x00\x02\xff\xff", b"\xff\xfe"])
@pytest.mark.parametrize("strict", [True, False])
async def test_client_id_without_utf8(client_id: bytes, *, strict: bool) -> None:
    async with FakeCluster(strict=strict) as cluster, await RawClient.connect(cluster) as client:
        client.send(ALL, 1)
        await client.receive(MetadataResponse, 1)
        client.send_bytes(metadata_from(client_id))
        if strict:
            assert await client.closed() == b""
        else:
            assert (await client.receive(MetadataResponse, 1)).controller_id == 1


@pytest.mark.parametrize("client_id", [b"", b"\x00", b"\x7f\xffraw"])
async def test_truncated_client_id_closes_connection(client_id: bytes) -> None:
    async with FakeCluster(strict=False) as cluster, await RawClient.connect(cluster) as client:
        # ApiVersions 0 has no body, so only the header can be truncated.
        client.send_bytes(framed(struct.pack(">hhi", 18, 0, 1) + client_id))
        assert await client.closed() == b""


@pytest.mark.parametrize("junk", [b"x", make_batch(b"z")[:20]])
@pytest.mark.parametrize("strict", [True, False])
async def test_trailing_bytes_after_batch(junk: bytes, *, strict: bool) -> None:
    async with FakeCluster(topics={"orders": 1}, strict=strict) as cluster:
        async with await RawClient.connect(cluster) as client:
            answer = await client.produce("orders", 0, make_batch(b"a") + junk)
        assert answer.error_code == (ErrorCode.INVALID_RECORD if strict else ErrorCode.NONE)
        assert [record.value for record in cluster.records("orders")] == ([] if strict else [b"a"])


@pytest.mark.parametrize("is_one_topic", [True, False])
@pytest.mark.parametrize("strict", [True, False])
async def test_repeated_partition_in_request(*, strict: bool, is_one_topic: bool) -> None:
    corrupt = spoil(make_batch(b"abc"), put(">b", 70, 1), fix_crc=False)
    written = [PartitionProduceData(0, corrupt), PartitionProduceData(0, make_batch(b"b"))]
    data = (
        (TopicProduceData("orders", partition_data=tuple(written)),)
        if is_one_topic
        else tuple([TopicProduceData("orders", partition_data=(each,)) for each in written])
    )
    request = ProduceRequest(acks=-1, timeout_ms=1, topic_data=data)
    async with FakeCluster(topics={"orders": 1}, strict=strict) as cluster:
        async with await RawClient.connect(cluster) as client:
            responses = (await client.ask(request, 9)).responses
        codes = [answer.error_code for topic in responses for answer in topic.partition_responses]
        # Kafka stores the last one, and its response leaves the other out.
        expected = [ErrorCode.CORRUPT_MESSAGE, ErrorCode.INVALID_REQUEST] if strict else [ErrorCode.NONE]
        assert codes == expected
        assert [record.value for record in cluster.records("orders")] == ([] if strict else [b"b"])


@pytest.mark.parametrize("strict", [True, False])
async def test_strict_cluster_explains_silent_drops(*, strict: bool) -> None:
    cluster = FakeCluster(topics={"orders": 1}, strict=strict)
    async with cluster, await RawClient.connect(cluster) as client:
        silent = await client.produce("orders", 0, spoil(make_batch(b"a"), put(">q", 0, 5)))
        told = await client.produce("orders", 0, spoil(make_batch(b"a"), put(">b", 16, 3)))
        late = await client.produce("orders", 0, make_batch(b"a", timestamp_ms=9_000_000_000_000))
    assert (silent.error_message is not None) is strict
    assert None not in {told.error_message, late.error_message}


async def test_accepted_batch_is_read_back() -> None:
    data = spoil(make_batch(b"a", key=b"k", headers={"h": b"x"}), put(">b", 71, -1))
    async with FakeCluster(topics={"orders": 1}, strict=False) as cluster:
        async with await RawClient.connect(cluster) as client:
            client.send(_one("orders", data), 9)
            assert only_answer(await client.receive(ProduceResponse, 9)).error_code == ErrorCode.NONE
        [record] = cluster.records("orders")
        assert (record.key, record.value, record.headers) == (b"k", b"a", (("�", b"x"),))


def _one(topic: str, data: bytes) -> ProduceRequest:
    partition = PartitionProduceData(0, data)
    return ProduceRequest(
        acks=1, timeout_ms=1, topic_data=(TopicProduceData(topic, partition_data=(partition,)),)
    )
