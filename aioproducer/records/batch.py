# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""The record batch v2 as a producer builds it.

A batch is bytes from its first record on: `append` encodes a record behind the 61 bytes
that are left free for the header, `close` compresses what follows them, and `stamp` fills
the header in. So a batch that is sent again with another sequence is only stamped again.

    0        61                                                   limit
    ├ header ┼ record 0 ┼ record 1 ┼ record 2 ┼ …                    │
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Any

from aioproducer.records.checksum import crc32c
from aioproducer.records.varint import put_varint, varint_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.record import Headers

HEADER_SIZE = 61
"""Bytes before the first record."""

MAX_RECORD_OVERHEAD = 21
"""Bytes that a record takes at most beside its key, value and headers (Kafka's own bound)."""

CRC_END = 21

_TRANSACTIONAL = 16
_MAGIC = 2

# base offset, length, leader epoch, magic, crc, attributes, last offset delta,
# base timestamp, max timestamp, producer id, producer epoch, base sequence, count
_HEADER = Struct(">qiiBIhiqqqhii")
_CRC = Struct(">I")


class RecordBatchBuilder:
    """One batch in the making.

    `limit` is the size in bytes, header included, past which no further record is taken;
    the first record is always taken. `timestamp_ms` is the first record's.
    """

    __slots__ = ("base_timestamp", "buffer", "codec", "count", "limit", "max_timestamp", "raw_size")

    def __init__(self, limit: int, timestamp_ms: int) -> None:
        self.buffer = bytearray(HEADER_SIZE)
        self.count = 0
        self.codec = 0
        self.limit = limit
        self.raw_size = HEADER_SIZE
        self.base_timestamp = timestamp_ms
        self.max_timestamp = timestamp_ms

    def append(
        self, timestamp_ms: int, key: bytes | None, value: bytes | None, headers: bytearray | None
    ) -> int:
        """Encode one record; return the bytes it took, or -1 if there is no room for it.

        `headers` is what `encode_headers` made of them, None for no headers.
        """
        buffer = self.buffer
        index = self.count
        delta = timestamp_ms - self.base_timestamp
        key_size = -1
        value_size = -1
        # the attributes byte, and the two that say that key and value are null
        body = 3 + varint_size(delta) + varint_size(index)
        if key is not None:
            key_size = len(key)
            body += varint_size(key_size) - 1 + key_size
        if value is not None:
            value_size = len(value)
            body += varint_size(value_size) - 1 + value_size
        body += 1 if headers is None else len(headers)
        size = body + varint_size(body)
        if index > 0 and self.raw_size + size > self.limit:
            return -1
        put_varint(buffer, body)
        buffer.append(0)
        put_varint(buffer, delta)
        put_varint(buffer, index)
        if key is None:
            buffer.append(1)
        else:
            put_varint(buffer, key_size)
            buffer += key
        if value is None:
            buffer.append(1)
        else:
            put_varint(buffer, value_size)
            buffer += value
        if headers is None:
            buffer.append(0)
        else:
            buffer += headers
        self.count = index + 1
        self.raw_size += size
        if timestamp_ms > self.max_timestamp:  # noqa: PLR1730 - max() would make objects of C numbers
            self.max_timestamp = timestamp_ms
        return size

    def is_full(self) -> bool:
        """Return whether the batch has reached its limit."""
        return self.raw_size >= self.limit

    def close(self, codec: int, compress: Callable[[memoryview], bytes]) -> None:
        """Replace the records by their compressed form; `codec` is its number in the attributes.

        Compressed records stay even where they are larger than plain ones, as with Java.
        """
        with memoryview(self.buffer) as plain, plain[HEADER_SIZE:] as records:
            compressed = compress(records)
        self.buffer = bytearray(HEADER_SIZE) + compressed
        self.codec = codec

    def stamp(
        self, producer_id: int, producer_epoch: int, sequence: int, *, transactional: bool
    ) -> bytearray:
        """Fill in the header and return the batch as it goes on the wire.

        Without idempotence the three numbers are -1.
        """
        buffer = self.buffer
        count = self.count
        attributes = self.codec
        if transactional:
            attributes |= _TRANSACTIONAL
        _HEADER.pack_into(
            buffer, 0,
            0, len(buffer) - 12, -1, _MAGIC, 0, attributes, count - 1,
            self.base_timestamp, self.max_timestamp,
            producer_id, producer_epoch, sequence, count,
        )  # fmt: skip
        # The header is under the checksum too, so it is taken last.
        with memoryview(buffer) as whole, whole[CRC_END:] as covered:
            _CRC.pack_into(buffer, 17, crc32c(covered))
        return buffer


def encode_headers(headers: Headers) -> bytearray | None:
    """Return the headers as they stand at the end of a record, None where there are none.

    Raises TypeError for anything but (str, bytes or None) pairs or a mapping of them.
    """
    pairs = headers if type(headers) is list or type(headers) is tuple else _pairs(headers)
    count = len(pairs)
    if count == 0:
        return None
    section = bytearray()
    put_varint(section, count)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # noqa: PLR2004 - a pair
            msg = f"a header must be a (str, bytes or None) pair, not {pair!r}"
            raise TypeError(msg)
        given, value = pair
        if type(given) is str:
            name = given
        elif isinstance(given, str):
            name = str.__str__(given)
        else:
            msg = f"a header's name must be a str, not {type(given).__name__}"
            raise TypeError(msg)
        encoded = name.encode("utf-8")
        put_varint(section, len(encoded))
        section += encoded
        if value is None:
            section.append(1)
        else:
            data = value if type(value) is bytes else _as_bytes(name, value)
            put_varint(section, len(data))
            section += data
    return section


def _pairs(headers: object) -> list[Any]:
    if isinstance(headers, Mapping):
        return list(headers.items())
    if isinstance(headers, Iterable) and not isinstance(headers, (str, bytes, bytearray)):
        return list(headers)
    msg = f"headers must be (str, bytes or None) pairs or a mapping of them, not {type(headers).__name__}"
    raise TypeError(msg)


def _as_bytes(name: str, value: object) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return memoryview(value).tobytes()
    msg = f"the value of header {name!r} must be bytes or None, not {type(value).__name__}"
    raise TypeError(msg)
