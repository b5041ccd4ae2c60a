"""The buffer: memory in use, and records that wait for room."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from aioproducer.core.accumulator import OVERHEAD
from aioproducer.core.batch import NEVER
from aioproducer.core.partitioner import RecordPartitioner
from aioproducer.delivery import result_of
from aioproducer.errors import (
    BufferExhaustedError,
)
from aioproducer.records.batch import HEADER_SIZE, encode_headers
from tests.core.harness import (
    AMPLE,
    ASKED,
    LINGER,
    MAX_BLOCK,
    START,
    TAKEN,
    TOPIC,
    VALUE,
    Harness,
    free_room,
    full_harness,
    values_of,
)

if TYPE_CHECKING:
    from aioproducer.delivery import Delivery


# Memory.


def test_batch_is_charged_until_released() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=2)
    assert harness.buffer.used == 0

    harness.append(VALUE, partition=0)
    harness.append(VALUE, partition=0)
    assert harness.buffer.used == HEADER_SIZE + 2 * TAKEN
    harness.append(VALUE, partition=1)
    assert harness.buffer.used == 2 * HEADER_SIZE + 3 * TAKEN

    first, second = harness.drain()
    assert harness.buffer.used == 2 * HEADER_SIZE + 3 * TAKEN
    assert first.charged == len(first.builder.buffer)
    first.queue.land(first)
    harness.accumulator.release(first)
    assert harness.buffer.used == second.charged
    harness.accumulator.release(first)
    assert harness.buffer.used == second.charged
    second.queue.land(second)
    harness.accumulator.release(second)
    assert harness.buffer.used == 0


def test_a_retry_is_not_charged_twice() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append(VALUE)
    before = harness.buffer.used

    for _ in range(3):
        (batch,) = harness.drain()
        harness.schedule.give_back(batch)

    assert harness.buffer.used == before
    harness.finish(harness.drain()[0])
    assert harness.buffer.used == 0


@pytest.mark.scenario("buffer-full")
def test_record_waits_for_room() -> None:
    harness = full_harness()
    delivery = harness.append(b"w" * 100, partition=1)
    assert not delivery.done()
    assert (len(harness.buffer.records), harness.buffer.records.bytes) == (1, ASKED)
    assert harness.accumulator.serve(10) is False

    free_room(harness)
    assert harness.accumulator.serve(10) is False

    assert len(harness.buffer.records) == 0
    assert harness.buffer.waiting == 0
    harness.now += LINGER
    (batch,) = harness.drain()
    assert values_of([batch]) == [b"w" * 100]
    harness.finish(batch, 40)
    assert delivery.result().offset == 40


@pytest.mark.scenario("buffer-full")
async def test_waiting_record_resolves_its_awaiters() -> None:
    """Awaited and called back before it has a place."""
    harness = Harness(linger=0.0)
    harness.loop = asyncio.get_running_loop()
    deliveries = [harness.append(b"%d" % number, timestamp_ms=number) for number in range(3)]
    futures = [delivery.future() for delivery in deliveries]
    settled = [result.settled() for result in harness.accumulator.outstanding()]
    called: list[int] = []
    deliveries[2].add_done_callback(lambda done: called.append(done.result().offset))

    harness.introduce()
    harness.accumulator.serve(10)
    assert not any(future.done() for future in futures)
    assert not any(future.done() for future in settled)
    harness.finish(harness.drain()[0], 40)

    async with asyncio.timeout(5):
        await asyncio.gather(*settled)
        given = await asyncio.gather(*futures)
    assert [metadata.offset for metadata in given] == [40, 41, 42]
    assert [metadata.timestamp_ms for metadata in given] == [0, 1, 2]
    assert called == [42]


@pytest.mark.scenario("buffer-full")
def test_waiting_records_are_not_overtaken() -> None:
    """Not even a record that would fit."""
    harness = full_harness(room=20)
    harness.append(b"w" * 500, partition=1)
    harness.append(b"tiny", partition=1)
    harness.append(b"other", partition=2)
    assert len(harness.buffer.records) == 3

    free_room(harness)
    harness.accumulator.serve(100)

    harness.now += LINGER
    assert values_of(harness.drain()) == [b"w" * 500, b"tiny", b"other"]


@pytest.mark.scenario("buffer-full")
def test_serve_stops_without_room() -> None:
    """A freed batch serves the oldest waiters."""
    harness = Harness(buffer_memory=1000, batch_size=1)
    harness.introduce()
    accepted = [harness.append(VALUE) for _ in range(8)]
    placed = [delivery for delivery in accepted if repr(result_of(delivery)) in ids(harness)]
    assert len(placed) == 5
    assert len(harness.buffer.records) == 3

    harness.finish(harness.drain()[0])
    assert harness.accumulator.serve(10) is False

    assert len(harness.buffer.records) == 2
    assert harness.buffer.used <= 1000


def ids(harness: Harness) -> set[str]:
    return {repr(batch.result) for batch in harness.accumulator.incomplete}


def test_serve_places_records_in_slices() -> None:
    harness = Harness(buffer_memory=10_000)
    for number in range(5):
        harness.append(b"%d" % number)
    harness.introduce()

    assert harness.accumulator.serve(2) is True
    assert harness.buffer.waiting == 3
    assert harness.accumulator.serve(2) is True
    assert harness.accumulator.serve(2) is False
    assert harness.buffer.waiting == 0
    harness.now += LINGER
    assert values_of(harness.drain_all()) == [b"%d" % number for number in range(5)]


@pytest.mark.scenario("buffer-full")
def test_too_many_waiting_records_raise() -> None:
    harness = full_harness()
    for _ in range(5):
        harness.append(VALUE)
    line = harness.buffer.records
    assert line.bytes + ASKED > 1000

    with pytest.raises(BufferExhaustedError, match=r"of 1000 bytes \(buffer_memory\).*await drain\(\)"):
        harness.append(VALUE)

    assert len(line) == 5
    assert line.bytes <= 1000


@pytest.mark.scenario("buffer-full", "waiting-record-abandoned")
def test_expired_record_leaves_nothing() -> None:
    harness = full_harness()
    delivery = harness.append(VALUE, partition=1)
    used_before = harness.buffer.used
    harness.now += MAX_BLOCK - 1
    later = harness.append(b"later", partition=1)
    assert harness.accumulator.next_deadline(NEVER) == START + MAX_BLOCK

    (expired,) = harness.buffer.expire_for_room(START + MAX_BLOCK)

    assert expired.delivery is delivery
    assert harness.buffer.used == used_before
    free_room(harness)
    harness.accumulator.serve(10)
    harness.now += LINGER
    assert values_of(harness.drain()) == [b"later"]
    assert result_of(later).partition == 1
    assert harness.buffer.records.bytes == 0


@pytest.mark.scenario("waiting-record-abandoned")
def test_all_memory_is_released() -> None:
    order = random.Random(9)  # noqa: S311 - nothing is secret
    harness = Harness(buffer_memory=5000, batch_size=600)
    harness.introduce(partitions=4)
    accumulator = harness.accumulator
    for _ in range(500):
        try:
            harness.append(b"v" * order.randrange(300), key=order.choice([None, b"a", b"b"]))
        except BufferExhaustedError:
            for batch in harness.drain_all():
                harness.finish(batch)
            accumulator.serve(100)
        assert 0 <= accumulator.buffer.used <= 5000
        assert 0 <= accumulator.buffer.records.bytes <= 5000

    harness.send_the_rest()

    assert not accumulator.incomplete
    buffer = accumulator.buffer
    assert (buffer.used, buffer.records.bytes, buffer.waiting) == (0, 0, 0)


# A partitioner that itself sends.


def harness_whose_partitioner_sends(inner: bytes) -> Harness:
    """Make an accumulator that gets `inner` for partition 1 while a partition is chosen."""
    sent: list[Delivery] = []

    def custom(_topic: str, _key: bytes | None, _count: int) -> int:
        if not sent:
            sent.append(harness.append(inner, partition=1))
        return 0

    harness = Harness(buffer_memory=1000, batch_size=AMPLE, partitioner=RecordPartitioner(custom=custom))
    harness.introduce(partitions=2)
    return harness


def test_record_waits_after_partitioner_sends() -> None:
    harness = harness_whose_partitioner_sends(b"i" * 800)

    outer = harness.append(b"o" * 500, key=b"k", headers={"h": b"1"}, timestamp_ms=5)

    (record,) = harness.buffer.records.records()
    assert record.delivery is outer
    assert (record.topic, record.partition, record.timestamp) == (TOPIC, -1, 5)
    assert (record.key, record.value, record.section) == (b"k", b"o" * 500, encode_headers({"h": b"1"}))


def test_record_follows_partitioners_waiting_record() -> None:
    harness = harness_whose_partitioner_sends(b"i" * 800)
    harness.append(b"o" * 300, partition=0)

    harness.append(b"small")

    assert [record.value for record in harness.buffer.records.records()] == [b"i" * 800, b"small"]


def test_record_fits_after_partitioner_sends() -> None:
    probe = harness_whose_partitioner_sends(b"")
    probe.append(b"i", partition=1)
    harness = harness_whose_partitioner_sends(b"i")

    harness.append(b"o" * (1000 - probe.buffer.used - OVERHEAD))

    assert len(harness.buffer.records) == 0
