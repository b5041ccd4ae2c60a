"""Snappy in the framing of snappy-java (by xerial), which is what Kafka's Java clients write.

    82 S N A P P Y 00 │ version 1 │ compatible with 1 │ size │ block │ size │ block │ …

The numbers are big-endian int32; a block is what snappy makes of up to 32 KiB. Some clients
write a single block without any framing, so that is read too.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from aioproducer.errors import ConfigurationError, ProtocolError, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_MAGIC = b"\x82SNAPPY\x00"
_VERSION = 1
_BLOCK_SIZE = 32 * 1024

_HEADER = Struct(">8sii")
_SIZE = Struct(">i")


def compressor() -> Callable[[bytes | bytearray | memoryview], bytes]:
    """Make the function that compresses; ConfigurationError if the library is not installed."""
    compress_block = _library().snappy.compress_raw
    pack_size = _SIZE.pack
    header = _HEADER.pack(_MAGIC, _VERSION, _VERSION)

    def compress(data: bytes | bytearray | memoryview) -> bytes:
        pieces = [header]
        view = memoryview(data)
        for start in range(0, len(view), _BLOCK_SIZE):
            block = compress_block(view[start : start + _BLOCK_SIZE])
            pieces += (pack_size(len(block)), block)
        return b"".join(pieces)

    return compress


def decompress(data: bytes | memoryview, max_size: int) -> bytes:
    """Return the plain bytes of `data`, framed or not.

    Raises ProtocolError if it is corrupt or grows to more than `max_size` bytes.
    """
    library = _library()
    pieces = []
    size = 0
    for block in _blocks(memoryview(data)):
        try:
            # A block begins with its plain size, and room for that is made unseen.
            size += library.snappy.decompress_raw_len(block)
            if size > max_size:
                message = f"snappy data grows to {size} bytes or more, {max_size} are allowed"
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
        message = f"snappy data of {plural(len(view), 'byte')} ends within its header of {_HEADER.size}"
        raise ProtocolError(message)
    _, _, compatible = _HEADER.unpack_from(view)
    if compatible != _VERSION:
        message = f"snappy data needs a reader of version {compatible}, only {_VERSION} is known"
        raise ProtocolError(message)
    position = _HEADER.size
    while position < len(view):
        left = len(view) - position - _SIZE.size
        size = _SIZE.unpack_from(view, position)[0] if left >= 0 else 0
        if not 0 <= size <= left:
            message = f"snappy data ends within the block at byte {position} of {len(view)}"
            raise ProtocolError(message)
        position += _SIZE.size + size
        yield view[position - size : position]


def _library() -> ModuleType:
    try:
        import cramjam  # noqa: PLC0415 - only this codec needs it
    except ImportError as error:
        message = "snappy needs the package cramjam: pip install aioproducer[snappy]"
        raise ConfigurationError(message, option="compression_type", value="snappy") from error
    return cramjam
