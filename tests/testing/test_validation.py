from collections.abc import Callable
from typing import Literal, NoReturn

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.errors import ConfigurationError
from aioproducer.records.batch import RecordBatchBuilder
from aioproducer.records.compression import Codec
from aioproducer.records.reader import RecordBatch
from aioproducer.testing import TopicConfig
from aioproducer.testing.refusal import Refused
from aioproducer.testing.validation import check_batch
from tests.testing.batches import make_batch, put, spoil

NOW_MS = 1_700_000_000_000


def refusal(data: bytes, config: TopicConfig | None = None, *, strict: bool = True) -> Refused:
    with pytest.raises(Refused) as refused:
        check_batch(memoryview(data), config=config or TopicConfig(), now_ms=NOW_MS, strict=strict)
    return refused.value


def check(data: bytes, config: TopicConfig | None = None, *, strict: bool = True) -> RecordBatch:
    return check_batch(memoryview(data), config=config or TopicConfig(), now_ms=NOW_MS, strict=strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("codec", list(Codec))
def test_valid_batch_passes_with_every_codec(codec: Codec, *, strict: bool) -> None:
    data = make_batch(
        b"a", None, b"c" * 5000, key=b"k", headers={"h": None}, codec=codec, timestamp_ms=NOW_MS
    )
    batch = check(data, strict=strict)
    assert (batch.record_count, batch.codec, batch.max_timestamp) == (3, codec, NOW_MS)
    assert [(r.key, r.value, r.headers) for r in batch.records()] == [
        (b"k", value, (("h", None),)) for value in (b"a", None, b"c" * 5000)
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(put(">q", 0, 5), ErrorCode.INVALID_RECORD, id="base offset"),
        pytest.param(put(">h", 21, 7), ErrorCode.UNKNOWN_SERVER_ERROR, id="unknown codec"),
        pytest.param(put(">h", 21, 1), ErrorCode.UNKNOWN_SERVER_ERROR, id="no gzip"),
        pytest.param(put(">h", 21, 2), ErrorCode.UNKNOWN_SERVER_ERROR, id="no snappy"),
        pytest.param(put(">h", 21, 3), ErrorCode.UNKNOWN_SERVER_ERROR, id="no lz4"),
        pytest.param(put(">h", 21, 4), ErrorCode.UNKNOWN_SERVER_ERROR, id="no zstd"),
        pytest.param(put(">h", 21, 0x20), ErrorCode.INVALID_RECORD, id="control batch"),
        pytest.param(put(">i", 23, 5), ErrorCode.INVALID_RECORD, id="last offset delta"),
        pytest.param(put(">i", 57, 0), ErrorCode.INVALID_RECORD, id="no records"),
        pytest.param(put(">i", 57, -1), ErrorCode.INVALID_RECORD, id="negative count"),
        pytest.param(put(">q", 43, 7), ErrorCode.INVALID_RECORD, id="producer id without a sequence"),
        pytest.param(put(">b", 61, 2), ErrorCode.INVALID_RECORD, id="length of a record"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_invalid_batch_has_its_error(
    change: Callable[[bytearray], object], code: ErrorCode, *, strict: bool
) -> None:
    assert refusal(spoil(make_batch(b"a", timestamp_ms=NOW_MS), change), strict=strict).code is code


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(put(">h", 21, 0x40), id="attributes of the batch"),
        pytest.param(put(">q", 35, NOW_MS + 5), id="max timestamp"),
        pytest.param(put(">b", 62, 3), id="attributes of a record"),
        pytest.param(put(">b", 64, 10), id="offset delta"),
        pytest.param(put(">b", 70, -1), id="header key that is no text"),
    ],
)
def test_strict_check_refuses_overlooked_faults(change: Callable[[bytearray], object]) -> None:
    data = spoil(make_batch(b"a", headers={"h": b"x"}, timestamp_ms=NOW_MS), change)
    assert refusal(data).code is ErrorCode.INVALID_RECORD
    [record] = check(data, strict=False).records()
    assert (record.offset_delta, record.timestamp_ms, record.value) == (0, NOW_MS, b"a")


def test_producer_id_needs_epoch() -> None:
    data = make_batch(b"a", producer=(7, -1, 0))
    assert refusal(data).code is ErrorCode.INVALID_RECORD
    assert check(data, TopicConfig(message_timestamp_after_max_ms=2**62), strict=False).producer_id == 7


def test_producer_cannot_set_append_time() -> None:
    data = spoil(make_batch(b"a", b"b", timestamp_ms=NOW_MS), put(">h", 21, 0x08))
    broker_time = TopicConfig(message_timestamp_type="LogAppendTime")
    for refused in (refusal(data), refusal(data, broker_time, strict=False)):
        assert refused.code is ErrorCode.INVALID_TIMESTAMP
        assert set(refused.record_errors) == {0, 1}
    assert check(data, strict=False).record_count == 2


def test_wrong_checksum_is_corrupt() -> None:
    data = spoil(make_batch(b"abc"), put(">b", 70, 1), fix_crc=False)
    assert refusal(data).code is ErrorCode.CORRUPT_MESSAGE


def test_wrong_record_count_is_refused() -> None:
    data = spoil(make_batch(b"a", b"b"), lambda d: (put(">i", 23, 2)(d), put(">i", 57, 3)(d)))
    assert refusal(data).code is ErrorCode.INVALID_RECORD


def test_truncated_header_is_corrupt() -> None:
    assert refusal(make_batch(b"a")[:40]).code is ErrorCode.CORRUPT_MESSAGE


def test_compressed_size_has_two_limits() -> None:
    data = make_batch(b"a" * 10_000, timestamp_ms=NOW_MS)
    assert refusal(data, TopicConfig(max_message_bytes=9_000)).code is ErrorCode.MESSAGE_TOO_LARGE
    assert refusal(data, TopicConfig(segment_bytes=9_000)).code is ErrorCode.RECORD_LIST_TOO_LARGE
    small = make_batch(b"a" * 10_000, codec=Codec.LZ4, timestamp_ms=NOW_MS)
    check(small, TopicConfig(max_message_bytes=9_000))


def test_record_checks_precede_segment_limit() -> None:
    data = make_batch(b"a" * 10_000, timestamp_ms=NOW_MS + 10**9)
    assert refusal(data, TopicConfig(segment_bytes=9_000)).code is ErrorCode.INVALID_TIMESTAMP


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_compacted_topic_needs_keys(
    policy: Literal["compact", "compact,delete"],
) -> None:
    data = make_batch(b"a", b"b", timestamp_ms=NOW_MS)
    refused = refusal(data, TopicConfig(cleanup_policy=policy))
    assert refused.code is ErrorCode.INVALID_RECORD
    assert set(refused.record_errors) == {0, 1}


def test_bad_timestamps_are_refused_per_record() -> None:
    config = TopicConfig(message_timestamp_before_max_ms=1000)
    for wrong in (NOW_MS - 1001, NOW_MS + 3_600_001):
        refused = refusal(make_batch(b"a", timestamp_ms=wrong), config)
        assert refused.code is ErrorCode.INVALID_TIMESTAMP
        assert set(refused.record_errors) == {0}
    broker_time = TopicConfig(message_timestamp_type="LogAppendTime")
    check(make_batch(b"a", timestamp_ms=1), broker_time)


def test_every_bad_record_is_named_once() -> None:
    builder = RecordBatchBuilder(1000, NOW_MS)
    for key, timestamp_ms in ((b"k", NOW_MS), (None, NOW_MS - 5000), (b"k", NOW_MS - 5000), (None, NOW_MS)):
        builder.append(timestamp_ms, key, b"v", None)
    data = bytes(builder.stamp(-1, -1, -1, transactional=False))
    config = TopicConfig(cleanup_policy="compact", message_timestamp_before_max_ms=1000)
    refused = refusal(data, config)
    assert refused.code is ErrorCode.INVALID_TIMESTAMP
    assert {index: "key" in (why or "") for index, why in refused.record_errors.items()} == {
        1: True,
        2: False,
        3: True,
    }


def test_missing_key_precedes_timestamp() -> None:
    config = TopicConfig(cleanup_policy="compact", message_timestamp_before_max_ms=1000)
    refused = refusal(make_batch(b"a", timestamp_ms=NOW_MS - 5000), config)
    assert refused.code is ErrorCode.INVALID_RECORD
    assert "key" in (refused.record_errors[0] or "")


def test_codec_without_library_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_batch(b"a" * 100, codec=Codec.SNAPPY, timestamp_ms=NOW_MS)

    def missing(*_: object) -> NoReturn:
        message = "snappy needs cramjam"
        raise ConfigurationError(message)

    monkeypatch.setattr("aioproducer.records.reader.decompress", missing)
    monkeypatch.setattr("aioproducer.testing.loose.decompress", missing)
    for strict in (True, False):
        assert refusal(data, strict=strict).code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


def test_header_is_checked_without_decoding() -> None:
    inside = spoil(make_batch(b"a", timestamp_ms=NOW_MS), put(">b", 61, 2))
    check_batch(memoryview(inside), config=TopicConfig(), now_ms=NOW_MS, decode=False)
