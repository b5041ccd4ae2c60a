"""Decompression: limits and malformed data."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import cramjam
import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError
from aioproducer.records.compression import Codec, compressor
from aioproducer.records.decompression import decompress

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = b"The quick brown fox jumps over the lazy dog. " * 40
COMPRESSED = {codec: compressor(codec)(TEXT) for codec in Codec}
STREAMS = [Codec.GZIP, Codec.LZ4, Codec.ZSTD]


def zstd_of_unknown_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def lz4_of_other_library(data: bytes) -> bytes:
    stream = cramjam.lz4.Compressor(block_linked=False)
    stream.compress(data)
    return bytes(stream.finish())


FOREIGN: dict[str, tuple[Codec, Callable[[bytes], bytes]]] = {
    "gzip": (Codec.GZIP, lambda data: gzip.compress(data, mtime=1)),
    "lz4": (Codec.LZ4, lz4_of_other_library),
    "lz4 with size and checksums": (
        Codec.LZ4,
        lambda data: lz4.frame.compress(data, block_linked=False, content_checksum=True, block_checksum=True),
    ),
    "zstd": (Codec.ZSTD, lambda data: bytes(cramjam.zstd.compress(data))),
    "zstd of unknown size, as Java writes it": (Codec.ZSTD, zstd_of_unknown_size),
    "zstd with a checksum": (Codec.ZSTD, zstandard.ZstdCompressor(write_checksum=True).compress),
    "snappy without framing": (Codec.SNAPPY, lambda data: bytes(cramjam.snappy.compress_raw(data))),
}


@pytest.mark.parametrize("data", [b"", b"x", TEXT, TEXT * 200], ids=["nothing", "byte", "text", "much"])
@pytest.mark.parametrize("name", FOREIGN)
def test_data_of_other_libraries(name: str, data: bytes) -> None:
    codec, compress = FOREIGN[name]
    assert decompress(codec, compress(data), len(data)) == data


@pytest.mark.parametrize("codec", Codec)
def test_max_size_is_exact(codec: Codec) -> None:
    assert decompress(codec, COMPRESSED[codec], len(TEXT)) == TEXT
    with pytest.raises(ProtocolError, match=rf"expands to .*{len(TEXT) - 1}"):
        decompress(codec, COMPRESSED[codec], len(TEXT) - 1)


@pytest.mark.parametrize("name", FOREIGN)
def test_bomb_is_refused_without_allocation(name: str) -> None:
    codec, compress = FOREIGN[name]
    bomb = compress(bytes(20_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="expands to"):
            decompress(codec, bomb, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_zstd_with_huge_size_is_refused() -> None:
    claim = b"\x28\xb5\x2f\xfd" + b"\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(ProtocolError, match="expands to 1099511627776 bytes; the limit is 1000"):
        decompress(Codec.ZSTD, claim, 1000)


@pytest.mark.parametrize("codec", STREAMS)
def test_truncated_stream_is_refused(codec: Codec) -> None:
    compressed = COMPRESSED[codec]
    for size in range(len(compressed)):
        with pytest.raises(ProtocolError, match=f"^{codec.name.lower()} data"):
            decompress(codec, compressed[:size], 10_000)


@pytest.mark.parametrize("codec", STREAMS)
def test_leftover_bytes_are_refused(codec: Codec) -> None:
    with pytest.raises(ProtocolError, match=r"3 (extra )?bytes"):
        decompress(codec, COMPRESSED[codec] + b"abc", 10_000)


def test_second_gzip_member_is_refused() -> None:
    with pytest.raises(ProtocolError, match="extra bytes after its end"):
        decompress(Codec.GZIP, COMPRESSED[Codec.GZIP] * 2, 10_000)


def test_linked_lz4_blocks_are_refused() -> None:
    linked = lz4.frame.compress(TEXT * 200, block_linked=True)
    with pytest.raises(ProtocolError, match="linked blocks"):
        decompress(Codec.LZ4, linked, 1_000_000)


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec is not Codec.NONE])
def test_other_format_is_refused(codec: Codec) -> None:
    with pytest.raises(ProtocolError, match="corrupt") as caught:
        decompress(codec, lzma.compress(TEXT), 10_000)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("codec", Codec)
def test_memoryview_is_decompressed(codec: Codec) -> None:
    assert decompress(codec, memoryview(COMPRESSED[codec]), 10_000) == TEXT


@settings(deadline=None)
@given(
    codec=st.sampled_from(Codec),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
)
def test_changed_bytes_are_handled(codec: Codec, changes: list[tuple[int, int]]) -> None:
    """The result is at most `max_size` bytes or a ProtocolError."""
    compressed = bytearray(COMPRESSED[codec])
    for position, byte in changes:
        compressed[position % len(compressed)] = byte
    with suppress(ProtocolError):
        assert len(decompress(codec, bytes(compressed), 3000)) <= 3000


@settings(deadline=None)
@given(codec=st.sampled_from(Codec), data=st.binary(max_size=200))
def test_any_bytes_are_handled(codec: Codec, data: bytes) -> None:
    """The result is at most `max_size` bytes or a ProtocolError."""
    with suppress(ProtocolError):
        assert len(decompress(codec, data, 100)) <= 100
