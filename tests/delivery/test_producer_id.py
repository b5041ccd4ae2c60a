"""Producer ids and epochs that are forgotten, used up or changed: whole producers, a strict cluster."""

import asyncio
from typing import Any

import pytest

from aioproducer import InvalidRecordError, Producer
from aioproducer.core.producer_id import MAX_EPOCH
from aioproducer.core.sequences import SEQUENCES
from aioproducer.testing import KAFKA_2_1, KAFKA_4, ApiKey, BrokerVersion, ErrorCode, FakeCluster
from tests.delivery.stored import (
    Answers,
    in_flight,
    landed,
    numbers,
    patient,
    producer_ids,
    send,
    send_at_once,
    values,
)
from tests.net.quick import PATIENCE, insides, turns, until


@pytest.mark.scenario(38)
@pytest.mark.parametrize("log_start_offset", [3, -1])
async def test_a_producer_that_was_forgotten_with_the_start_of_the_log_goes_on(
    cluster: FakeCluster, producer: Producer[Any, Any], log_start_offset: int
) -> None:
    """Java's producer compares the start of the log, where it is told, with what it knows to be stored.

    That makes no difference here: what is answered so is not stored, and a new epoch is right in
    each case.
    """
    await landed(send(producer, 2))
    cluster.delete_records("orders", 0, before=3)
    cluster.forget_producer()
    cluster.on(ApiKey.PRODUCE, times=2).answer(
        ErrorCode.UNKNOWN_PRODUCER_ID, log_start_offset=log_start_offset
    )
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, 2)

    first.release()

    assert await landed(deliveries) == [3, 4]
    assert values(cluster) == [b"0", b"1"]
    assert numbers(cluster) == [(1, 0), (1, 1)]


@pytest.mark.scenario(39)
async def test_after_the_highest_sequence_comes_0_on_the_wire_too(
    cluster: FakeCluster, producer: Producer[Any, Any]
) -> None:
    # As if two billion records had been sent.
    insides(producer).accumulator.topics["orders"].partitions[0].sequences.next = SEQUENCES - 2
    cluster.forget_producer()

    assert await landed(send(producer, 5)) == [1, 2, 3, 4, 5]

    assert numbers(cluster)[1:] == [(0, SEQUENCES - 2), (0, SEQUENCES - 1), (0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario(39)
async def test_after_the_last_epoch_comes_a_new_producer_id(
    cluster: FakeCluster, producer: Producer[Any, Any]
) -> None:
    # As if there had been 32766 gaps before.
    sequences = insides(producer)._sequences  # noqa: SLF001 - the counter
    assert sequences is not None
    sequences.producer_id.epoch = MAX_EPOCH - 1
    cluster.forget_producer()
    for _ in range(2):
        # The first is numbered anew in the last epoch, the second under another id.
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        await landed(send(producer, 2))

    assert numbers(cluster)[1:] == [(MAX_EPOCH, 0), (MAX_EPOCH, 1), (0, 0), (0, 1)]
    _, old, _, new, newest = producer_ids(cluster)
    assert old != new == newest


@pytest.mark.scenario(40)
async def test_while_a_partition_waits_for_its_new_epoch_others_go_on() -> None:
    async with FakeCluster(2, {"orders": 2}) as cluster, patient(cluster) as producer:
        for partition in (0, 1):
            await producer.send("orders", b"first", partition=partition)
        cluster.on(ApiKey.PRODUCE, partition=0).answer(ErrorCode.INVALID_RECORD)
        first = cluster.on(ApiKey.PRODUCE, partition=0).hold()
        second = cluster.on(ApiKey.PRODUCE, partition=0, skip=1).hold()
        refused, void = [producer.send("orders", value, partition=0) for value in (b"refused", b"void")]
        await until(lambda: in_flight(producer) == 2)
        first.release()
        with pytest.raises(InvalidRecordError):
            await asyncio.wait_for(refused, PATIENCE)

        # What was sent in the old epoch is not settled yet, so nothing new may go.
        late = producer.send("orders", b"late", partition=0)
        await second.hit()
        assert await landed([producer.send("orders", b"%d" % n, partition=1) for n in range(5)])
        await turns()
        assert (in_flight(producer), late.done()) == (1, False)

        second.release()
        assert await landed([void, late]) == [1, 2]
        await producer.send("orders", b"after", partition=1)
        assert numbers(cluster, 0) == [(0, 0), (1, 0), (1, 1)]
        # The other partition follows into the new epoch with its next batch.
        assert numbers(cluster, 1) == [*[(0, number) for number in range(6)], (1, 0)]


@pytest.mark.scenario(40)
async def test_what_another_partition_sent_before_a_new_epoch_is_sent_again_in_the_old_one() -> None:
    async with FakeCluster(2, {"orders": 2}) as cluster, patient(cluster) as producer:
        for partition in (0, 1):
            await producer.send("orders", b"first", partition=partition)
        cluster.on(ApiKey.PRODUCE, partition=1).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        held = cluster.on(ApiKey.PRODUCE, partition=1).hold()
        healthy = producer.send("orders", b"healthy", partition=1)
        await held.hit()
        cluster.on(ApiKey.PRODUCE, partition=0).answer(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        await landed([producer.send("orders", b"bumped", partition=0)])
        assert numbers(cluster, 0) == [(0, 0), (1, 0)]
        after = producer.send("orders", b"after", partition=1)

        held.release()

        assert await landed([healthy, after]) == [1, 2]
        assert numbers(cluster, 1) == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.scenario(38, 43)
@pytest.mark.parametrize("version", [KAFKA_2_1, KAFKA_4], ids=lambda version: version.name)
async def test_when_the_broker_has_forgotten_an_idle_producer_the_next_records_land(
    version: BrokerVersion,
) -> None:
    async with FakeCluster(topics={"orders": 1}, versions=version) as cluster, patient(cluster) as producer:
        await landed(send(producer, 3))
        cluster.forget_producer()
        answers = Answers(cluster)
        first = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = await send_at_once(producer, 3)

        first.release()

        assert await landed(deliveries) == [3, 4, 5]
        assert values(cluster) == [b"0", b"1", b"2"] * 2
        if version is KAFKA_2_1:
            assert answers.codes[:3] == [ErrorCode.UNKNOWN_PRODUCER_ID] * 3
            assert numbers(cluster)[3:] == [(1, 0), (1, 1), (1, 2)]
        else:
            assert answers.codes == [ErrorCode.NONE] * 3
            assert numbers(cluster)[3:] == [(0, 3), (0, 4), (0, 5)]
