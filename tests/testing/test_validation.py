from collections.abc import Callable

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.records.compression import Codec
from aioproducer.testing import TopicConfig
from aioproducer.testing.refusal import Refused
from aioproducer.testing.validation import check_batch
from tests.testing.batches import make_batch, put, spoil

NOW_MS = 1_700_000_000_000


def refusal(data: bytes | None, config: TopicConfig | None = None, version: int = 9) -> Refused:
    with pytest.raises(Refused) as refused:
        check_batch(data, version=version, config=config or TopicConfig(), now_ms=NOW_MS)
    return refused.value


@pytest.mark.parametrize("codec", list(Codec))
def test_a_sound_batch_passes_in_every_codec(codec: Codec) -> None:
    data = make_batch(
        b"a", None, b"c" * 5000, key=b"k", headers={"h": None}, codec=codec, timestamp_ms=NOW_MS
    )
    batch = check_batch(data, version=9, config=TopicConfig(), now_ms=NOW_MS)
    assert (batch.record_count, batch.codec) == (3, codec)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(put(">q", 0, 5), ErrorCode.INVALID_RECORD, id="base offset"),
        pytest.param(put(">i", 8, 10_000), ErrorCode.CORRUPT_MESSAGE, id="longer than what came"),
        pytest.param(put(">i", 8, 5), ErrorCode.CORRUPT_MESSAGE, id="shorter than a header"),
        pytest.param(put(">b", 16, 1), ErrorCode.INVALID_RECORD, id="magic"),
        pytest.param(put(">h", 21, 7), ErrorCode.INVALID_RECORD, id="unknown codec"),
        pytest.param(put(">h", 21, 1), ErrorCode.INVALID_RECORD, id="not compressed by its codec"),
        pytest.param(put(">h", 21, 0x20), ErrorCode.INVALID_RECORD, id="control batch"),
        pytest.param(put(">h", 21, 0x08), ErrorCode.INVALID_TIMESTAMP, id="log append time"),
        pytest.param(put(">i", 23, 5), ErrorCode.INVALID_RECORD, id="last offset delta"),
        pytest.param(put(">i", 57, 0), ErrorCode.INVALID_RECORD, id="no records"),
        pytest.param(put(">i", 57, -1), ErrorCode.INVALID_RECORD, id="negative count"),
        pytest.param(put(">q", 43, 7), ErrorCode.INVALID_RECORD, id="producer id without a sequence"),
        pytest.param(put(">b", 61, 2), ErrorCode.INVALID_RECORD, id="length of a record"),
    ],
)
def test_what_is_wrong_with_a_batch_has_its_error(
    change: Callable[[bytearray], object], code: ErrorCode
) -> None:
    assert refusal(spoil(make_batch(b"a", timestamp_ms=NOW_MS), change)).code is code


def test_a_wrong_checksum_is_a_corrupt_message() -> None:
    data = spoil(make_batch(b"abc"), put(">b", 70, 1), fix_crc=False)
    assert refusal(data).code is ErrorCode.CORRUPT_MESSAGE


def test_counts_that_do_not_fit_the_records_are_refused() -> None:
    data = spoil(make_batch(b"a", b"b"), lambda d: (put(">i", 23, 2)(d), put(">i", 57, 3)(d)))
    assert refusal(data).code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("data", [None, b""])
def test_a_partition_without_a_batch_is_refused(data: bytes | None) -> None:
    assert refusal(data).code is ErrorCode.INVALID_RECORD


def test_a_second_batch_is_refused() -> None:
    assert refusal(make_batch(b"a") + make_batch(b"b")).code is ErrorCode.INVALID_RECORD


def test_a_piece_of_a_batch_is_corrupt() -> None:
    assert refusal(make_batch(b"a")[:40]).code is ErrorCode.CORRUPT_MESSAGE


def test_zstd_needs_produce_7() -> None:
    data = make_batch(b"a", codec=Codec.ZSTD)
    assert refusal(data, version=6).code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


def test_size_is_measured_compressed_against_two_limits() -> None:
    data = make_batch(b"a" * 10_000, timestamp_ms=NOW_MS)
    assert refusal(data, TopicConfig(max_message_bytes=9_000)).code is ErrorCode.MESSAGE_TOO_LARGE
    assert refusal(data, TopicConfig(segment_bytes=9_000)).code is ErrorCode.RECORD_LIST_TOO_LARGE
    small = make_batch(b"a" * 10_000, codec=Codec.LZ4, timestamp_ms=NOW_MS)
    check_batch(small, version=9, config=TopicConfig(max_message_bytes=9_000), now_ms=NOW_MS)


def test_a_compacted_topic_takes_no_record_without_a_key() -> None:
    refused = refusal(make_batch(b"a", b"b"), TopicConfig(cleanup_policy="compact"))
    assert refused.code is ErrorCode.INVALID_RECORD
    assert set(refused.record_errors) == {0, 1}


def test_timestamps_too_far_off_are_refused_record_by_record() -> None:
    config = TopicConfig(message_timestamp_before_max_ms=1000)
    for wrong in (NOW_MS - 1001, NOW_MS + 3_600_001):
        refused = refusal(make_batch(b"a", timestamp_ms=wrong), config)
        assert refused.code is ErrorCode.INVALID_TIMESTAMP
        assert set(refused.record_errors) == {0}
    broker_time = TopicConfig(message_timestamp_type="LogAppendTime")
    check_batch(make_batch(b"a", timestamp_ms=1), version=9, config=broker_time, now_ms=NOW_MS)


def test_without_decoding_only_the_header_is_checked() -> None:
    inside = spoil(make_batch(b"a", timestamp_ms=NOW_MS), put(">b", 61, 2))
    check_batch(inside, version=9, config=TopicConfig(), now_ms=NOW_MS, decode=False)
