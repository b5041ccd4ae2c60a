"""Batches and records that the broker refuses: too large, or invalid."""

import random

import pytest

from aioproducer import (
    BatchRefusedError,
    BrokerError,
    ErrorCode,
    InvalidRecordError,
    RecordTooLargeError,
)
from aioproducer.testing import ApiKey, FakeCluster, TopicConfig
from tests.faults.outcomes import all_stored, batches, buffer_is_free, failure, patient, stored, values
from tests.faults.stored import TOPIC, figure
from tests.net.quick import quick

NOISE = random.Random(22)  # noqa: S311 - nothing is secret


def _too_small_for(size: int) -> FakeCluster:
    return FakeCluster(topics={TOPIC: 1}, topic_config=TopicConfig(max_message_bytes=size))


@pytest.mark.scenario("split-too-large")
@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("codec", ["none", "lz4"])
async def test_large_batches_are_split_in_order(codec: str, *, idempotent: bool) -> None:
    """Four batches in flight are too large; every record gets its own offset."""
    sent = [b"%03d" % number + NOISE.randbytes(50) for number in range(100)]
    async with (
        _too_small_for(700) as cluster,
        patient(
            cluster,
            batch_size=1_700,
            compression_type=codec,
            enable_idempotence=idempotent,
            max_in_flight_requests_per_connection=5 if idempotent else 1,
        ) as producer,
    ):
        await stored(producer.send(TOPIC, b"first"))
        metadata = await all_stored([producer.send(TOPIC, value, key=value[:3]) for value in sent])
        assert figure(producer, "batch-split-total") >= 4
        await buffer_is_free(producer)

    assert values(cluster) == [b"first", *sent]
    assert [each.offset for each in metadata] == list(range(1, 101))
    assert all(record.key == record.value[:3] for record in cluster.records(TOPIC)[1:] if record.value)
    assert max(batch.size for batch in batches(cluster)) <= 700


async def test_batches_larger_than_segment_are_split() -> None:
    sent = [b"%03d" % number + NOISE.randbytes(50) for number in range(100)]
    async with (
        FakeCluster(topics={TOPIC: 1}, topic_config=TopicConfig(segment_bytes=700)) as cluster,
        patient(cluster, batch_size=1_700) as producer,
    ):
        metadata = await all_stored([producer.send(TOPIC, value) for value in sent])
        large = await failure(producer.send(TOPIC, NOISE.randbytes(800)))
        await buffer_is_free(producer)

    assert values(cluster) == sent
    assert [each.offset for each in metadata] == list(range(100))
    assert isinstance(large, RecordTooLargeError)
    assert "segment.bytes" in str(large)


@pytest.mark.scenario("split-ends")
@pytest.mark.parametrize("batch_size", [120, 1_000, 16_384])
async def test_splitting_ends(batch_size: int) -> None:
    """The broker accepts single records only."""
    count = 32
    sent = [b"%02d" % number * 10 for number in range(count)]
    async with _too_small_for(100) as cluster, patient(cluster, batch_size=batch_size) as producer:
        requests = cluster.on(ApiKey.PRODUCE, times=None).rewrite(lambda response: response)
        metadata = await all_stored([producer.send(TOPIC, value) for value in sent])
        splits = figure(producer, "batch-split-total")
        await buffer_is_free(producer)

    assert values(cluster) == sent
    assert [each.offset for each in metadata] == list(range(count))
    # Each split makes at least one batch more, and there are at most as many batches as records.
    assert splits < count
    assert requests.hits <= 3 * count


@pytest.mark.scenario("single-record-too-large")
@pytest.mark.parametrize("codec", ["none", "zstd"])
async def test_large_record_fails_alone(codec: str) -> None:
    async with (
        _too_small_for(400) as cluster,
        quick(cluster, compression_type=codec, batch_size=5_000) as producer,
    ):
        before = [producer.send(TOPIC, b"before %d" % number) for number in range(3)]
        large = producer.send(TOPIC, NOISE.randbytes(500))
        after = [producer.send(TOPIC, b"after %d" % number) for number in range(3)]

        error = await failure(large)
        assert isinstance(error, RecordTooLargeError)
        assert error.topic == TOPIC
        assert "max.message.bytes" in str(error)
        assert not error.may_be_written
        cause = error.__cause__
        assert isinstance(cause, BrokerError)
        assert cause.code is ErrorCode.MESSAGE_TOO_LARGE
        assert [each.offset for each in await all_stored([*before, *after])] == list(range(6))

        alone = producer.send(TOPIC, NOISE.randbytes(500))
        assert isinstance(await failure(alone), RecordTooLargeError)
        assert (await stored(producer.send(TOPIC, b"last"))).offset == 6
        await buffer_is_free(producer)
    expected = [b"%s %d" % (word, number) for word in (b"before", b"after") for number in range(3)]
    assert values(cluster) == [*expected, b"last"]


TOO_OLD = 1
"""A timestamp of 1970."""


@pytest.mark.scenario("record-errors")
async def test_record_error_names_one_record() -> None:
    """The refused record gets the broker's error; the others of its batch fail with BatchRefusedError."""
    config = TopicConfig(message_timestamp_before_max_ms=10_000)
    async with FakeCluster(topics={TOPIC: 1}, topic_config=config) as cluster, quick(cluster) as producer:
        good, bad, other = (
            producer.send(TOPIC, value, timestamp_ms=timestamp)
            for value, timestamp in ((b"good", None), (b"bad", TOO_OLD), (b"other", None))
        )
        error = await failure(bad)
        assert isinstance(error, InvalidRecordError)
        assert error.code is ErrorCode.INVALID_TIMESTAMP
        assert "timestamp 1 is not between" in str(error)
        for innocent in (good, other):
            blamed = await failure(innocent)
            assert isinstance(blamed, BatchRefusedError)
            assert "this record was not one of them" in str(blamed)
            assert not blamed.may_be_written

        assert [each.offset for each in await all_stored([producer.send(TOPIC, b"good")])] == [0]
    assert values(cluster) == [b"good"]


@pytest.mark.scenario("record-errors")
async def test_record_errors_keep_their_messages() -> None:
    async with FakeCluster(topics={TOPIC: 1}) as cluster, quick(cluster) as producer:
        cluster.on(ApiKey.PRODUCE).answer(
            ErrorCode.POLICY_VIOLATION, "the policy", record_errors={0: "no tenant", 2: None}
        )
        first, second, third = (producer.send(TOPIC, b"%d" % number) for number in range(3))
        # The refused records may have different causes; the code of the batch names only one.
        for delivery, words in ((first, "no tenant"), (third, "the policy")):
            error = await failure(delivery)
            assert isinstance(error, InvalidRecordError)
            assert (error.code, error.reason) == (ErrorCode.INVALID_RECORD, words)
        assert isinstance(await failure(second), BatchRefusedError)
    assert not values(cluster)


@pytest.mark.scenario("broker-message")
@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no more than 3 headers", "1 record for orders-0: POLICY_VIOLATION (44): no more than 3 headers"),
        (None, "1 record for orders-0: POLICY_VIOLATION (44)"),
    ],
)
async def test_error_has_broker_message(reason: str | None, words: str) -> None:
    """Without a message the error shows the name of the code."""
    async with FakeCluster(topics={TOPIC: 1}) as cluster, quick(cluster) as producer:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.POLICY_VIOLATION, reason)
        error = await failure(producer.send(TOPIC, b"1"))
        assert isinstance(error, BrokerError)
        assert (error.code, error.reason) == (ErrorCode.POLICY_VIOLATION, reason)
        assert str(error) == words
