"""The codecs of record batches, and compression.

`compressor` does the work of the set-up once for each producer: it checks the level, imports the
library (so only producers that compress need it) and returns a function that only compresses.
Several threads may call that function at once: large batches are compressed in worker threads.
`nanoseconds_per_byte` tells which batches are large.
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
    """The compression of a batch; the numbers are those in the attributes of the batch."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4

    @classmethod
    def of_name(cls, name: str) -> Codec:
        """Return the codec for a value of the option `compression_type`.

        Raises ConfigurationError, which lists the codecs.

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
"""The approximate time to compress a byte of text at the default level."""


class _Levels(NamedTuple):
    default: int
    allowed: Container[int]
    expected: str
    # From which level compression takes how many times as long as at the default level.
    slower: tuple[tuple[int, float], ...]


_LEVELS = {
    Codec.GZIP: _Levels(-1, {-1, *range(1, 10)}, "-1 or 1 to 9", ((8, 4),)),
    Codec.LZ4: _Levels(9, range(1, 18), "1 to 17", ((1, 10), (9, 1), (10, 40))),
    Codec.ZSTD: _Levels(3, range(-131072, 23), "-131072 to 22", ((5, 3), (8, 6), (11, 30), (16, 150))),
}

# Kafka's lz4 level 9 is the fast compressor of lz4-java: level 0 of liblz4. Every other level is
# the high-compression one: levels 3 to 12 of liblz4, whose levels 1 and 2 are fast again.
_LZ4_JAVA_FAST = 9
_LZ4_FAST = 0
_LZ4_HIGH_MIN = 3
_LZ4_HIGH_MAX = 12

_GZIP_FORMAT = zlib.MAX_WBITS + 16


def nanoseconds_per_byte(codec: Codec, level: int | None = None) -> float:
    """Return the approximate time to compress a byte of text with `codec` at `level`."""
    factor = 1.0
    if level is not None and codec in _LEVELS:
        for first, slower in _LEVELS[codec].slower:
            if level >= first:
                factor = slower
    return NANOSECONDS_PER_BYTE[codec] * factor


def compressor(codec: Codec, level: int | None = None) -> Compress:
    """Return a function that compresses the records of a batch.

    `level` is Kafka's: gzip -1 (the default of zlib) or 1 to 9, lz4 1 to 17 (9 is the fast
    compressor), zstd -131072 to 22. None is Kafka's default: -1, 9, 3.

    Raises ConfigurationError for an invalid level or a missing library.
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
        message = f"{option} must be {levels.expected}, not {level!r}"
        raise ConfigurationError(message, option=option, value=level)
    return level


def _lz4_compressor(level: int) -> Compress:
    import lz4.frame  # noqa: PLC0415 - only if used

    level = _LZ4_FAST if level == _LZ4_JAVA_FAST else min(max(level, _LZ4_HIGH_MIN), _LZ4_HIGH_MAX)
    # Kafka's reader refuses linked blocks and ignores the content size.
    return partial(lz4.frame.compress, compression_level=level, block_linked=False, store_size=False)


def _zstd_compressor(level: int) -> Compress:
    import zstandard  # noqa: PLC0415 - only if used

    # A compressor is expensive to create and serves one call at a time. `pop` and `append` of a
    # list are atomic, so the list grows to the largest number of simultaneous calls.
    idle = [zstandard.ZstdCompressor(level=level)]

    def compress(data: bytes | bytearray | memoryview) -> bytes:
        try:
            # Two worker threads may compress at the same time: each takes a compressor of its own.
            context = idle.pop()
        except IndexError:
            context = zstandard.ZstdCompressor(level=level)
        compressed = context.compress(data)
        idle.append(context)
        return compressed

    return compress
