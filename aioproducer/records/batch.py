# cython: annotation_typing=False, boundscheck=False, wraparound=False
"""The builder of a record batch (magic 2).

A batch is bytes from the first record: `append` encodes a record after the 61 bytes reserved
for the header, `close` compresses the records, and `stamp` writes the header. To send a batch
again with another sequence, stamp it again.

    0        61                                                   limit
    ├ header ┼ record 0 ┼ record 1 ┼ record 2 ┼ …                    │
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aioproducer.records.checksum import crc32c
from aioproducer.records.layout import (
    CRC,
    CRC_AT,
    CRC_END,
    HEADER,
    HEADER_SIZE,
    LENGTH_END,
    MAGIC,
    MAX_RECORD_OVERHEAD,
    TRANSACTIONAL,
)
from aioproducer.records.varint import put_varint, varint_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.record import Headers

__all__ = ["HEADER_SIZE", "MAX_RECORD_OVERHEAD", "RecordBatchBuilder", "encode_headers"]


class RecordBatchBuilder:
    """Builds one batch.

    `limit` is the maximum size in bytes with the header; only the first record may exceed it.
    `timestamp_ms` is the timestamp of the first record. `raw_size` is the uncompressed size with the header.
    `codec` is 0 until `close` has compressed the records in `buffer`.
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
        """Encode one record; return its size in bytes, or -1 if it does not fit.

        `headers` is the result of `encode_headers`, None for no headers.
        """
        buffer = self.buffer
        index = self.count
        delta = timestamp_ms - self.base_timestamp
        key_size = -1
        value_size = -1
        # One byte for the attributes, and one each for a null key and a null value.
        body = 3 + varint_size(delta) + varint_size(index)
        if key is not None:
            key_size = len(key)
            body += varint_size(key_size) - 1 + key_size
        if value is not None:
            value_size = len(value)
            body += varint_size(value_size) - 1 + value_size
        body += 1 if headers is None else len(headers)
        size = body + varint_size(body)
        # The first record always fits, so a batch of one may exceed the limit.
        if index > 0 and self.raw_size + size > self.limit:
            return -1
        put_varint(buffer, body)
        # The attributes of a record: no bit of them is in use.
        buffer.append(0)
        put_varint(buffer, delta)
        put_varint(buffer, index)
        if key is None:
            # A null key has the length -1, which is 1 as a zigzag varint.
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
        if timestamp_ms > self.max_timestamp:  # noqa: PLR1730 - max() would convert C numbers to objects
            self.max_timestamp = timestamp_ms
        return size

    def close(self, codec: int, compress: Callable[[memoryview], bytes]) -> None:
        """Compress the records: no more can be added. `codec` is its number in the attributes.

        The compressed records are used even if they are larger, as in Java.
        """
        with memoryview(self.buffer) as plain, plain[HEADER_SIZE:] as records:
            compressed = compress(records)
        self.buffer = bytearray(HEADER_SIZE) + compressed
        self.codec = codec

    def stamp(
        self, producer_id: int, producer_epoch: int, sequence: int, *, transactional: bool
    ) -> bytearray:
        """Write the header and return the batch, ready to send.

        Without idempotence the three numbers are -1.
        """
        buffer = self.buffer
        count = self.count
        attributes = self.codec
        if transactional:
            attributes |= TRANSACTIONAL
        # The broker sets the base offset and the leader epoch: 0 and -1 stand for them.
        HEADER.pack_into(
            buffer, 0,
            0, len(buffer) - LENGTH_END, -1, MAGIC, 0, attributes, count - 1,
            self.base_timestamp, self.max_timestamp,
            producer_id, producer_epoch, sequence, count,
        )  # fmt: skip
        # The CRC covers most of the header, so it comes last.
        with memoryview(buffer) as whole, whole[CRC_END:] as covered:
            CRC.pack_into(buffer, CRC_AT, crc32c(covered))
        return buffer


def encode_headers(headers: Headers) -> bytearray | None:
    """Return the headers encoded as in a record; None without headers.

    Raises TypeError unless they are (str, bytes or None) pairs or a mapping.
    """
    pairs = headers if type(headers) is list or type(headers) is tuple else _pairs(headers)
    count = len(pairs)
    if count == 0:
        return None
    section = bytearray()
    put_varint(section, count)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # noqa: PLR2004 - a pair
            message = f"a header must be a (str, bytes or None) pair, not {pair!r}"
            raise TypeError(message)
        given, value = pair
        if type(given) is str:
            name = given
        elif isinstance(given, str):
            # A subclass, such as a member of StrEnum, may have a `__str__` of its own: take the
            # characters.
            name = str.__str__(given)
        else:
            message = f"a header name must be a str, not {type(given).__name__}"
            raise TypeError(message)
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
    message = f"headers must be (str, bytes or None) pairs or a mapping, not {type(headers).__name__}"
    raise TypeError(message)


def _as_bytes(name: str, value: object) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return memoryview(value).tobytes()
    message = f"the value of header {name!r} must be bytes or None, not {type(value).__name__}"
    raise TypeError(message)
