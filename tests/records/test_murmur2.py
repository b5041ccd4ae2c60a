"""Murmur2 and the partition of a key, as in Kafka's Java client."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import example, given
from hypothesis import strategies as st

from aioproducer.records.murmur2 import murmur2, partition_of_key

pytestmark = pytest.mark.scenario("key-partitioning")

# Test vectors of the Java client, whose hash is signed.
SIGNED = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
    (b"", 275646681),
    (b"key", -1079937367),
    (b"\x00", 375494588),
    (b"\xff\xfe\xfd", 998637092),
]

# Key, partition out of 10, partition out of 100.
PARTITIONS = [(b"foobar", 6, 66), (b"abc", 7, 7), (b"", 1, 81), (b"key", 1, 81)]


def signed(hashed: int) -> int:
    return hashed - 2**32 if hashed >= 2**31 else hashed


@pytest.mark.parametrize(("key", "expected"), SIGNED)
def test_hash_matches_java(key: bytes, expected: int) -> None:
    assert signed(murmur2(key)) == expected


@pytest.mark.parametrize(("key", "of_10", "of_100"), PARTITIONS)
def test_partition_matches_java(key: bytes, of_10: int, of_100: int) -> None:
    assert partition_of_key(key, 10) == of_10
    assert partition_of_key(key, 100) == of_100


@given(st.binary(max_size=70))
@example(b"\x80\x80\x80\x80\xff")
def test_hash_matches_other_client(key: bytes) -> None:
    assert murmur2(key) == murmur2_of_aiokafka(key) & 0xFFFFFFFF


@given(st.binary(max_size=20), st.integers(1, 2**31 - 1))
def test_partition_is_valid_and_stable(key: bytes, partitions: int) -> None:
    partition = partition_of_key(key, partitions)

    assert partition == (murmur2(key) & 0x7FFFFFFF) % partitions
    assert partition_of_key(bytes(bytearray(key)), partitions) == partition
