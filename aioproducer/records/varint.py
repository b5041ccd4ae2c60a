# cython: annotation_typing=False
"""The zigzag varints of the record format.

A signed number is folded so that small magnitudes stay small (0, -1, 1, -2 become 0, 1, 2,
3), then written seven bits a byte, low bits first, the high bit saying that more follow.
"""

from __future__ import annotations


def put_varint(buffer: bytearray, value: int) -> None:
    """Append `value`, a signed 64-bit number, to `buffer`: 1 to 10 bytes."""
    folded = (value << 1) ^ (value >> 63)
    while folded > 127:  # noqa: PLR2004 - seven bits
        buffer.append((folded & 127) | 128)
        folded >>= 7
    buffer.append(folded)


def varint_size(value: int) -> int:
    """Return how many bytes `put_varint` writes for `value`."""
    folded = (value << 1) ^ (value >> 63)
    size = 1
    while folded > 127:  # noqa: PLR2004 - seven bits
        folded >>= 7
        size += 1
    return size
