"""The pieces of split batches in their queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aioproducer.core.split import split_batch
from aioproducer.records.batch import HEADER_SIZE
from tests.core.harness import (
    LINGER,
    START,
    TAKEN,
    Harness,
    values_of,
)

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.delivery import Delivery


# Splitting.


def drained_batch(harness: Harness, *values: bytes) -> tuple[ProducerBatch, list[Delivery]]:
    """Have one batch of these records drained from partition 0."""
    deliveries = [harness.append(value, partition=0) for value in values]
    harness.now += LINGER
    (batch,) = harness.drain()
    batch.builder.stamp(-1, -1, -1, transactional=False)
    return batch, deliveries


def split(harness: Harness, batch: ProducerBatch) -> list[ProducerBatch]:
    batch.queue.land(batch)
    pieces = split_batch(batch, 1)
    harness.accumulator.replace(batch, pieces)
    return pieces


@pytest.mark.scenario("split-too-large")
def test_pieces_go_before_later_batches() -> None:
    harness = Harness()
    harness.introduce()
    batch, deliveries = drained_batch(harness, b"a", b"b", b"c")
    harness.append(b"d", partition=0)

    pieces = split(harness, batch)

    assert harness.buffer.used == sum(one.charged for one in harness.accumulator.incomplete)
    harness.now += LINGER
    drained = harness.drain_all()
    assert values_of(drained) == [b"a", b"b", b"c", b"d"]
    assert drained[:3] == pieces
    for offset, piece in enumerate(drained):
        harness.finish(piece, offset)
    assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]
    assert harness.buffer.used == 0


@pytest.mark.scenario("split-too-large")
def test_pieces_go_before_full_batches() -> None:
    harness = Harness(batch_size=HEADER_SIZE + 2 * TAKEN)
    harness.introduce()
    batch, _ = drained_batch(harness, b"a", b"b")
    harness.append(b"c" * 100, partition=0)
    harness.append(b"d" * 100, partition=0)
    harness.append(b"e", partition=0)

    split(harness, batch)

    harness.now += LINGER
    assert values_of(harness.drain_all()) == [b"a", b"b", b"c" * 100, b"d" * 100, b"e"]


@pytest.mark.scenario("delivery-timeout")
def test_pieces_expire_with_their_batch() -> None:
    harness = Harness()
    harness.introduce(partitions=2)
    batch, _ = drained_batch(harness, b"a", b"b")
    harness.now += 10
    harness.append(b"young", partition=1)

    split(harness, batch)

    assert harness.accumulator.next_deadline(120.0) == START + 120
    assert [one.created for one in harness.accumulator.incomplete] == [START, START, START + LINGER + 10]


@pytest.mark.scenario("split-too-large")
def test_pieces_follow_older_retry() -> None:
    """The first of two in flight is to be tried again, the second is too large."""
    harness = Harness()
    harness.introduce()
    older, _ = drained_batch(harness, b"older")
    batch, _ = drained_batch(harness, b"a", b"b")
    harness.schedule.give_back(older)

    split(harness, batch)

    assert values_of(harness.drain_all()) == [b"older", b"a", b"b"]


@pytest.mark.scenario("split-too-large")
def test_pieces_of_two_batches_keep_order() -> None:
    """Both were in flight, and are answered one after the other."""
    harness = Harness()
    harness.introduce()
    first, _ = drained_batch(harness, b"a", b"b")
    second, _ = drained_batch(harness, b"c", b"d")

    split(harness, first)
    split(harness, second)

    assert values_of(harness.drain_all()) == [b"a", b"b", b"c", b"d"]


@pytest.mark.scenario("split-too-large")
def test_older_retry_goes_before_pieces() -> None:
    harness = Harness()
    harness.introduce()
    older, _ = drained_batch(harness, b"older")
    batch, _ = drained_batch(harness, b"a", b"b", b"c")

    pieces = split(harness, batch)
    assert harness.drain() == pieces[:1]
    harness.schedule.give_back(older)
    harness.schedule.give_back(pieces[0])

    assert values_of(harness.drain_all()) == [b"older", b"a", b"b", b"c"]
