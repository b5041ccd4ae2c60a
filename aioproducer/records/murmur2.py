# cython: annotation_typing=False, boundscheck=False, wraparound=False, cdivision=True
"""The hash that Kafka clients use to choose the partition of a key.

Murmur2 with Kafka's seed, over 32-bit words. Every client that uses it sends the same key to the
same partition, as long as the number of partitions does not change.
"""

from __future__ import annotations


def murmur2(key: bytes) -> int:
    """Return the hash of `key` as an unsigned 32-bit number (Java's is the same number, signed)."""
    octets = key
    length = len(key)
    mask = 0xFFFFFFFF
    multiplier = 0x5BD1E995
    # Kafka's seed. The masks keep all numbers in 32 bits, like Java's int.
    hashed = (0x9747B28C ^ length) & mask
    # A key of 11 bytes: two words of 4 bytes, then 3 single bytes.
    whole = length & ~3
    position = 0
    while position < whole:
        word = (
            octets[position]
            | octets[position + 1] << 8
            | octets[position + 2] << 16
            | octets[position + 3] << 24
        )
        word = (word * multiplier) & mask
        word ^= word >> 24
        word = (word * multiplier) & mask
        hashed = ((hashed * multiplier) & mask) ^ word
        position += 4
    left = length - whole
    if left > 0:
        if left > 2:  # noqa: PLR2004 - three bytes are left
            hashed ^= octets[whole + 2] << 16
        if left > 1:
            hashed ^= octets[whole + 1] << 8
        hashed ^= octets[whole]
        hashed = (hashed * multiplier) & mask
    hashed ^= hashed >> 13
    hashed = (hashed * multiplier) & mask
    return hashed ^ (hashed >> 15)


def partition_of_key(key: bytes, partitions: int) -> int:
    """Return the partition that the Java client chooses for `key`, out of `partitions`."""
    # Java clears the sign bit: `foobar` has the hash -790332482, which becomes 1357151166, so it goes
    # to partition 6 of 10.
    return (murmur2(key) & 0x7FFFFFFF) % partitions
