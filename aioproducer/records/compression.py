"""The codecs of the record batch, and compressing with them.

Everything that can be settled once a producer is settled once: `compressor` checks the level,
loads the library (whoever does not compress needs none) and gives a function that only
compresses. It may be called from several threads at a time, since large batches are compressed
beside the event loop; `nanoseconds_per_byte` tells which are large.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, assert_never

from aioproducer.errors import ConfigurationError
from aioproducer.records import snappy

if TYPE_CHECKING:
    from collections.abc import Container

Compress: TypeAlias = Callable[[bytes | bytearray | memoryview], bytes]


class Codec(IntEnum):
    """How the records of a batch are compressed, numbered as in the attributes of the batch."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4

    @classmethod
    def of_name(cls, name: str) -> Codec:
        """Return the codec that the option `compression_type` calls `name`.

        Raises ConfigurationError, which names the codecs that there are.

        >>> Codec.of_name("lz4")
        <Codec.LZ4: 3>
        """
        for codec in cls:
            if codec.name.lower() == name:
                return codec
        names = ", ".join(codec.name.lower() for codec in cls)
        message = f"compression_type must be one of {names}, not {name!r}"
        raise ConfigurationError(message, option="compression_type", value=name)


NANOSECONDS_PER_BYTE: dict[Codec, float] = {
    Codec.NONE: 0,
    Codec.GZIP: 10,
    Codec.SNAPPY: 1,
    Codec.LZ4: 1,
    Codec.ZSTD: 2,
}
"""What compressing a byte of text takes at the default level, to the order of magnitude."""


class _Levels(NamedTuple):
    default: int
    allowed: Container[int]
    words: str
    # From which level on compressing takes how many times as long as at the default.
    slower: tuple[tuple[int, float], ...]


_LEVELS = {
    Codec.GZIP: _Levels(-1, {-1, *range(1, 10)}, "-1 or 1 to 9", ((8, 4),)),
    Codec.LZ4: _Levels(9, range(1, 18), "1 to 17", ((1, 10), (9, 1), (10, 40))),
    Codec.ZSTD: _Levels(3, range(-131072, 23), "-131072 to 22", ((5, 3), (8, 6), (11, 30), (16, 150))),
}

# Kafka's lz4 level 9 is lz4-java's fast compressor, which liblz4 calls 0. Any other level is
# the high-compression one, which liblz4 has from 3 to 12 (1 and 2 would be the fast one).
_LZ4_JAVA_FAST = 9
_LZ4_FAST = 0
_LZ4_HIGH_MIN = 3
_LZ4_HIGH_MAX = 12

_GZIP_FORMAT = zlib.MAX_WBITS + 16


def nanoseconds_per_byte(codec: Codec, level: int | None = None) -> float:
    """Return about how long compressing a byte of text with `codec` takes at `level`."""
    factor = 1.0
    if level is not None and codec in _LEVELS:
        for first, slower in _LEVELS[codec].slower:
            if level >= first:
                factor = slower
    return NANOSECONDS_PER_BYTE[codec] * factor


def compressor(codec: Codec, level: int | None = None) -> Compress:
    """Make the function that compresses the records of a batch.

    `level` is as in Kafka's options: gzip -1 (zlib's own choice) or 1 to 9, lz4 1 to 17 (9 is
    the fast compressor, not the ninth), zstd -131072 to 22. None is Kafka's default: -1, 9, 3.

    Raises ConfigurationError if the codec has no such level, or its library is not installed.
    """
    match codec:
        case Codec.NONE:
            return bytes
        case Codec.GZIP:
            return partial(zlib.compress, level=_checked(codec, level), wbits=_GZIP_FORMAT)
        case Codec.SNAPPY:
            return snappy.compressor()
        case Codec.LZ4:
            return _lz4_compressor(_checked(codec, level))
        case Codec.ZSTD:
            return _zstd_compressor(_checked(codec, level))
        case _:
            assert_never(codec)


def _checked(codec: Codec, level: int | None) -> int:
    levels = _LEVELS[codec]
    if level is None:
        return levels.default
    if level not in levels.allowed:
        option = f"compression_{codec.name.lower()}_level"
        message = f"{option} must be {levels.words}, not {level!r}"
        raise ConfigurationError(message, option=option, value=level)
    return level


def _lz4_compressor(level: int) -> Compress:
    import lz4.frame  # noqa: PLC0415 - only for those who use it

    level = _LZ4_FAST if level == _LZ4_JAVA_FAST else min(max(level, _LZ4_HIGH_MIN), _LZ4_HIGH_MAX)
    # Kafka's reader refuses linked blocks, and makes nothing of the content's size.
    return partial(lz4.frame.compress, compression_level=level, block_linked=False, store_size=False)


def _zstd_compressor(level: int) -> Compress:
    import zstandard  # noqa: PLC0415 - only for those who use it

    # A compressor holds tables that are dear to make, and serves one call at a time. Taking
    # one from a list and putting it back are atomic, so the list grows to as many compressors
    # as there were ever calls at the same time.
    idle = [zstandard.ZstdCompressor(level=level)]

    def compress(data: bytes | bytearray | memoryview) -> bytes:
        try:
            context = idle.pop()
        except IndexError:
            context = zstandard.ZstdCompressor(level=level)
        compressed = context.compress(data)
        idle.append(context)
        return compressed

    return compress
