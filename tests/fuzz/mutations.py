"""Mutations of valid bytes: flipped, cut, grown, spliced, and with false lengths.

The caller passes the source of randomness: a seeded `Random` makes a run reproducible, and
hypothesis's own can shrink a failure.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    Mutation: TypeAlias = Callable[[bytes, Random, Sequence[bytes]], bytes]

MOST = 4
"""The most mutations of the same bytes."""

FIELDS_END = 100
"""The length after which a long message only repeats its kinds of fields, in bytes."""

LENGTHS: tuple[bytes, ...] = (
    # Classic lengths and counts: the extremes, null (-1), below null, 0, 1, a hundred megabytes.
    *(pack(">h", number) for number in (0x7FFF, -0x8000, -1, -2, 0, 1)),
    *(pack(">i", number) for number in (0x7FFF_FFFF, -0x8000_0000, -1, -2, 0, 1, 100_000_000, 0x1000_0000)),
    # Unsigned varints: null, empty, the largest of one byte and of 32 bits, one bit more, unterminated.
    *map(bytes.fromhex, ("00", "01", "7f", "ff7f", "ffffff7f", "ffffffff0f", "ffffffff10", "ffffffffffff7f")),
    # Zigzag varints: -1, the least and the largest of 32 and of 64 bits.
    *map(bytes.fromhex, ("01", "feffffff0f", "ffffffff0f", "feffffffffffffffff01", "ffffffffffffffffff01")),
    # Little-endian sizes, as in compressed data.
    *(pack("<I", number) for number in (0xFFFF_FFFF, 0x7FFF_FFFF)),
    pack("<Q", 1 << 40),
)
"""Replacements for lengths and counts."""


def mutate(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Return `data` with a few mutations; pieces of `others` may be spliced in."""
    for _ in range(random.randint(1, MOST)):
        data = random.choice(MUTATIONS)(data, random, others)
    return data


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 64)))


def flip(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Flip one bit."""
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def overwrite(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Replace one byte."""
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]


def end_early(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Cut off the end."""
    return data[: random.randint(0, len(data))]


def cut_out(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Cut out a piece."""
    start, end = _span(data, random)
    return data[:start] + data[end:]


def insert(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Insert a piece."""
    at = random.randint(0, len(data))
    piece = bytes([random.randrange(256)]) * random.choice((1, 2, 4, 8, 64))
    return data[:at] + piece + data[at:]


def repeat(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Repeat a piece."""
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.randint(1, 4) + data[end:]


def splice(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Continue with the end of other bytes."""
    if not others:
        return data
    other = random.choice(others)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def lie_about_length(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Overwrite a possible length with an extreme number."""
    number = random.choice(LENGTHS)
    at = random.randint(0, len(data))
    return data[:at] + number + data[at + len(number) :]


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    overwrite,
    end_early,
    cut_out,
    insert,
    repeat,
    splice,
    lie_about_length,
)


def lies_about_length(seeds: Sequence[bytes]) -> Iterator[bytes]:
    """Put an extreme length at every offset of a few seeds; in long seeds only near the beginning."""
    for seed in dict.fromkeys((*seeds[:2], *seeds[-1:])):
        for at in range(min(len(seed), FIELDS_END)):
            for number in LENGTHS[at % 6 :: 6]:
                yield seed[:at] + number + seed[at + len(number) :]
