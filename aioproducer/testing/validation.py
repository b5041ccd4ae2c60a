"""What a leader checks of a batch before it is stored.

The one idea: nothing that a consumer could not read gets into the log. Each rule has the error
code that Kafka answers with (`ProduceRequest`, `UnifiedLog`, `LogValidator`); which of two
broken rules is told is decided by their order here.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from crc32c import crc32c

from aioproducer.error_code import ErrorCode
from aioproducer.errors import ProtocolError
from aioproducer.records.compression import Codec
from aioproducer.records.reader import RecordBatch, TimestampType
from aioproducer.testing.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioproducer.protocol.primitives import Chunk
    from aioproducer.records.reader import DecodedRecord
    from aioproducer.testing.topology import TopicConfig

FIRST_VERSION_WITH_ZSTD = 7

# base offset, length, leader epoch, magic, crc: what is looked at before the batch is trusted
_PREFIX = Struct(">qiibI")
_HEADER_SIZE = 61
_LENGTH_END = 12
_CRC_END = 21
_MAGIC = 2

NO_TIMESTAMP = -1


def check_batch(
    data: Chunk | None, *, version: int, config: TopicConfig, now_ms: int, decode: bool = True
) -> RecordBatch:
    """Return the one batch that `data` is, or refuse it as a leader does.

    `version` is the Produce request's. Without `decode` the records themselves are not looked at.
    """
    whole = _one_batch(data)
    _check_prefix(whole, config)
    try:
        batch = RecordBatch.parse(whole, check_crc=False)
    except ProtocolError as error:
        raise Refused(ErrorCode.INVALID_RECORD, str(error)) from None
    _check_header(batch, version)
    if decode:
        try:
            records = batch.records()
        except ProtocolError as error:
            raise Refused(ErrorCode.INVALID_RECORD, str(error)) from None
        _check_keys(records, config)
        if not config.has_log_append_time:
            _check_timestamps(records, config, now_ms)
    return batch


def _one_batch(data: Chunk | None) -> memoryview:
    if not data:
        raise Refused(ErrorCode.INVALID_RECORD, "a partition came without a record batch")
    whole = memoryview(data)
    if len(whole) < _HEADER_SIZE:
        reason = f"a record batch has at least {_HEADER_SIZE} bytes, not {len(whole)}"
        raise Refused(ErrorCode.CORRUPT_MESSAGE, reason)
    _, length, _, magic, _ = _PREFIX.unpack_from(whole)
    if magic != _MAGIC:
        raise Refused(ErrorCode.INVALID_RECORD, f"Produce takes batches of magic {_MAGIC}, not {magic}")
    size = length + _LENGTH_END
    if size < _HEADER_SIZE or size > len(whole):
        reason = f"a batch that says it has {size} bytes came in {len(whole)}"
        raise Refused(ErrorCode.CORRUPT_MESSAGE, reason)
    if size < len(whole):
        reason = f"one batch a partition: {len(whole) - size} bytes follow the first of {size}"
        raise Refused(ErrorCode.INVALID_RECORD, reason)
    return whole


def _check_prefix(whole: memoryview, config: TopicConfig) -> None:
    base_offset, _, _, _, crc = _PREFIX.unpack_from(whole)
    if base_offset != 0:
        raise Refused(ErrorCode.INVALID_RECORD, f"a producer's batch starts at offset 0, not {base_offset}")
    if len(whole) > config.max_message_bytes:
        reason = f"the batch has {len(whole)} bytes, max.message.bytes is {config.max_message_bytes}"
        raise Refused(ErrorCode.MESSAGE_TOO_LARGE, reason)
    if len(whole) > config.segment_bytes:
        reason = f"the batch has {len(whole)} bytes, segment.bytes is {config.segment_bytes}"
        raise Refused(ErrorCode.RECORD_LIST_TOO_LARGE, reason)
    actual = crc32c(whole[_CRC_END:])
    if actual != crc:
        reason = f"the CRC-32C of the batch is {actual:#010x}, its header says {crc:#010x}"
        raise Refused(ErrorCode.CORRUPT_MESSAGE, reason)


def _check_header(batch: RecordBatch, version: int) -> None:
    if batch.codec is Codec.ZSTD and version < FIRST_VERSION_WITH_ZSTD:
        reason = f"zstd needs Produce version {FIRST_VERSION_WITH_ZSTD}, not {version}"
        raise Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, reason)
    if batch.is_control:
        raise Refused(ErrorCode.INVALID_RECORD, "clients do not write control batches")
    if batch.timestamp_type is TimestampType.LOG_APPEND:
        raise Refused(ErrorCode.INVALID_TIMESTAMP, "the timestamp type LogAppendTime is the broker's to set")
    if batch.producer_id >= 0 and (batch.base_sequence < 0 or batch.producer_epoch < 0):
        reason = (
            f"producer id {batch.producer_id} came with epoch {batch.producer_epoch} "
            f"and sequence {batch.base_sequence}"
        )
        raise Refused(ErrorCode.INVALID_RECORD, reason)


def _check_keys(records: Sequence[DecodedRecord], config: TopicConfig) -> None:
    if config.cleanup_policy != "compact":
        return
    reason = "a compacted topic takes no record without a key"
    keyless = {index: reason for index, record in enumerate(records) if record.key is None}
    if keyless:
        raise Refused(ErrorCode.INVALID_RECORD, _rejected(len(keyless)), keyless)


def _check_timestamps(records: Sequence[DecodedRecord], config: TopicConfig, now_ms: int) -> None:
    earliest = now_ms - config.message_timestamp_before_max_ms
    latest = now_ms + config.message_timestamp_after_max_ms
    wrong: dict[int, str | None] = {
        index: f"timestamp {record.timestamp_ms} is not between {earliest} and {latest}"
        for index, record in enumerate(records)
        if record.timestamp_ms != NO_TIMESTAMP and not earliest <= record.timestamp_ms <= latest
    }
    if wrong:
        raise Refused(ErrorCode.INVALID_TIMESTAMP, _rejected(len(wrong)), wrong)


def _rejected(count: int) -> str:
    return f"One or more records have been rejected due to {count} record errors in total"
