"""Snappy with the framing of snappy-java (by xerial), as Kafka's Java clients write it.

    82 S N A P P Y 00 │ version 1 │ compatible with 1 │ size │ block │ size │ block │ …

The numbers are big-endian int32; a block holds up to 32 KiB of data. Some clients write a single
block without framing; `decompress` accepts that too.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from aioproducer.errors import ConfigurationError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_MAGIC = b"\x82SNAPPY\x00"
_VERSION = 1
_BLOCK_SIZE = 32 * 1024

_HEADER = Struct(">8sii")
_SIZE = Struct(">i")


def compressor() -> Callable[[bytes | bytearray | memoryview], bytes]:
    """Return a function that compresses; raise ConfigurationError if the library is not installed."""
    compress_block = _library().snappy.compress_raw
    pack_size = _SIZE.pack
    header = _HEADER.pack(_MAGIC, _VERSION, _VERSION)

    def compress(data: bytes | bytearray | memoryview) -> bytes:
        pieces = [header]
        view = memoryview(data)
        for start in range(0, len(view), _BLOCK_SIZE):
            block = compress_block(view[start : start + _BLOCK_SIZE])
            # Each block of 32 KiB is compressed by itself, with its compressed size before it.
            pieces += (pack_size(len(block)), block)
        return b"".join(pieces)

    return compress


def decompress(data: bytes | memoryview, max_size: int) -> bytes:
    """Decompress `data`, framed or not.

    Raises ProtocolError for corrupt data or more than `max_size` decompressed bytes.
    """
    library = _library()
    pieces = []
    size = 0
    for block in _blocks(memoryview(data)):
        try:
            # The library allocates the size at the start of the block without checking it.
            size += library.snappy.decompress_raw_len(block)
            if size > max_size:
                message = f"snappy data expands to {size} bytes or more; the limit is {max_size}"
                raise ProtocolError(message)
            pieces.append(library.snappy.decompress_raw(block))
        except library.DecompressionError as error:
            message = f"snappy data is corrupt: {error}"
            raise ProtocolError(message) from error
    return b"".join(pieces)


def _blocks(view: memoryview) -> Iterator[memoryview]:
    if view[: len(_MAGIC)] != _MAGIC:
        yield view
        return
    if len(view) < _HEADER.size:
        message = f"snappy data of {len(view)} bytes is shorter than its header of {_HEADER.size} bytes"
        raise ProtocolError(message)
    _, _, compatible = _HEADER.unpack_from(view)
    if compatible != _VERSION:
        message = f"snappy data needs a reader of version {compatible}; this reader has version {_VERSION}"
        raise ProtocolError(message)
    position = _HEADER.size
    while position < len(view):
        left = len(view) - position - _SIZE.size
        size = _SIZE.unpack_from(view, position)[0] if left >= 0 else 0
        if not 0 <= size <= left:
            message = f"snappy data is truncated in the block at byte {position} of {len(view)}"
            raise ProtocolError(message)
        position += _SIZE.size + size
        yield view[position - size : position]


def _library() -> ModuleType:
    try:
        import cramjam  # noqa: PLC0415 - only this codec needs it
    except ImportError as error:
        message = "snappy needs the package cramjam: pip install 'aioproducer[snappy]'"
        raise ConfigurationError(message, option="compression_type", value="snappy") from error
    return cramjam
