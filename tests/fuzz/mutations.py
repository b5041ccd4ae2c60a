"""Valid bytes made wrong: flipped, cut, grown, spliced, and with lengths that lie.

Whoever gives the dice decides what this is: a seeded `Random` for a run that can be had again,
hypothesis's own for one that shrinks.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    Mutation: TypeAlias = Callable[[bytes, Random, Sequence[bytes]], bytes]

MOST = 4
"""How many things are done to the same bytes at most."""

FIELDS_END = 100
"""Bytes after which a long message says the same kind of thing again."""

LENGTHS: tuple[bytes, ...] = (
    # Classic lengths and counts: the extremes, null, less than null, a hundred megabytes, one more than none.
    *(pack(">h", number) for number in (0x7FFF, -0x8000, -1, -2, 0, 1)),
    *(pack(">i", number) for number in (0x7FFF_FFFF, -0x8000_0000, -1, -2, 0, 1, 100_000_000, 0x1000_0000)),
    # Unsigned varints: null, empty, one byte at its most, 32 bits at most, one bit more, and without an end.
    *map(bytes.fromhex, ("00", "01", "7f", "ff7f", "ffffff7f", "ffffffff0f", "ffffffff10", "ffffffffffff7f")),
    # Zigzag varints: -1, the least and the most of 32 and of 64 bits.
    *map(bytes.fromhex, ("01", "feffffff0f", "ffffffff0f", "feffffffffffffffff01", "ffffffffffffffffff01")),
    # Little-endian sizes as compressors write them.
    *(pack("<I", number) for number in (0xFFFF_FFFF, 0x7FFF_FFFF)),
    pack("<Q", 1 << 40),
)
"""What numbers that say how much follows can be replaced by."""


def mutate(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Return `data` with a few things done to it; `others` is what pieces are taken from."""
    for _ in range(random.randint(1, MOST)):
        data = random.choice(MUTATIONS)(data, random, others)
    return data


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 2, 4, 8, 64)))


def flip(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Turn one bit over."""
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
    """Leave out the end."""
    return data[: random.randint(0, len(data))]


def cut_out(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Leave out something in between."""
    start, end = _span(data, random)
    return data[:start] + data[end:]


def insert(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Put something in between."""
    at = random.randint(0, len(data))
    piece = bytes([random.randrange(256)]) * random.choice((1, 2, 4, 8, 64))
    return data[:at] + piece + data[at:]


def repeat(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Have something stand there twice or more."""
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.randint(1, 4) + data[end:]


def splice(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Go on with the end of something else."""
    if not others:
        return data
    other = random.choice(others)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def lie_about_length(data: bytes, random: Random, _others: Sequence[bytes]) -> bytes:
    """Put an extreme number where a length may be."""
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
    """Put an extreme length at every place of a few seeds; in long ones only where their fields are."""
    for seed in dict.fromkeys((*seeds[:2], *seeds[-1:])):
        for at in range(min(len(seed), FIELDS_END)):
            for number in LENGTHS[at % 6 :: 6]:
                yield seed[:at] + number + seed[at + len(number) :]
