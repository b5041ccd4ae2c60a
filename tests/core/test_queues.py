"""Batches and the queues that they stand in."""

from __future__ import annotations

import random

import pytest

from aioproducer.batch_result import BatchResult
from aioproducer.core.batch import NEVER, NO_SEQUENCE, BatchState, ProducerBatch
from aioproducer.core.queues import NO_LEADER, NodeQueue, PartitionQueue
from aioproducer.records.batch import HEADER_SIZE, RecordBatchBuilder
from aioproducer.records.compression import Codec, compressor

LINGER = 5.0


def new_queue() -> PartitionQueue:
    return PartitionQueue("orders", 3, NodeQueue(1))


def new_batch(
    queue: PartitionQueue, serial: int = 0, created: float = 100.0, records: int = 1
) -> ProducerBatch:
    builder = RecordBatchBuilder(1 << 20, 0)
    batch = ProducerBatch(queue, builder, BatchResult("orders", 3, None), created, serial)
    for _ in range(records):
        builder.append(0, None, b"value" * 20, None)
    return batch


def test_new_batch_has_no_sequence() -> None:
    batch = new_batch(new_queue(), records=0)

    assert batch.charged == HEADER_SIZE
    assert (batch.sequence, batch.producer_id, batch.producer_epoch) == (NO_SEQUENCE, -1, -1)
    assert (batch.attempts, batch.split_of, batch.is_in_flight, batch.maybe_written) == (0, 0, False, False)
    assert batch.last_error is None


def test_batch_counts_records_and_bytes() -> None:
    batch = new_batch(new_queue(), records=3)
    assert batch.count == 3
    assert len(batch.builder.buffer) == batch.builder.raw_size == len(batch.builder.buffer)

    batch.builder.close(int(Codec.GZIP), compressor(Codec.GZIP))

    assert len(batch.builder.buffer) == len(batch.builder.buffer) < batch.builder.raw_size


def test_batch_repr_shows_state() -> None:
    batch = new_batch(new_queue(), records=2)
    assert repr(batch) == "<ProducerBatch orders-3 records=2 sequence=-1 attempts=0 queued>"

    batch.take()
    batch.sequence = 7
    batch.attempts = 1
    assert repr(batch) == "<ProducerBatch orders-3 records=2 sequence=7 attempts=1 in flight>"

    batch.result.resolve(2, 0, -1)
    assert repr(batch).endswith(" done>")


def test_batch_goes_through_states() -> None:
    batch = new_batch(new_queue(), records=1)
    assert batch.state == BatchState.OPEN

    batch.close()
    assert (batch.state, batch.is_in_flight) == (BatchState.CLOSED, False)
    batch.take()
    assert (batch.state, batch.is_in_flight) == (BatchState.IN_FLIGHT, True)
    assert (batch.land(), batch.state) == (True, BatchState.CLOSED)
    assert (batch.land(), batch.state) == (False, BatchState.CLOSED)

    held = batch.charged
    assert held > 0
    assert (batch.release(), batch.state) == (held, BatchState.RELEASED)
    assert (batch.release(), batch.charged) == (0, 0)


def test_batch_in_flight_is_not_released() -> None:
    """Its request may still write it: the memory is in use until `land`."""
    batch = new_batch(new_queue(), records=1)
    batch.take()

    with pytest.raises(RuntimeError, match="cannot go from IN_FLIGHT to RELEASED"):
        batch.release()
    assert batch.charged == batch.builder.raw_size


def test_released_batch_is_not_taken() -> None:
    batch = new_batch(new_queue(), records=1)
    batch.release()

    with pytest.raises(RuntimeError, match="cannot go from RELEASED to IN_FLIGHT"):
        batch.take()


def test_piece_is_closed() -> None:
    queue = new_queue()
    batch = new_batch(queue, records=2)

    piece = batch.piece(RecordBatchBuilder(1 << 20, 0), BatchResult("orders", 3, None), 1)

    assert piece.state == BatchState.CLOSED


def test_empty_queue_is_never_due() -> None:
    queue = new_queue()

    assert queue.length() == 0
    assert queue.first() is None
    assert queue.due(LINGER) == NEVER


@pytest.mark.scenario("lone-record-lingers")
def test_open_batch_is_due_after_linger() -> None:
    queue = new_queue()
    queue.open = new_batch(queue, created=100.0)

    assert queue.due(LINGER) == 105.0
    assert queue.due(0.0) == 100.0
    assert queue.length() == 1


@pytest.mark.scenario("full-batch")
def test_closed_batch_is_due() -> None:
    queue = new_queue()
    queue.closed.append(new_batch(queue, created=100.0))
    queue.open = new_batch(queue, created=100.0)

    assert queue.due(LINGER) <= 100.0
    assert queue.length() == 2


@pytest.mark.parametrize("closed", [False, True])
def test_backoff_delays_batches(closed: bool) -> None:  # noqa: FBT001 - a parameter
    queue = new_queue()
    batch = new_batch(queue, created=100.0)
    if closed:
        queue.closed.append(batch)
    else:
        queue.open = batch
    queue.not_before = 130.0

    assert queue.due(LINGER) == 130.0
    assert queue.due(0.0) == 130.0


def test_batches_are_taken_in_order() -> None:
    queue = new_queue()
    old, middle, young = (new_batch(queue, serial) for serial in range(3))
    queue.closed.extend([old, middle])
    queue.open = young

    taken = []
    while queue.first() is not None:
        first = queue.first()
        taken.append(queue.take())
        assert taken[-1] is first

    assert taken == [old, middle, young]
    assert queue.open is None
    assert queue.length() == 0


@pytest.mark.scenario("first-of-five-retried")
def test_put_back_keeps_order() -> None:
    """Five in flight come back in any order."""
    order = random.Random(3)  # noqa: S311 - nothing is secret
    for _ in range(20):
        queue = new_queue()
        batches = [new_batch(queue, serial * 10) for serial in range(8)]
        queue.closed.extend(batches[5:7])
        queue.open = batches[7]
        returning = batches[:5]
        order.shuffle(returning)

        for batch in returning:
            queue.put_back(batch)

        assert [queue.take() for _ in range(8)] == batches


def test_queue_reprs_show_contents() -> None:
    queue = new_queue()
    queue.open = new_batch(queue)
    node = queue.node
    node.ready[queue] = None
    node.due = 105.0

    assert repr(queue) == "<PartitionQueue orders-3 node=1 batches=1 on_wire=0>"
    assert repr(node) == "<NodeQueue 1 ready=1 lingering=0 due=105.0>"


def test_new_node_is_idle() -> None:
    node = NodeQueue(NO_LEADER)

    assert (node.due, node.armed, node.starved_since) == (NEVER, NEVER, NEVER)
    assert node.is_empty()
