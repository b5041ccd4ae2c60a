"""The framing of snappy-java."""

from __future__ import annotations

import random
import struct
import sys

import cramjam
import pytest

from aioproducer.errors import ConfigurationError, ProtocolError
from aioproducer.records import snappy

HEADER = bytes.fromhex("82534e41505059000000000100000001")


def framed(*blocks: bytes) -> bytes:
    return HEADER + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def raw(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


def test_blocks_are_framed_like_snappy_java() -> None:
    data = random.Random(1).randbytes(32 * 1024 + 5)  # noqa: S311 - the same bytes each time
    assert snappy.compressor()(data) == framed(raw(data[: 32 * 1024]), raw(data[32 * 1024 :]))


def test_empty_data_is_header_only() -> None:
    assert snappy.compressor()(b"") == HEADER
    assert snappy.decompress(HEADER, 0) == b""


def test_blocks_are_joined() -> None:
    assert snappy.decompress(framed(raw(b"one "), raw(b""), raw(b"two")), 7) == b"one two"


def test_unframed_block_is_read() -> None:
    assert snappy.decompress(raw(b"hello" * 10), 50) == b"hello" * 10


def test_limit_covers_all_blocks() -> None:
    with pytest.raises(ProtocolError, match="expands to 8 bytes or more; the limit is 7"):
        snappy.decompress(framed(raw(b"four"), raw(b"four")), 7)


@pytest.mark.parametrize("wrap", [framed, bytes], ids=["framed", "raw"])
def test_huge_claimed_size_is_refused(wrap: type[bytes]) -> None:
    with pytest.raises(ProtocolError, match="expands to 4294967295 bytes"):
        snappy.decompress(wrap(b"\xff\xff\xff\xff\x0f\x00a"), 1000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEADER[:8], "of 8 bytes is shorter than its header of 16"),
        (HEADER[:15] + b"\x02", "needs a reader of version 2"),
        (HEADER + b"\x00\x00", "truncated in the block at byte 16 of 18"),
        (HEADER + struct.pack(">i", -1), "truncated in the block at byte 16 of 20"),
        (framed(raw(b"one"))[:-1], "truncated in the block at byte 16"),
        (framed(raw(b"one"), b"\x05"), "corrupt"),
        (framed(b""), "corrupt"),
        (b"", "corrupt"),
    ],
)
def test_malformed_data_is_explained(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        snappy.decompress(data, 1000)


def test_missing_library_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, cramjam.__name__, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[snappy\]'") as caught:
        snappy.decompress(HEADER, 1)
    assert caught.value.value == "snappy"
