"""The checks of a leader before it stores a batch.

No batch gets into the log that a consumer could not read. Each rule has Kafka's error code
(`UnifiedLog`, `LogValidator`). If a batch breaks two rules, the order here decides which error is
returned. With `strict`, faults that Kafka corrects or ignores are refused too: gaps in the offset
deltas, unknown attributes, a wrong max timestamp, a producer id without an epoch, header keys
without UTF-8, and the timestamp type LogAppendTime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from aioproducer.error_code import ErrorCode
from aioproducer.errors import ConfigurationError, ProtocolError
from aioproducer.records.checksum import crc32c
from aioproducer.records.compression import Codec
from aioproducer.records.decompression import decompress
from aioproducer.records.layout import CRC_END, HEADER_SIZE, BatchHeader
from aioproducer.records.reader import MAX_PLAIN_SIZE, RecordBatch, TimestampType
from aioproducer.testing.loose import parse_loosely
from aioproducer.testing.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioproducer.records.reader import DecodedRecord
    from aioproducer.testing.topology import TopicConfig

_HIGHEST_CODEC = max(Codec)

NO_TIMESTAMP = -1

_BAD_TIMESTAMP = "One or more records have been rejected due to invalid timestamp"
_KEYLESS = "a compacted topic needs records with keys"


def check_batch(
    whole: memoryview,
    *,
    config: TopicConfig,
    now_ms: int,
    decode: bool = True,
    strict: bool = True,
    takes_log_append_flag: bool = True,
) -> RecordBatch:
    """Return the batch in `whole`; raises Refused as a leader does.

    Without `decode` the records are not checked. Times are in milliseconds since 1970.
    """
    # The order is Kafka's: header and CRC, then attributes, then single records.
    _check_prefix(whole, config)
    batch = _parse_strictly(whole) if strict else parse_loosely(whole)
    _check_header(batch, strict=strict)
    if strict or config.has_log_append_time or not takes_log_append_flag:
        _check_timestamp_type(batch)
    if decode:
        _check_records(_records_of(batch), config, now_ms)
    # Kafka compares with the segment size only when it appends, after all other checks.
    if batch.size > config.segment_bytes:
        reason = f"the batch has {batch.size} bytes, segment.bytes is {config.segment_bytes}"
        raise Refused(ErrorCode.RECORD_LIST_TOO_LARGE, reason)
    return batch


def _parse_strictly(whole: memoryview) -> RecordBatch:
    try:
        return RecordBatch.parse(whole, check_crc=False)
    except ProtocolError as error:
        raise Refused(ErrorCode.INVALID_RECORD, str(error)) from None


def _check_prefix(whole: memoryview, config: TopicConfig) -> None:
    if len(whole) < HEADER_SIZE:
        reason = f"a record batch has at least {HEADER_SIZE} bytes, not {len(whole)}"
        raise Refused(ErrorCode.CORRUPT_MESSAGE, reason)
    header = BatchHeader.unpack(whole)
    if header.base_offset != 0:
        reason = f"a producer's batch starts at offset 0, not {header.base_offset}"
        raise Refused(ErrorCode.INVALID_RECORD, reason)
    if len(whole) > config.max_message_bytes:
        reason = f"the batch has {len(whole)} bytes, max.message.bytes is {config.max_message_bytes}"
        raise Refused(ErrorCode.MESSAGE_TOO_LARGE, reason)
    actual = crc32c(whole[CRC_END:])
    if actual != header.crc:
        reason = f"the CRC-32C of the batch is {actual:#010x}, its header says {header.crc:#010x}"
        raise Refused(ErrorCode.CORRUPT_MESSAGE, reason)
    codec = header.codec_number
    if codec > _HIGHEST_CODEC:
        # Kafka has no special error for an unknown codec.
        raise Refused(ErrorCode.UNKNOWN_SERVER_ERROR, f"there is no codec {codec}")


def _check_header(batch: RecordBatch, *, strict: bool) -> None:
    if batch.is_control:
        raise Refused(ErrorCode.INVALID_RECORD, "clients do not write control batches")
    # Without idempotence id, epoch and sequence are all -1.
    if batch.producer_id >= 0 and (batch.base_sequence < 0 or (strict and batch.producer_epoch < 0)):
        reason = (
            f"producer id {batch.producer_id} came with epoch {batch.producer_epoch} "
            f"and sequence {batch.base_sequence}"
        )
        raise Refused(ErrorCode.INVALID_RECORD, reason)


def _check_timestamp_type(batch: RecordBatch) -> None:
    if batch.timestamp_type is TimestampType.LOG_APPEND:
        errors = dict.fromkeys(range(batch.record_count), "LogAppendTime is the broker's to set")
        raise Refused(ErrorCode.INVALID_TIMESTAMP, _BAD_TIMESTAMP, errors)


def _records_of(batch: RecordBatch) -> list[DecodedRecord]:
    try:
        return batch.records()
    except ConfigurationError as error:
        raise Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, str(error)) from None
    except ProtocolError as error:
        _refuse_unreadable(batch, error)


def _refuse_unreadable(batch: RecordBatch, error: ProtocolError) -> NoReturn:
    try:
        decompress(batch.codec, batch.payload, MAX_PLAIN_SIZE)
    except ProtocolError:
        # Kafka has no error code for broken compression: it answers UNKNOWN_SERVER_ERROR.
        raise Refused(ErrorCode.UNKNOWN_SERVER_ERROR, str(error)) from None
    raise Refused(ErrorCode.INVALID_RECORD, str(error)) from None


def _check_records(records: Sequence[DecodedRecord], config: TopicConfig, now_ms: int) -> None:
    keyless = _keyless(records, config)
    bad_timestamps = _bad_timestamps(records, config, now_ms)
    if bad_timestamps.keys() - keyless.keys():
        # A record has one error, and Kafka checks the key before the timestamp.
        raise Refused(
            ErrorCode.INVALID_TIMESTAMP, _BAD_TIMESTAMP, dict(sorted((bad_timestamps | keyless).items()))
        )
    if keyless:
        reason = f"One or more records have been rejected due to {len(keyless)} record errors in total"
        raise Refused(ErrorCode.INVALID_RECORD, reason, keyless)


def _keyless(records: Sequence[DecodedRecord], config: TopicConfig) -> dict[int, str | None]:
    if not config.is_compacted:
        return {}
    return {index: _KEYLESS for index, record in enumerate(records) if record.key is None}


def _bad_timestamps(
    records: Sequence[DecodedRecord], config: TopicConfig, now_ms: int
) -> dict[int, str | None]:
    if config.has_log_append_time:
        return {}
    # By default a timestamp may be any time in the past, or up to an hour in the future (KIP-937).
    earliest = now_ms - config.message_timestamp_before_max_ms
    latest = now_ms + config.message_timestamp_after_max_ms
    return {
        index: f"timestamp {record.timestamp_ms} is not between {earliest} and {latest}"
        for index, record in enumerate(records)
        if record.timestamp_ms != NO_TIMESTAMP and not earliest <= record.timestamp_ms <= latest
    }
