"""Records that are too large, and records that wait for memory."""

import asyncio
from typing import Any

import pytest

from aioproducer import BufferExhaustedError, Producer, ProducerClosedError, RecordTooLargeError
from aioproducer.core.accumulator import OVERHEAD
from aioproducer.testing import ApiKey, FakeCluster
from tests.faults.outcomes import SOON, all_stored, buffer_is_free, failure, note_end, patient, stored, values
from tests.faults.stored import TOPIC, figure
from tests.net.quick import drained, insides, outcome, quick, turns, until
from tests.net.traces import no_traces

LIMIT = 1_000


async def _refuse_above_the_limit(producer: Producer[Any, Any], topic: str, option: str) -> None:
    fits = producer.send(topic, b"v" * (LIMIT - OVERHEAD))
    available = figure(producer, "buffer-available-bytes")
    waiting = figure(producer, "waiting-threads")
    for record in (
        {"value": b"v" * (LIMIT - OVERHEAD + 1)},
        {"value": b"", "key": b"k" * (LIMIT - OVERHEAD + 1)},
        {"value": b"", "headers": [("h", b"x" * LIMIT)]},
    ):
        with pytest.raises(RecordTooLargeError, match=f"{LIMIT} bytes that {option} allows") as raised:
            producer.send(topic, **record)
        assert (raised.value.topic, raised.value.limit) == (topic, LIMIT)
        assert not raised.value.may_be_written
    # The rejected records hold no memory.
    assert figure(producer, "buffer-available-bytes") == available
    assert figure(producer, "waiting-threads") == waiting
    assert (await stored(fits)).offset == 0
    await asyncio.wait_for(producer.flush(), SOON)
    await buffer_is_free(producer)


@pytest.mark.scenario("request-size-limit")
@pytest.mark.parametrize("topic", [TOPIC, "not known yet"])
async def test_record_above_request_size_raises(topic: str) -> None:
    """Java's producer returns a failed future and calls the callback; here `send` raises.

    The caller can see the error at once, without a look at the delivery.
    """
    topic = topic.replace(" ", "-")
    async with FakeCluster(topics={TOPIC: 1}) as cluster, quick(cluster, max_request_size=LIMIT) as producer:
        await producer.partitions_for(TOPIC)
        await _refuse_above_the_limit(producer, topic, "max_request_size")
    assert len(values(cluster, topic)) == 1


@pytest.mark.scenario("buffer-size-limit")
@pytest.mark.parametrize("topic", [TOPIC, "not-known-yet"])
async def test_record_above_buffer_size_raises(topic: str) -> None:
    """The record could never be sent, so it does not wait for memory."""
    async with FakeCluster(topics={TOPIC: 1}) as cluster, quick(cluster, buffer_memory=LIMIT) as producer:
        await producer.partitions_for(TOPIC)
        await _refuse_above_the_limit(producer, topic, "buffer_memory")
    assert len(values(cluster, topic)) == 1


# Three records of 200 bytes fill a buffer of 1000; three more fill the queue of waiting records.
FILLING = b"x" * 200
TOO_LATE = b"y" * 200


async def _fill(producer: Producer[Any, Any], cluster: FakeCluster) -> None:
    """Send a first batch to every partition: until it is acknowledged, a partition sends no second."""
    count = len(cluster.topology.topic(TOPIC).partitions)
    await all_stored([producer.send(TOPIC, b"", partition=partition) for partition in range(count)])
    await buffer_is_free(producer)


@pytest.mark.scenario("buffer-full")
async def test_freed_memory_goes_in_order() -> None:
    """Each acknowledged batch frees memory for the record that waited longest."""
    finished: list[int] = []
    async with (
        FakeCluster(topics={TOPIC: 4}) as cluster,
        patient(cluster, buffer_memory=LIMIT, batch_size=1, max_block_ms=30_000) as producer,
    ):
        await _fill(producer, cluster)
        held = [cluster.on(ApiKey.PRODUCE, skip=number).hold() for number in range(3)]
        # The waiting records go to partitions of their own: only the queue orders them.
        for number, partition in enumerate([0, 0, 0, 1, 2, 3]):
            delivery = producer.send(TOPIC, FILLING, partition=partition)
            delivery.add_done_callback(note_end(number, finished))
        for number, fault in enumerate(held):
            async with asyncio.timeout(SOON):
                await fault.hit()
            await turns(20)
            assert figure(producer, "waiting-threads") == 3 - number
            assert finished == list(range(number))
            fault.release()
        await asyncio.wait_for(producer.flush(), SOON)
        await until(lambda: len(finished) == 6, SOON)
        await buffer_is_free(producer)
    assert finished == [0, 1, 2, 3, 4, 5]


@pytest.mark.simulated
@pytest.mark.scenario("buffer-full")
async def test_waiting_record_expires() -> None:
    """A record waits for memory up to max_block_ms, then fails and delays no later record."""
    loop = asyncio.get_running_loop()
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        patient(cluster, buffer_memory=LIMIT, batch_size=1, max_block_ms=1_000) as producer,
    ):
        await _fill(producer, cluster)
        held = cluster.on(ApiKey.PRODUCE).hold()
        accepted = [producer.send(TOPIC, FILLING) for _ in range(3)]
        started = loop.time()
        waits = producer.send(TOPIC, TOO_LATE)
        error = await failure(waits)
        assert isinstance(error, BufferExhaustedError)
        assert not error.may_be_written
        assert loop.time() - started >= 0.997
        assert not any(delivery.done() for delivery in accepted)

        next_one = producer.send(TOPIC, FILLING + b"!")
        assert figure(producer, "waiting-threads") == 1
        held.release()
        assert (await stored(next_one)).offset == 4
        await buffer_is_free(producer)
    assert TOO_LATE not in values(cluster)


@pytest.mark.scenario("waiting-record-abandoned")
async def test_cancelled_awaiter_keeps_its_place() -> None:
    """In Java an interrupted `send` has sent nothing; here `send` has already returned.

    Cancelling withdraws nothing: the record is sent once, in order, and its memory is freed.
    """
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        patient(cluster, buffer_memory=LIMIT, batch_size=1, max_block_ms=30_000) as producer,
    ):
        await _fill(producer, cluster)
        held = cluster.on(ApiKey.PRODUCE).hold()
        sent = [b"%d" % number + FILLING for number in range(6)]
        deliveries = [producer.send(TOPIC, value) for value in sent]
        waiting = [asyncio.create_task(outcome(delivery)) for delivery in deliveries[3:]]
        draining = asyncio.create_task(drained(producer))
        await asyncio.wait_for(held.hit(), SOON)
        for task in (*waiting, draining):
            task.cancel()
        ended = await asyncio.gather(*waiting, draining, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * 4
        assert figure(producer, "waiting-threads") == 3

        held.release()
        assert [each.offset for each in await all_stored(deliveries)] == list(range(1, 7))
        await buffer_is_free(producer)
    assert values(cluster)[1:] == sent


@pytest.mark.scenario("waiting-record-abandoned")
async def test_stop_frees_waiting_records() -> None:
    async with FakeCluster(topics={TOPIC: 1}) as cluster, no_traces():
        producer = patient(cluster, buffer_memory=LIMIT, batch_size=1, max_block_ms=30_000)
        await producer.start()
        await _fill(producer, cluster)
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = [producer.send(TOPIC, FILLING) for _ in range(6)]
        draining = asyncio.create_task(drained(producer))
        await asyncio.wait_for(held.hit(), SOON)

        await asyncio.wait_for(producer.stop(0), SOON)

        with pytest.raises(ProducerClosedError):
            await asyncio.wait_for(draining, SOON)
        errors = [await failure(delivery) for delivery in deliveries]
        assert {type(error) for error in errors} == {ProducerClosedError}
        assert not any(error.may_be_written for error in errors[3:])
        accumulator = insides(producer).accumulator
        buffer = accumulator.buffer
        assert (buffer.used, buffer.records.bytes, buffer.waiting) == (0, 0, 0)
        cluster.heal()
