"""Splitting: what is too large for the broker becomes smaller, in order, and no record is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.batch_result import BatchResult
from aioproducer.core.batch import ProducerBatch
from aioproducer.core.queues import NodeQueue, PartitionQueue
from aioproducer.core.split import split_batch
from aioproducer.delivery import Delivery, new_delivery
from aioproducer.records.batch import RecordBatchBuilder, encode_headers
from aioproducer.records.compression import Codec, compressor
from tests.core.harness import records_of, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_700_000_000_000
CREATED = 100.0
AMPLE = 1 << 24

values_of_any_size = st.lists(st.binary(max_size=300), min_size=2, max_size=40)


def new_batch(
    values: Sequence[bytes | None], codec: Codec = Codec.NONE
) -> tuple[ProducerBatch, list[Delivery]]:
    """Make a batch as it was sent, and the deliveries of its records."""
    queue = PartitionQueue("orders", 3, NodeQueue(1))
    builder = RecordBatchBuilder(AMPLE, NOW)
    batch = ProducerBatch(queue, builder, BatchResult("orders", 3, None), CREATED, 1 << 26)
    for index, value in enumerate(values):
        builder.append(NOW + index, b"key-%d" % index, value, None)
    if codec is not Codec.NONE:
        builder.close(int(codec), compressor(codec))
    sent(batch)
    deliveries = [new_delivery(batch.result, index, NOW + index) for index in range(len(values))]
    return batch, deliveries


def sent(batch: ProducerBatch) -> ProducerBatch:
    batch.builder.stamp(-1, -1, -1, transactional=False)
    return batch


def resolve(pieces: Sequence[ProducerBatch], base_offset: int) -> None:
    for piece in pieces:
        piece.result.resolve(piece.count, base_offset, -1)
        base_offset += piece.count


@pytest.mark.scenario("split-too-large")
def test_pieces_hold_all_records() -> None:
    values = [b"%03d" % number * 30 for number in range(20)]
    batch, _ = new_batch(values)

    pieces = split_batch(batch, 500)

    assert values_of(pieces) == values
    assert len(pieces) > 3
    assert all(piece.builder.raw_size <= 500 for piece in pieces)
    assert all(piece.charged == piece.builder.raw_size == len(piece.builder.buffer) for piece in pieces)


@pytest.mark.scenario("split-too-large")
def test_each_delivery_gets_own_offset() -> None:
    batch, deliveries = new_batch([b"v" * 90] * 20)

    pieces = split_batch(batch, 500)
    resolve(pieces, 1000)

    assert [delivery.result().offset for delivery in deliveries] == list(range(1000, 1020))
    assert [delivery.result().timestamp_ms for delivery in deliveries] == [NOW + i for i in range(20)]


@pytest.mark.scenario("split-too-large")
@pytest.mark.parametrize("codec", list(Codec))
def test_keys_headers_nulls_and_timestamps_survive(codec: Codec) -> None:
    """Compressed as it was sent."""
    queue = PartitionQueue("orders", 3, NodeQueue(1))
    builder = RecordBatchBuilder(AMPLE, NOW)
    batch = ProducerBatch(queue, builder, BatchResult("orders", 3, None), CREATED, 0)
    headers = encode_headers([("a", b"1"), ("b", None), ("a", b"")])
    builder.append(NOW, None, None, headers)
    builder.append(NOW - 5, b"", b"", None)
    builder.append(NOW + 5, b"key", b"value" * 1000, None)
    before = records_of(batch)
    if codec is not Codec.NONE:
        builder.close(int(codec), compressor(codec))
    builder.stamp(7, 0, 0, transactional=False)

    pieces = split_batch(batch, 1)

    after = [record for piece in pieces for record in records_of(piece)]
    assert [(r.timestamp_ms, r.key, r.value, r.headers) for r in after] == [
        (r.timestamp_ms, r.key, r.value, r.headers) for r in before
    ]
    assert [piece.builder.codec for piece in pieces] == [0, 0, 0]


@pytest.mark.scenario("delivery-timeout")
def test_pieces_keep_age_and_attempts() -> None:
    batch, _ = new_batch([b"v" * 90] * 4)
    batch.attempts = 2

    pieces = split_batch(batch, 300)

    assert {piece.created for piece in pieces} == {CREATED}
    assert {piece.attempts for piece in pieces} == {2}
    assert {piece.split_of for piece in pieces} == {batch.builder.raw_size}
    assert {piece.queue for piece in pieces} == {batch.queue}
    serials = [piece.serial for piece in pieces]
    assert serials == sorted(set(serials))
    assert serials[0] >= batch.serial


def test_large_record_gets_own_piece() -> None:
    values = [b"a", b"v" * 5000, b"b", b"c"]
    batch, _ = new_batch(values)

    pieces = split_batch(batch, 200)

    assert [values_of([piece]) for piece in pieces] == [[b"a"], [b"v" * 5000], [b"b", b"c"]]


@pytest.mark.scenario("split-ends")
def test_too_large_piece_is_halved() -> None:
    batch, _ = new_batch([b"v" * 90] * 16)
    first, second = split_batch(batch, 1000)
    sent(first)

    halves = split_batch(first, 1000)

    assert [piece.count for piece in (first, second)] == [9, 7]
    assert [half.count for half in halves] == [4, 4, 1]
    assert all(half.builder.raw_size <= first.builder.raw_size // 2 for half in halves)


@pytest.mark.scenario("split-ends")
@pytest.mark.parametrize("more", [-1, 0, 1, 5000])
def test_small_batch_is_halved(more: int) -> None:
    """The broker takes less than `batch_size`."""
    batch, _ = new_batch([b"v" * 90] * 8)

    pieces = split_batch(batch, batch.builder.raw_size + more)

    assert len(pieces) > 1
    assert sum(piece.count for piece in pieces) == 8


@pytest.mark.scenario("split-too-large", "split-ends")
@given(values_of_any_size, st.integers(1, 4000))
def test_repeated_splits_end_with_records(values: list[bytes], batch_size: int) -> None:
    """The broker takes nothing but single records."""
    batch, deliveries = new_batch(values)
    done: list[ProducerBatch] = []
    waiting = [batch]
    rounds = 0

    while waiting:
        first = waiting.pop(0)
        if first.count == 1:
            done.append(first)
        else:
            waiting[:0] = map(sent, split_batch(first, batch_size))
        rounds += 1
        assert rounds <= 2 * len(values)

    assert values_of(done) == values
    serials = [piece.serial for piece in done]
    assert serials == sorted(set(serials))
    resolve(done, 50)
    assert [delivery.result().offset for delivery in deliveries] == list(range(50, 50 + len(values)))


def test_two_records_can_be_split() -> None:
    batch, _ = new_batch([None, None])

    pieces = split_batch(batch, 1 << 20)

    assert [piece.count for piece in pieces] == [1, 1]


@pytest.mark.parametrize("maybe_written", [False, True])
def test_pieces_inherit_doubt(maybe_written: bool) -> None:  # noqa: FBT001 - a parameter
    batch, _ = new_batch([b"a", b"b"])
    batch.maybe_written = maybe_written

    assert [piece.maybe_written for piece in split_batch(batch, 1)] == [maybe_written] * 2


def test_pieces_keep_the_loop() -> None:
    loop = object()
    batch, _ = new_batch([b"a", b"b"])
    batch.result = BatchResult("orders", 3, loop)

    assert [piece.result.loop for piece in split_batch(batch, 1)] == [loop, loop]
