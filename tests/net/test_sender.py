"""Faulty brokers: each record is done in time, in order, and in the log once."""

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from aioproducer import (
    BrokerConnectionError,
    DeliveryTimeoutError,
    ProducerError,
    UnsupportedVersionError,
)
from aioproducer.protocol.api_versions import ApiVersion, ApiVersionsResponse
from aioproducer.protocol.produce import PartitionProduceResponse, ProduceResponse, TopicProduceResponse
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick, turns, until
from tests.net.relay import Asked, Relay

SOON = 30
RECORDS = 30


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 2}) as cluster:
        yield cluster


async def _produce_all(cluster: FakeCluster, request_timeout_ms: int = 300) -> None:
    """Produce in small batches, and find each record in the log once and in order."""
    async with (
        quick(cluster, batch_size=200, request_timeout_ms=request_timeout_ms) as producer,
        asyncio.timeout(SOON),
    ):
        deliveries = []
        for number in range(RECORDS):
            deliveries.append(producer.send("orders", b"%04d" % number * 10, partition=number % 2))
            await asyncio.sleep(0)
        offsets = [(await delivery).offset for delivery in deliveries]
    assert offsets == [number // 2 for number in range(RECORDS)]
    for partition in (0, 1):
        values = [record.value for record in cluster.records("orders", partition)]
        assert values == [b"%04d" % number * 10 for number in range(partition, RECORDS, 2)]


@pytest.mark.simulated
@pytest.mark.scenario("silent-broker")
@pytest.mark.parametrize("after_storing", [False, True])
@pytest.mark.parametrize("skip", [0, 1, 4])
async def test_silent_broker_is_retried(cluster: FakeCluster, skip: int, *, after_storing: bool) -> None:
    fault = cluster.on(ApiKey.PRODUCE, skip=skip, times=2).fall_silent(after_storing=after_storing)
    await _produce_all(cluster, request_timeout_ms=150)
    assert fault.hits == 2


@pytest.mark.scenario("response-lost")
@pytest.mark.parametrize("after_storing", [False, True])
async def test_lost_connection_stores_once(cluster: FakeCluster, *, after_storing: bool) -> None:
    cluster.on(ApiKey.PRODUCE, skip=1, times=4).disconnect(after_storing=after_storing)
    await _produce_all(cluster)


@pytest.mark.scenario("response-lost")
@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 8, 9, 20, 50])
async def test_truncated_response_is_lost(cluster: FakeCluster, size: int) -> None:
    cluster.on(ApiKey.PRODUCE, skip=2, times=3).cut(size)
    await _produce_all(cluster)


@pytest.mark.simulated
@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        struct.pack(">ii", 4, 123456),
        struct.pack(">i", -5),
        struct.pack(">i", 0),
        struct.pack(">i", 2**31 - 1),
        struct.pack(">i", 2) + b"\x00\x00",
        struct.pack(">ii", 64, 0) + bytes(60),
        bytes(300),
        b"\xff" * 300,
    ],
)
async def test_garbage_closes_connection(cluster: FakeCluster, garbage: bytes) -> None:
    fault = cluster.on(ApiKey.PRODUCE, skip=1, times=2).answer_bytes(garbage)
    await _produce_all(cluster, request_timeout_ms=150)
    assert fault.hits == 2


@pytest.mark.simulated
@pytest.mark.parametrize("version", [3, 7, 8, 9, 12, 13])
async def test_response_body_is_corrupt(version: int) -> None:
    async with (
        FakeCluster(topics={"orders": 2}, max_versions={ApiKey.PRODUCE: version}) as cluster,
        Relay(cluster) as relay,
    ):
        spoilt = 0

        def spoil(asked: Asked, frame: bytes) -> list[bytes]:
            nonlocal spoilt
            if asked.api is ApiKey.PRODUCE and spoilt < 20:
                spoilt += 1
                # Each response is changed at another place; size and correlation id stay.
                at = 8 + spoilt * (len(frame) - 8) // 21
                return [frame[:at] + b"\xee" * min(3, len(frame) - at) + frame[at + 3 :]]
            return [frame]

        relay.on_answer = spoil
        async with quick(cluster, retry_backoff_max_ms=10, request_timeout_ms=200) as producer:
            deliveries = []
            for number in range(RECORDS):
                deliveries.append(producer.send("orders", b"%d" % number, partition=number % 2))
                await asyncio.sleep(0.001)
            async with asyncio.timeout(SOON):
                for delivery in deliveries:
                    try:
                        await delivery
                    except ProducerError:
                        continue
        assert spoilt
        values = [record.value for record in cluster.records("orders")]
        assert len(values) == len(set(values))


async def test_missing_partition_is_retried(cluster: FakeCluster) -> None:
    fault = cluster.on(ApiKey.PRODUCE, partition=1, skip=1, times=3).leave_out()
    await _produce_all(cluster)
    assert fault.hits == 3


async def test_empty_response_is_retried(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.PRODUCE, times=3).rewrite(lambda answer: replace(answer, responses=()))
    await _produce_all(cluster)


async def test_foreign_partitions_are_ignored(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    strange = PartitionProduceResponse(index=7, error_code=ErrorCode.NONE, base_offset=1000)

    def answer_too_much(answer: ProduceResponse) -> ProduceResponse:
        known = answer.responses[0]
        own = replace(known, partition_responses=(strange, *known.partition_responses, strange))
        other = TopicProduceResponse("others", known.topic_id, (strange,))
        return replace(answer, responses=(other, own, own))

    cluster.on(ApiKey.PRODUCE, times=None).rewrite(answer_too_much)
    await _produce_all(cluster)
    assert "answered for a partition it was not asked for" in caplog.text


@pytest.mark.scenario("acks-zero")
async def test_responses_to_acks_0_are_ignored(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The relay sends acks=1 instead: the node responds, as some servers do to acks=0."""

    def with_acks_1(asked: Asked) -> bytes:
        if asked.api is not ApiKey.PRODUCE:
            return asked.frame
        # Skip size, key, version, correlation id, client id, tags and transactional id.
        acks = 4 + 8 + 2 + len(asked.header.client_id or "") + 1 + 1
        assert asked.frame[acks : acks + 2] == b"\x00\x00"
        return asked.frame[:acks] + b"\x00\x01" + asked.frame[acks + 2 :]

    async with Relay(cluster) as relay:
        relay.rewrite = with_acks_1
        async with quick(cluster, acks=0, enable_idempotence=False) as producer:
            for number in range(RECORDS):
                assert (await asyncio.wait_for(producer.send("orders", b"1", partition=0), SOON)).offset == -1
                while len(cluster.records("orders", 0)) <= number:  # noqa: ASYNC110 - a condition without events
                    await asyncio.sleep(0.001)
            # A request that expects a response gets it on the same connection.
            await producer.partitions_for("orders")
            assert len(await producer.partitions_for("new")) == 1
        assert relay.connections == 2
    told = [record for record in caplog.records if "expect no response" in record.getMessage()]
    assert len(told) == 1


@pytest.mark.parametrize("shift", [1, -1, 1000])
async def test_wrong_correlation_id_closes_connection(cluster: FakeCluster, shift: int) -> None:
    async with Relay(cluster) as relay:
        wrong = 0

        def shifted(asked: Asked, frame: bytes) -> list[bytes]:
            nonlocal wrong
            if asked.api is not ApiKey.PRODUCE or wrong == 3:
                return [frame]
            wrong += 1
            number = asked.header.correlation_id + shift
            return [frame[:4] + struct.pack(">i", number) + frame[8:]]

        relay.on_answer = shifted
        await _produce_all(cluster)
        assert wrong == 3


async def test_swapped_responses_close_connection(cluster: FakeCluster) -> None:
    async with Relay(cluster) as relay:
        kept: dict[int, bytes] = {}
        swapped = 0

        def swap(asked: Asked, frame: bytes) -> list[bytes]:
            nonlocal swapped
            if asked.api is not ApiKey.PRODUCE or swapped == 2:
                return [frame]
            if asked.connection not in kept:
                kept[asked.connection] = frame
                return []
            swapped += 1
            return [frame, kept[asked.connection]]

        relay.on_answer = swap
        await _produce_all(cluster, request_timeout_ms=300)
        assert swapped == 2


async def test_response_before_garbage_counts(cluster: FakeCluster) -> None:
    async with Relay(cluster) as relay:
        spoilt = 0

        def append_garbage(asked: Asked, frame: bytes) -> list[bytes]:
            nonlocal spoilt
            if asked.api is not ApiKey.PRODUCE or spoilt == 3:
                return [frame]
            spoilt += 1
            return [frame, struct.pack(">ii", 4, -7)]

        relay.on_answer = append_garbage
        await _produce_all(cluster)
        assert spoilt == 3


@pytest.mark.simulated
async def test_silent_broker_costs_delivery_timeout(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
    async with quick(cluster, request_timeout_ms=100, delivery_timeout_ms=400) as producer:
        deliveries = [producer.send("orders", b"1", partition=partition) for partition in (0, 1)]
        async with asyncio.timeout(SOON):
            for delivery in deliveries:
                with pytest.raises(DeliveryTimeoutError, match=r"delivery_timeout_ms is 400") as raised:
                    await delivery
                assert raised.value.may_be_written
                assert isinstance(raised.value.__cause__, BrokerConnectionError)
        assert producer.metrics()["producer-metrics"]["record-error-total"] == 2


@pytest.mark.simulated
@pytest.mark.scenario("sequence-gap", "first-batch-expires")
async def test_partition_continues_after_expiry(cluster: FakeCluster) -> None:
    """It is unknown whether the expired batch is in the log."""
    async with quick(cluster, request_timeout_ms=100, delivery_timeout_ms=300) as producer:
        await producer.send("orders", b"0", partition=0)
        for after_storing in (False, True):
            cluster.on(ApiKey.PRODUCE, times=None).fall_silent(after_storing=after_storing)
            with pytest.raises(DeliveryTimeoutError):
                await producer.send("orders", b"lost %d" % after_storing, partition=0)
            cluster.heal()
            async with asyncio.timeout(SOON):
                deliveries = [producer.send("orders", b"%d" % n, partition=0) for n in range(3)]
                while not all(delivery.done() for delivery in deliveries):
                    await asyncio.wait([delivery.future() for delivery in deliveries])
                for delivery in deliveries:
                    delivery.result()
    values = [record.value for record in cluster.records("orders", 0)]
    assert values == [b"0", b"0", b"1", b"2", b"lost 1", b"0", b"1", b"2"]


async def test_silent_broker_delays_no_other() -> None:
    async with FakeCluster(2, {"orders": 2}) as cluster, quick(cluster, request_timeout_ms=2_000) as producer:
        for partition in (0, 1):
            await producer.send("orders", b"0", partition=partition)
        silent = cluster.leader_of("orders", 0)
        held = cluster.on(ApiKey.PRODUCE, node=silent).hold()
        stuck = producer.send("orders", b"1", partition=0)
        await held.hit()
        async with asyncio.timeout(SOON):
            for number in range(20):
                await producer.send("orders", b"%d" % number, partition=1)
        assert not stuck.done()
        held.release()
        await stuck


async def test_five_requests_are_in_flight(cluster: FakeCluster) -> None:
    async with quick(cluster, batch_size=1) as producer:
        await producer.send("orders", b"0", partition=0)
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = [producer.send("orders", b"%d" % number, partition=0) for number in range(20)]
        await held.hit()
        await turns()
        assert producer.metrics()["producer-metrics"]["requests-in-flight"] == 5
        assert "in flight=5" in repr(producer)
        held.release()
        assert [(await delivery).offset for delivery in deliveries] == list(range(1, 21))


@pytest.mark.simulated
@pytest.mark.scenario("throttling")
async def test_throttle_is_observed(cluster: FakeCluster) -> None:
    loop = asyncio.get_running_loop()
    async with Relay(cluster) as relay, quick(cluster, request_timeout_ms=250) as producer:
        await producer.send("orders", b"0", partition=0)
        cluster.on(ApiKey.PRODUCE).throttle(400)
        await producer.send("orders", b"1", partition=0)
        silent_from = loop.time()
        count = len(relay.requests)
        deliveries = [producer.send("orders", b"2", partition=0), producer.send("new", b"2")]
        async with asyncio.timeout(SOON):
            for delivery in deliveries:
                await delivery
        assert relay.requests[count].at - silent_from > 0.35
        assert relay.connections == 2
        assert producer.metrics()["producer-metrics"]["produce-throttle-time-max"] == 400


@pytest.mark.simulated
@pytest.mark.scenario("throttling")
async def test_metadata_throttle_is_observed(cluster: FakeCluster) -> None:
    loop = asyncio.get_running_loop()
    async with Relay(cluster) as relay, quick(cluster) as producer:
        await producer.send("orders", b"0", partition=0)
        cluster.create_topic("audit")
        cluster.on(ApiKey.METADATA).throttle(300)
        await producer.partitions_for("audit")
        silent_from = loop.time()
        count = len(relay.requests)
        await producer.send("orders", b"1", partition=0)
        assert relay.requests[count].at - silent_from > 0.25


@pytest.mark.scenario("throttling")
async def test_old_broker_throttles_itself() -> None:
    """Before version 6 of Produce the broker waits, not the client (KIP-219)."""
    async with (
        FakeCluster(topics={"orders": 1}, max_versions={ApiKey.PRODUCE: 5}) as cluster,
        quick(cluster) as producer,
    ):
        cluster.on(ApiKey.PRODUCE).throttle(60_000)
        async with asyncio.timeout(SOON):
            for number in range(3):
                assert (await producer.send("orders", b"1")).offset == number


@pytest.mark.scenario("acks-zero")
async def test_acks_0_awaits_no_response(cluster: FakeCluster) -> None:
    async with quick(cluster, acks=0, enable_idempotence=False) as producer:
        metadata = await producer.send("orders", b"1", partition=1)
        assert (metadata.partition, metadata.offset) == (1, -1)
        await until(lambda: cluster.records("orders"))
        # With acks=0 a broker can only refuse by closing the connection.
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        await producer.send("orders", b"lost", partition=1)
        await until(lambda: producer.metrics()["producer-metrics"]["connection-close-total"] > 1)
        await producer.send("orders", b"2", partition=1)
        await until(lambda: len(cluster.records("orders")) == 2)


@pytest.mark.scenario("mixed-releases")
@pytest.mark.parametrize("version", [3, 5, 7, 8, 9, 11, 12, 13])
async def test_all_produce_versions(version: int) -> None:
    async with (
        FakeCluster(topics={"orders": 2}, max_versions={ApiKey.PRODUCE: version}) as cluster,
        Relay(cluster) as relay,
    ):
        await _produce_all(cluster)
        assert {asked.version for asked in relay.asked(ApiKey.PRODUCE)} == {version}


@pytest.mark.scenario("mixed-releases")
async def test_redpanda_versions() -> None:
    versions = {
        ApiKey.PRODUCE: 7,
        ApiKey.METADATA: 7,
        ApiKey.INIT_PRODUCER_ID: 3,
        ApiKey.API_VERSIONS: 3,
    }
    async with FakeCluster(2, {"orders": 2}, max_versions=versions) as cluster:
        cluster.on(ApiKey.PRODUCE, skip=2).disconnect(after_storing=True)
        await _produce_all(cluster)


@pytest.mark.scenario("topic-ids")
async def test_topic_without_id() -> None:
    # Azure Event Hubs has Produce 13, but its Metadata has no topic ids.
    async with (
        FakeCluster(topics={"orders": 2}, max_versions={ApiKey.METADATA: 9}) as cluster,
        Relay(cluster) as relay,
    ):
        await _produce_all(cluster)
        assert {asked.version for asked in relay.asked(ApiKey.PRODUCE)} == {12}


@pytest.mark.scenario("split-too-large")
async def test_too_large_batch_is_split() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, quick(cluster) as producer:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.MESSAGE_TOO_LARGE)
        deliveries = [producer.send("orders", b"%d" % number * 50) for number in range(40)]
        async with asyncio.timeout(SOON):
            assert [(await delivery).offset for delivery in deliveries] == list(range(40))
        assert producer.metrics()["producer-metrics"]["batch-split-total"] == 1


async def test_fatal_error_ends_producer(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
        with pytest.raises(ProducerError, match="CLUSTER_AUTHORIZATION_FAILED") as raised:
            await producer.send("orders", b"1")
        assert raised.value.fatal
        with pytest.raises(ProducerError, match="CLUSTER_AUTHORIZATION_FAILED"):
            producer.send("orders", b"2")


async def test_old_broker_refuses_codec() -> None:
    async with (
        FakeCluster(topics={"orders": 1}, max_versions={ApiKey.PRODUCE: 6}) as cluster,
        quick(cluster, compression_type="zstd") as producer,
    ):
        for _ in range(2):
            with pytest.raises(UnsupportedVersionError, match="too old for zstd") as raised:
                await asyncio.wait_for(producer.send("orders", b"1"), SOON)
            assert not raised.value.may_be_written


async def test_no_common_version_fails_records(cluster: FakeCluster) -> None:
    def only_the_future(answer: ApiVersionsResponse) -> ApiVersionsResponse:
        others = tuple(api for api in answer.api_keys if api.api_key != ApiKey.PRODUCE)
        return replace(answer, api_keys=(*others, ApiVersion(ApiKey.PRODUCE, 90, 99)))

    cluster.on(ApiKey.API_VERSIONS, times=None).rewrite(only_the_future)
    async with quick(cluster) as producer:
        with pytest.raises(UnsupportedVersionError, match="90"):
            await asyncio.wait_for(producer.send("orders", b"1"), SOON)
