"""Producer ids and epochs expire, run out or change: whole producers, a strict cluster."""

import asyncio
from typing import Any

import pytest

from aioproducer import InvalidRecordError, Producer
from aioproducer.core.idempotence import MAX_EPOCH, SEQUENCES
from aioproducer.testing import KAFKA_2_1, KAFKA_4, ApiKey, BrokerVersion, ErrorCode, FakeCluster
from tests.faults.stored import (
    ResponseCodes,
    in_flight,
    numbers,
    offsets_of,
    patient,
    producer_ids,
    send,
    send_at_once,
    values,
)
from tests.net.quick import PATIENCE, insides, turns, until


@pytest.mark.scenario("unknown-producer-id")
@pytest.mark.parametrize("log_start_offset", [3, -1])
async def test_unknown_producer_id_bumps_epoch(
    cluster: FakeCluster, producer: Producer[Any, Any], log_start_offset: int
) -> None:
    """Java's producer compares the log start offset of the response with the stored offsets.

    That makes no difference here: the batch is not stored, and a new epoch is right in each case.
    """
    await offsets_of(send(producer, 2))
    cluster.delete_records("orders", 0, before=3)
    cluster.forget_producer()
    cluster.on(ApiKey.PRODUCE, times=2).answer(
        ErrorCode.UNKNOWN_PRODUCER_ID, log_start_offset=log_start_offset
    )
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, 2)

    first.release()

    assert await offsets_of(deliveries) == [3, 4]
    assert values(cluster) == [b"0", b"1"]
    assert numbers(cluster) == [(1, 0), (1, 1)]


@pytest.mark.scenario("sequence-wrap")
async def test_sequence_wraps_to_zero(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    # As if two billion records had been sent.
    insides(producer).accumulator.topics["orders"].partitions[0].next_sequence = SEQUENCES - 2
    cluster.forget_producer()

    assert await offsets_of(send(producer, 5)) == [1, 2, 3, 4, 5]

    assert numbers(cluster)[1:] == [(0, SEQUENCES - 2), (0, SEQUENCES - 1), (0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario("sequence-wrap")
async def test_last_epoch_gets_new_id(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    # As if there had been 32766 gaps before.
    sequencer = insides(producer)._sequencer  # noqa: SLF001 - the counter
    assert sequencer is not None
    sequencer.producer_epoch = MAX_EPOCH - 1
    cluster.forget_producer()
    for _ in range(2):
        # The first batches get new sequences in the last epoch, the second ones a new id.
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        await offsets_of(send(producer, 2))

    assert numbers(cluster)[1:] == [(MAX_EPOCH, 0), (MAX_EPOCH, 1), (0, 0), (0, 1)]
    _, old, _, new, newest = producer_ids(cluster)
    assert old != new == newest


@pytest.mark.scenario("epoch-bump-isolated")
async def test_epoch_bump_delays_no_other_partition() -> None:
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

        # A batch of the old epoch is still in flight, so the partition sends nothing new.
        late = producer.send("orders", b"late", partition=0)
        await second.hit()
        assert await offsets_of([producer.send("orders", b"%d" % n, partition=1) for n in range(5)])
        await turns()
        assert (in_flight(producer), late.done()) == (1, False)

        second.release()
        assert await offsets_of([void, late]) == [1, 2]
        await producer.send("orders", b"after", partition=1)
        assert numbers(cluster, 0) == [(0, 0), (1, 0), (1, 1)]
        # The other partition follows into the new epoch with its next batch.
        assert numbers(cluster, 1) == [*[(0, number) for number in range(6)], (1, 0)]


@pytest.mark.scenario("epoch-bump-isolated")
async def test_retry_keeps_old_epoch() -> None:
    """A batch sent before the bump of another partition is retried in its old epoch."""
    async with FakeCluster(2, {"orders": 2}) as cluster, patient(cluster) as producer:
        for partition in (0, 1):
            await producer.send("orders", b"first", partition=partition)
        cluster.on(ApiKey.PRODUCE, partition=1).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        held = cluster.on(ApiKey.PRODUCE, partition=1).hold()
        healthy = producer.send("orders", b"healthy", partition=1)
        await held.hit()
        cluster.on(ApiKey.PRODUCE, partition=0).answer(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        await offsets_of([producer.send("orders", b"bumped", partition=0)])
        assert numbers(cluster, 0) == [(0, 0), (1, 0)]
        after = producer.send("orders", b"after", partition=1)

        held.release()

        assert await offsets_of([healthy, after]) == [1, 2]
        assert numbers(cluster, 1) == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.scenario("unknown-producer-id", "producer-id-expired")
@pytest.mark.parametrize("version", [KAFKA_2_1, KAFKA_4], ids=lambda version: version.name)
async def test_expired_producer_id_recovers(
    version: BrokerVersion,
) -> None:
    async with FakeCluster(topics={"orders": 1}, versions=version) as cluster, patient(cluster) as producer:
        await offsets_of(send(producer, 3))
        cluster.forget_producer()
        responses = ResponseCodes(cluster)
        first = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = await send_at_once(producer, 3)

        first.release()

        assert await offsets_of(deliveries) == [3, 4, 5]
        assert values(cluster) == [b"0", b"1", b"2"] * 2
        if version is KAFKA_2_1:
            assert responses.codes[:3] == [ErrorCode.UNKNOWN_PRODUCER_ID] * 3
            assert numbers(cluster)[3:] == [(1, 0), (1, 1), (1, 2)]
        else:
            assert responses.codes == [ErrorCode.NONE] * 3
            assert numbers(cluster)[3:] == [(0, 3), (0, 4), (0, 5)]
