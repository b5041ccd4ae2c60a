"""Records that are too large, and records that come while the buffer is full."""

import asyncio
from typing import Any

import pytest

from aioproducer import BufferExhaustedError, Producer, ProducerClosedError, RecordTooLargeError
from aioproducer.core.accumulator import OVERHEAD
from aioproducer.testing import ApiKey, FakeCluster
from tests.delivery.ending import SOON, all_stored, buffer_is_whole, ending, failure, patient, stored, values
from tests.delivery.stored import TOPIC, figure
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
    # Nothing of them is kept anywhere.
    assert figure(producer, "buffer-available-bytes") == available
    assert figure(producer, "waiting-threads") == waiting
    assert (await stored(fits)).offset == 0
    await asyncio.wait_for(producer.flush(), SOON)
    await buffer_is_whole(producer)


@pytest.mark.scenario(4)
@pytest.mark.parametrize("topic", [TOPIC, "not known yet"])
async def test_a_record_larger_than_a_request_is_refused_and_leaves_nothing_behind(topic: str) -> None:
    """Java's producer gives a failed future and calls the callback; here `send` itself raises.

    What is wrong with the call is known at once, and then nobody has to look at a delivery for it.
    """
    topic = topic.replace(" ", "-")
    async with FakeCluster(topics={TOPIC: 1}) as cluster, quick(cluster, max_request_size=LIMIT) as producer:
        await producer.partitions_for(TOPIC)
        await _refuse_above_the_limit(producer, topic, "max_request_size")
    assert len(values(cluster, topic)) == 1


@pytest.mark.scenario(5)
@pytest.mark.parametrize("topic", [TOPIC, "not-known-yet"])
async def test_a_record_larger_than_the_buffer_is_refused_and_leaves_nothing_behind(topic: str) -> None:
    """As one that is larger than a request: it never could be sent, so it does not wait in line."""
    async with FakeCluster(topics={TOPIC: 1}) as cluster, quick(cluster, buffer_memory=LIMIT) as producer:
        await producer.partitions_for(TOPIC)
        await _refuse_above_the_limit(producer, topic, "buffer_memory")
    assert len(values(cluster, topic)) == 1


# Three records of two hundred bytes fill a buffer of a thousand, and three more its line.
FILLING = b"x" * 200
TOO_LATE = b"y" * 200


async def _fill(producer: Producer[Any, Any], cluster: FakeCluster) -> None:
    """Get a producer id and every partition's first sequence, which goes alone, out of the way."""
    count = len(cluster.topology.topic(TOPIC).partitions)
    await all_stored([producer.send(TOPIC, b"", partition=partition) for partition in range(count)])
    await buffer_is_whole(producer)


@pytest.mark.scenario(6)
async def test_room_goes_to_whoever_has_waited_for_it_longest() -> None:
    """To one batch's worth of them for each batch that is acknowledged."""
    finished: list[int] = []
    async with (
        FakeCluster(topics={TOPIC: 4}) as cluster,
        patient(cluster, buffer_memory=LIMIT, batch_size=1, max_block_ms=30_000) as producer,
    ):
        await _fill(producer, cluster)
        held = [cluster.on(ApiKey.PRODUCE, skip=number).hold() for number in range(3)]
        # Those in line are for partitions of their own: nothing but the line puts them in order.
        for number, partition in enumerate([0, 0, 0, 1, 2, 3]):
            delivery = producer.send(TOPIC, FILLING, partition=partition)
            delivery.add_done_callback(ending(number, finished))
        for number, fault in enumerate(held):
            async with asyncio.timeout(SOON):
                await fault.hit()
            await turns(20)
            assert figure(producer, "waiting-threads") == 3 - number
            assert finished == list(range(number))
            fault.release()
        await asyncio.wait_for(producer.flush(), SOON)
        await until(lambda: len(finished) == 6, SOON)
        await buffer_is_whole(producer)
    assert finished == [0, 1, 2, 3, 4, 5]


@pytest.mark.scenario(6)
async def test_who_has_waited_for_room_too_long_is_told_and_stands_in_nobodys_way() -> None:
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
        assert loop.time() - started >= 0.999
        assert not any(delivery.done() for delivery in accepted)

        next_one = producer.send(TOPIC, FILLING + b"!")
        assert figure(producer, "waiting-threads") == 1
        held.release()
        assert (await stored(next_one)).offset == 4
        await buffer_is_whole(producer)
    assert TOO_LATE not in values(cluster)


@pytest.mark.scenario(7)
async def test_whoever_is_cancelled_while_a_record_waits_for_room_leaves_it_in_line() -> None:
    """In Java an interrupted `send` has sent nothing; here `send` has returned before anybody waits.

    So cancelling takes nothing back: the record is sent, once and in its turn, and its memory is free.
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
        await buffer_is_whole(producer)
    assert values(cluster)[1:] == sent


@pytest.mark.scenario(7)
async def test_a_stop_while_records_wait_for_room_leaves_nobody_waiting_and_no_memory_in_use() -> None:
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
