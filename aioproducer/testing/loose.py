"""Reads batches as loosely as Kafka does.

Kafka stores a batch in spite of some faults: a record's place replaces a wrong offset delta,
unknown attributes are ignored, and any negative length is null. Bytes that Kafka cannot read are
refused with Kafka's error.
"""

from __future__ import annotations

from dataclasses import dataclass

from aioproducer.error_code import ErrorCode
from aioproducer.errors import ConfigurationError, ProtocolError, plural
from aioproducer.records.compression import Codec
from aioproducer.records.decompression import decompress
from aioproducer.records.layout import HEADER_SIZE, BatchHeader
from aioproducer.records.reader import MAX_PLAIN_SIZE, DecodedRecord, RecordBatch
from aioproducer.testing.refusal import Refused

_MORE = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseBatch(RecordBatch):
    """A batch with its records, which were read loosely."""

    loose_records: tuple[DecodedRecord, ...]

    def records(self, max_size: int = MAX_PLAIN_SIZE) -> list[DecodedRecord]:
        """Return the records."""
        del max_size
        return list(self.loose_records)


def parse_loosely(whole: memoryview) -> LooseBatch:
    """Read a batch with a valid CRC and a known codec; raises Refused where Kafka refuses it."""
    header = BatchHeader.unpack(whole)
    count = header.record_count
    if count < 1 or header.last_offset_delta != count - 1:
        length = plural(count, "record")
        reason = f"the batch's last offset delta is {header.last_offset_delta} with {length}"
        raise Refused(ErrorCode.INVALID_RECORD, reason)
    codec = Codec(header.codec_number)
    plain = _decompressed(codec, whole[HEADER_SIZE:])
    records = _Records(
        plain,
        header.base_timestamp,
        header.max_timestamp if header.has_log_append_time else None,
        checks_offsets=codec is not Codec.NONE,
    ).read(count)
    # Kafka computes the max timestamp itself and ignores the header's.
    newest = max(record.timestamp_ms for record in records)
    return LooseBatch.of_header(
        header._replace(max_timestamp=newest), len(whole), codec, plain, loose_records=records
    )


def _decompressed(codec: Codec, payload: memoryview) -> bytes:
    try:
        return decompress(codec, payload, MAX_PLAIN_SIZE)
    except ConfigurationError as error:
        raise Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, str(error)) from None
    except ProtocolError as error:
        raise Refused(ErrorCode.UNKNOWN_SERVER_ERROR, str(error)) from None


class _Records:
    """Reads the records of a batch; `time` replaces their timestamps."""

    def __init__(self, data: bytes, base_timestamp: int, time: int | None, *, checks_offsets: bool) -> None:
        self._data = data
        self._at = 0
        self._base_timestamp = base_timestamp
        self._time = time
        self._checks_offsets = checks_offsets

    def read(self, count: int) -> tuple[DecodedRecord, ...]:
        try:
            records = tuple([self._record(index) for index in range(count)])
        except IndexError:
            raise Refused(
                ErrorCode.INVALID_RECORD, f"the batch holds less than {plural(count, 'record')}"
            ) from None
        if self._at != len(self._data):
            raise Refused(ErrorCode.INVALID_RECORD, f"{plural(len(self._data) - self._at, 'byte')} left over")
        return records

    def _record(self, index: int) -> DecodedRecord:
        length = self._varint()
        end = self._at + length
        if length < 0 or end > len(self._data):
            raise Refused(ErrorCode.INVALID_RECORD, f"record {index} has the length {length}")
        # The attributes of a record are ignored.
        self._take(1)
        timestamp_ms = self._base_timestamp + self._varint(10)
        if self._varint() != index and self._checks_offsets:
            # Kafka would rewrite the batch, and fails.
            raise Refused(ErrorCode.UNKNOWN_SERVER_ERROR, f"record {index} has another offset delta")
        key, value = self._field(), self._field()
        count = self._varint()
        # A header takes at least one byte, so a larger count is false: refuse it before the loop.
        if not 0 <= count <= len(self._data) - self._at:
            raise Refused(ErrorCode.INVALID_RECORD, f"record {index} has {plural(count, 'header')}")
        headers = tuple([self._header(index) for _ in range(count)])
        if self._at != end:
            raise Refused(ErrorCode.INVALID_RECORD, f"record {index} does not end where it says")
        return DecodedRecord(index, timestamp_ms if self._time is None else self._time, key, value, headers)

    def _header(self, index: int) -> tuple[str, bytes | None]:
        key = self._field()
        if key is None:
            raise Refused(ErrorCode.INVALID_RECORD, f"record {index} has a header whose key is null")
        return key.decode(errors="replace"), self._field()

    def _field(self) -> bytes | None:
        length = self._varint()
        # Java's reader takes every negative length for null, not only -1.
        return None if length < 0 else self._take(length)

    def _take(self, size: int) -> bytes:
        start = self._at
        if start + size > len(self._data):
            raise IndexError
        self._at += size
        return self._data[start : self._at]

    def _varint(self, size: int = 5) -> int:
        folded = 0
        for place in range(size):
            byte = self._take(1)[0]
            folded |= (byte & ~_MORE) << 7 * place
            if byte < _MORE:
                # Zigzag: 0, 1, 2, 3 stand for 0, -1, 1, -2.
                return (folded >> 1) ^ -(folded & 1)
        raise Refused(ErrorCode.UNKNOWN_SERVER_ERROR, f"a varint has more than {size} bytes")
