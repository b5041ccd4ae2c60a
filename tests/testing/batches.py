"""Valid and invalid record batches."""

from __future__ import annotations

import time
from struct import Struct
from typing import TYPE_CHECKING

from crc32c import crc32c

from aioproducer.records.batch import RecordBatchBuilder, encode_headers
from aioproducer.records.compression import Codec, compressor

if TYPE_CHECKING:
    from collections.abc import Callable

_CRC = Struct(">I")


def make_batch(
    *values: bytes | None,
    key: bytes | None = None,
    headers: dict[str, bytes | None] | None = None,
    codec: Codec = Codec.NONE,
    producer: tuple[int, int, int] = (-1, -1, -1),
    timestamp_ms: int | None = None,
    transactional: bool = False,
) -> bytes:
    """Return a valid batch; `producer` is (id, epoch, base sequence)."""
    now = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
    builder = RecordBatchBuilder(1 << 20, now)
    for value in values or (b"value",):
        builder.append(now, key, value, encode_headers(headers or {}))
    if codec is not Codec.NONE:
        builder.close(int(codec), compressor(codec))
    return bytes(builder.stamp(*producer, transactional=transactional))


def spoil(batch: bytes, change: Callable[[bytearray], object], *, fix_crc: bool = True) -> bytes:
    """Return the batch with its bytes changed and its CRC corrected."""
    spoiled = bytearray(batch)
    change(spoiled)
    if fix_crc:
        _CRC.pack_into(spoiled, 17, crc32c(spoiled[21:]))
    return bytes(spoiled)


def put(layout: str, offset: int, value: int) -> Callable[[bytearray], object]:
    """Return a change that writes one number."""
    return lambda data: Struct(layout).pack_into(data, offset, value)
