"""Decompression of record batches from an untrusted source.

A few compressed bytes can expand to gigabytes, so every codec gets a limit before it runs. Errors
of the libraries become a `ProtocolError`. So do two faults that some libraries ignore: a truncated
stream, and extra bytes after the stream.
"""

from __future__ import annotations

import zlib
from typing import assert_never

from aioproducer.errors import ProtocolError, plural
from aioproducer.records import snappy
from aioproducer.records.compression import Codec

_GZIP_FORMAT = zlib.MAX_WBITS + 16


def decompress(codec: Codec, data: bytes | memoryview, max_size: int) -> bytes:
    """Decompress `data`, which is one complete stream of `codec`.

    Raises ProtocolError for malformed data or more than `max_size` decompressed bytes, and
    ConfigurationError if the library of the codec is not installed.
    """
    match codec:
        case Codec.NONE:
            return _whole("data", bytes(data), max_size)
        case Codec.GZIP:
            return _decompress_gzip(data, max_size)
        case Codec.SNAPPY:
            return snappy.decompress(data, max_size)
        case Codec.LZ4:
            return _decompress_lz4(data, max_size)
        case Codec.ZSTD:
            return _decompress_zstd(data, max_size)
        case _:
            assert_never(codec)


def _decompress_gzip(data: bytes | memoryview, max_size: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_FORMAT)
    try:
        # With one byte more than allowed, too much data differs from just enough.
        plain = stream.decompress(data, max_size + 1)
    except zlib.error as error:
        message = f"gzip data is corrupt: {error}"
        raise ProtocolError(message) from error
    return _whole("gzip data", plain, max_size, ended=stream.eof, unused=len(stream.unused_data))


def _decompress_lz4(data: bytes | memoryview, max_size: int) -> bytes:
    import lz4.frame  # noqa: PLC0415 - only if used

    try:
        if lz4.frame.get_frame_info(data)["block_linked"]:
            message = "lz4 data has linked blocks; Kafka does not support them"
            raise ProtocolError(message)
        context = lz4.frame.create_decompression_context()
        # As in gzip: one byte more than allowed shows that there is too much.
        plain, used, ended = lz4.frame.decompress_chunk(context, data, max_length=max_size + 1)
    except (RuntimeError, ValueError) as error:
        message = f"lz4 data is corrupt: {error}"
        raise ProtocolError(message) from error
    return _whole("lz4 data", plain, max_size, ended=ended, unused=len(data) - used)


def _decompress_zstd(data: bytes | memoryview, max_size: int) -> bytes:
    import zstandard  # noqa: PLC0415 - only if used

    try:
        # If the frame has a content size, zstandard ignores `max_output_size` and allocates that
        # size; so check it. If it has none, zstandard ignores bytes after the frame.
        size = zstandard.get_frame_parameters(data).content_size
        if size > max_size and size != zstandard.CONTENTSIZE_UNKNOWN:
            message = f"zstd data expands to {plural(size, 'byte')}; the limit is {max_size}"
            raise ProtocolError(message)
        plain = zstandard.ZstdDecompressor().decompress(
            data, max_output_size=max_size + 1, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        message = f"zstd data is corrupt, or expands to more than {max_size} bytes: {error}"
        raise ProtocolError(message) from error
    return _whole("zstd data", plain, max_size)


def _whole(what: str, plain: bytes, max_size: int, *, ended: bool = True, unused: int = 0) -> bytes:
    if len(plain) > max_size:
        message = f"{what} expands to more than {max_size} bytes"
    elif not ended:
        message = f"{what} is truncated after {plural(len(plain), 'decompressed byte')}"
    elif unused:
        message = f"{what} has {plural(unused, 'extra byte')} after its end"
    else:
        return plain
    raise ProtocolError(message)
