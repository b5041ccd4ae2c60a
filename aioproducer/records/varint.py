# cython: annotation_typing=False
"""The zigzag varints of the record format.

Zigzag maps signed numbers to unsigned ones, small magnitudes to small numbers: 0, -1, 1, -2 become
0, 1, 2, 3. They are written with seven bits a byte, low bits first. The high bit is set in every
byte but the last.
"""

from __future__ import annotations


def put_varint(buffer: bytearray, value: int) -> None:
    """Append `value`, a signed 64-bit number, to `buffer` as 1 to 10 bytes."""
    # 300 becomes 600, which is 4 * 128 + 88: the bytes d8 04.
    folded = (value << 1) ^ (value >> 63)
    while folded > 127:  # noqa: PLR2004 - seven bits
        buffer.append((folded & 127) | 128)
        folded >>= 7
    buffer.append(folded)


def varint_size(value: int) -> int:
    """Return the number of bytes that `put_varint` writes for `value`."""
    folded = (value << 1) ^ (value >> 63)
    size = 1
    while folded > 127:  # noqa: PLR2004 - seven bits
        folded >>= 7
        size += 1
    return size
