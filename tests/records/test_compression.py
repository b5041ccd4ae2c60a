"""Compression: other libraries read the result; levels and their cost."""

from __future__ import annotations

import gzip
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import cramjam
import lz4.frame
import pytest
import zstandard
from aiokafka import codec as aiokafka_codec

from aioproducer.errors import ConfigurationError
from aioproducer.records.compression import NANOSECONDS_PER_BYTE, Codec, compressor, nanoseconds_per_byte

TEXT = b"".join(b'{"order": %d, "status": "shipped", "quantity": %d}\n' % (i, i % 7) for i in range(330))

PAYLOADS = {
    "one byte": b"x",
    "text": TEXT,
    "several blocks": TEXT * 20,
    "incompressible": random.Random(1).randbytes(200_000),  # noqa: S311 - the same bytes each time
}

GZIP_HEADER = 10
"""Bytes; the last names the operating system."""

# Independent decompressors of each codec.
FOREIGN = {
    Codec.NONE: bytes,
    Codec.GZIP: gzip.decompress,
    Codec.SNAPPY: aiokafka_codec.snappy_decode,
    Codec.LZ4: aiokafka_codec.lz4_decode,
    Codec.ZSTD: aiokafka_codec.zstd_decode,
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
@pytest.mark.parametrize("codec", Codec)
def test_other_libraries_decompress(codec: Codec, payload: bytes) -> None:
    assert FOREIGN[codec](compressor(codec)(payload)) == payload


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec is not Codec.NONE])
def test_text_gets_smaller(codec: Codec) -> None:
    assert len(compressor(codec)(TEXT)) < len(TEXT) / 2


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_empty_data_is_compressed(codec: Codec) -> None:
    assert FOREIGN[codec](compressor(codec)(b"")) == b""


@pytest.mark.parametrize("codec", Codec)
def test_memoryview_is_released(codec: Codec) -> None:
    buffer = bytearray(b"header" + TEXT)
    with memoryview(buffer) as whole, whole[6:] as view:
        compressed = compressor(codec)(view)
    buffer.clear()
    assert type(compressed) is bytes
    assert FOREIGN[codec](compressed) == TEXT


def test_codec_names_match_option() -> None:
    names = ["none", "gzip", "snappy", "lz4", "zstd"]
    assert [Codec.of_name(name) for name in names] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["brotli", "LZ4", ""])
def test_unknown_codec_lists_known_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match="one of none, gzip, snappy, lz4, zstd") as caught:
        Codec.of_name(name)
    assert (caught.value.option, caught.value.value) == ("compression_type", name)


@pytest.mark.parametrize(
    ("codec", "level"),
    [
        *((Codec.GZIP, level) for level in (-1, 1, 9)),
        *((Codec.LZ4, level) for level in (1, 2, 3, 9, 12, 13, 17)),
        *((Codec.ZSTD, level) for level in (-131072, -1, 0, 22)),
    ],
)
def test_every_level_compresses(codec: Codec, level: int) -> None:
    assert FOREIGN[codec](compressor(codec, level)(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("codec", "level", "words"),
    [
        (Codec.GZIP, 0, "compression_gzip_level must be -1 or 1 to 9, not 0"),
        (Codec.GZIP, 10, "compression_gzip_level must be -1 or 1 to 9, not 10"),
        (Codec.LZ4, 0, "compression_lz4_level must be 1 to 17, not 0"),
        (Codec.LZ4, 18, "compression_lz4_level must be 1 to 17, not 18"),
        (Codec.ZSTD, 23, "compression_zstd_level must be -131072 to 22, not 23"),
        (Codec.ZSTD, -131073, "compression_zstd_level must be -131072 to 22, not -131073"),
    ],
)
def test_level_out_of_range_is_refused(codec: Codec, level: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        compressor(codec, level)
    assert caught.value.option == words.split(maxsplit=1)[0]
    assert caught.value.value == level


@pytest.mark.parametrize(
    ("codec", "low", "high"), [(Codec.GZIP, 1, 9), (Codec.LZ4, 1, 12), (Codec.ZSTD, -50, 19)]
)
def test_higher_level_compresses_better(codec: Codec, low: int, high: int) -> None:
    assert len(compressor(codec, high)(TEXT)) < len(compressor(codec, low)(TEXT))


@pytest.mark.parametrize(("codec", "level"), [(Codec.GZIP, -1), (Codec.LZ4, 9), (Codec.ZSTD, 3)])
def test_default_level_is_kafkas(codec: Codec, level: int) -> None:
    assert compressor(codec)(TEXT) == compressor(codec, level)(TEXT)


def test_default_gzip_level_is_zlibs() -> None:
    """Compare the compressed data only: versions of zlib write different headers."""
    compressed = compressor(Codec.GZIP)(TEXT)
    assert compressed[GZIP_HEADER:] == gzip.compress(TEXT, 6, mtime=0)[GZIP_HEADER:]


def test_lz4_level_9_is_fast() -> None:
    """Level 9 is lz4-java's fast compressor; every other level is the high-compression one."""
    sizes = {level: len(compressor(Codec.LZ4, level)(TEXT)) for level in range(1, 18)}
    assert sizes[9] == len(lz4.frame.compress(TEXT, block_linked=False, store_size=False))
    assert all(size < sizes[9] for level, size in sizes.items() if level != 9)


@pytest.mark.parametrize("level", [9, 5])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_lz4_frames_suit_kafka(payload: bytes, level: int) -> None:
    frame = compressor(Codec.LZ4, level)(payload)
    assert frame[:4] == b"\x04\x22\x4d\x18"
    assert frame[4] == 0b01_1_00000  # version 1, independent blocks, no checksum, size or dictionary
    assert frame[5] == 0b0_100_0000  # 64 KiB, as Java writes


def test_zstd_window_fits_content() -> None:
    frame = zstandard.get_frame_parameters(compressor(Codec.ZSTD)(TEXT))
    assert frame.content_size == frame.window_size == len(TEXT)
    assert not frame.has_checksum
    assert frame.dict_id == 0


@pytest.mark.parametrize("codec", Codec)
def test_compressor_is_thread_safe(codec: Codec) -> None:
    compress = compressor(codec)
    payloads = [b"%d" % number + TEXT * 10 for number in range(32)]
    with ThreadPoolExecutor(4) as pool:
        compressed = list(pool.map(compress, payloads))
    assert [FOREIGN[codec](each) for each in compressed] == payloads


def test_zstd_context_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = []
    make = zstandard.ZstdCompressor

    def counted(level: int) -> zstandard.ZstdCompressor:
        levels.append(level)
        return make(level=level)

    monkeypatch.setattr(zstandard, "ZstdCompressor", counted)
    compress = compressor(Codec.ZSTD, 5)
    assert {compress(TEXT) for _ in range(5)} == {make(level=5).compress(TEXT)}
    assert levels == [5]


def test_missing_snappy_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, cramjam.__name__, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[snappy\]'"):
        compressor(Codec.SNAPPY)


@pytest.mark.parametrize("codec", Codec)
def test_default_level_has_cost_of_codec(codec: Codec) -> None:
    assert nanoseconds_per_byte(codec) == NANOSECONDS_PER_BYTE[codec]


@pytest.mark.parametrize(("codec", "level"), [(Codec.GZIP, -1), (Codec.LZ4, 9), (Codec.ZSTD, 3)])
def test_high_levels_cost_more(codec: Codec, level: int) -> None:
    default = nanoseconds_per_byte(codec)
    assert nanoseconds_per_byte(codec, level) == default
    slowest = {Codec.GZIP: 9, Codec.LZ4: 12, Codec.ZSTD: 22}[codec]
    assert nanoseconds_per_byte(codec, slowest) > 3 * default


def test_low_lz4_levels_cost_more() -> None:
    assert nanoseconds_per_byte(Codec.LZ4, 8) > nanoseconds_per_byte(Codec.LZ4, 9)
