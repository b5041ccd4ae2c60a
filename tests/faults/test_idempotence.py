"""Records are stored once and in order through every broker error: whole producers, a strict cluster."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from aioproducer import BrokerError, Delivery, DeliveryTimeoutError, InvalidRecordError, Producer
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster, Fault
from tests.faults.stored import (
    ResponseCodes,
    age_batches,
    expire_oldest,
    figure,
    log_of,
    numbers,
    offsets_of,
    patient,
    send,
    send_at_once,
    values,
)
from tests.net.quick import PATIENCE, until
from tests.net.relay import Asked, Relay


async def expire_in_doubt(cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool) -> None:
    """Send a batch, lose its response, and let it expire before a retry."""
    stored = len(values(cluster)) + is_stored
    held = cluster.on(ApiKey.PRODUCE).hold(after_storing=is_stored)
    delivery = producer.send("orders", b"lost")
    await held.hit()
    await until(lambda: len(values(cluster)) == stored)
    await stop_the_node(cluster, producer)
    age_batches(producer)
    with pytest.raises(DeliveryTimeoutError) as expired:
        await asyncio.wait_for(delivery, PATIENCE)
    assert expired.value.may_be_written
    await cluster.start_node(1)


async def stop_the_node(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    """Stop the only node, and wait until the producer notices."""
    await cluster.stop_node(1)
    await until(lambda: not figure(producer, "connection-count"))


@pytest.mark.scenario("first-of-five-retried")
@pytest.mark.parametrize(
    ("fail", "retries"),
    [
        pytest.param(lambda on: on.answer(ErrorCode.NOT_ENOUGH_REPLICAS), 5, id="refused"),
        pytest.param(
            lambda on: on.answer(ErrorCode.REQUEST_TIMED_OUT, after_storing=True), 1, id="stored, and refused"
        ),
        pytest.param(lambda on: on.disconnect(), 5, id="lost"),
        pytest.param(lambda on: on.disconnect(after_storing=True), 5, id="stored, and lost"),
    ],
)
async def test_first_of_five_is_retried(
    cluster: FakeCluster, producer: Producer[Any, Any], fail: Callable[[Any], Fault], retries: int
) -> None:
    """Five batches are in flight and the first fails: all are stored once, in order."""
    first = cluster.on(ApiKey.PRODUCE).hold()
    fail(cluster.on(ApiKey.PRODUCE))
    deliveries = await send_at_once(producer, 5)

    first.release()

    assert await offsets_of(deliveries) == [1, 2, 3, 4, 5]
    assert values(cluster) == [b"first", b"0", b"1", b"2", b"3", b"4"]
    assert numbers(cluster) == [(0, number) for number in range(6)]
    assert figure(producer, "record-retry-total") == retries


@pytest.mark.scenario("first-of-five-fails")
@pytest.mark.parametrize("position", [0, 2])
async def test_batches_after_refusal_get_new_epoch(
    cluster: FakeCluster, producer: Producer[Any, Any], position: int
) -> None:
    """One of five batches in flight is refused: the later ones are stored under a new epoch."""
    first = cluster.on(ApiKey.PRODUCE).hold()
    cluster.on(ApiKey.PRODUCE, skip=position).answer(ErrorCode.INVALID_RECORD)
    deliveries = await send_at_once(producer, 5)

    first.release()

    with pytest.raises(InvalidRecordError) as refused:
        await asyncio.wait_for(deliveries.pop(position), PATIENCE)
    assert not refused.value.may_be_written
    assert await offsets_of(deliveries) == [1, 2, 3, 4]
    assert figure(producer, "record-retry-total") == 4 - position
    assert await offsets_of([producer.send("orders", b"later")]) == [5]
    survivors = [b"0", b"1", b"2", b"3", b"4"]
    del survivors[position]
    assert values(cluster) == [b"first", *survivors, b"later"]
    before = [(0, number) for number in range(position + 1)]
    assert numbers(cluster) == before + [(1, number) for number in range(5 - position)]


@pytest.mark.scenario("first-of-five-fails")
async def test_refused_sequence_is_reused(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    """Java's producer bumps the epoch here too. That is not needed: the broker sees no gap."""
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
    with pytest.raises(InvalidRecordError):
        await producer.send("orders", b"refused")

    assert await offsets_of(send(producer, 2)) == [1, 2]

    assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario("next-out-of-order")
@pytest.mark.parametrize("count", [1, 5])
async def test_next_batch_out_of_order(
    cluster: FakeCluster, producer: Producer[Any, Any], count: int
) -> None:
    """The first unacknowledged batch is out of order: the partition starts a new epoch."""
    await producer.send("orders", b"second")
    # The same happens after the election of a leader that lacks the second batch.
    (state,) = log_of(cluster).producers.values()
    state.batches.pop()
    responses = ResponseCodes(cluster)
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, count)

    first.release()

    assert await offsets_of(deliveries) == [2 + number for number in range(count)]
    out_of_order = [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER] * count
    assert responses.codes == [*out_of_order, *[ErrorCode.NONE] * count]
    assert values(cluster) == [b"first", b"second", *[b"%d" % number for number in range(count)]]
    assert numbers(cluster) == [(0, 0), (0, 1), *[(1, number) for number in range(count)]]


@pytest.mark.scenario("later-out-of-order")
async def test_later_batch_out_of_order(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    """A later batch is out of order: it is retried with the same sequence."""
    responses = ResponseCodes(cluster)
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, 2)

    first.release()

    assert await offsets_of(deliveries) == [1, 2]
    assert responses.codes == [
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.NONE,
        ErrorCode.NONE,
    ]
    assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario("later-out-of-order", "duplicate")
async def test_later_batch_is_acknowledged_first(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    """The older batch is stored but its response is an error: the younger one is acknowledged first."""
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.REQUEST_TIMED_OUT, after_storing=True)
    finished: list[str] = []
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, 2)
    for name, delivery in zip(("older", "younger"), deliveries, strict=True):
        delivery.add_done_callback(partial(_note, finished, name))

    first.release()

    assert await offsets_of(deliveries) == [1, 2]
    await until(lambda: finished == ["younger", "older"])
    assert values(cluster) == [b"first", b"0", b"1"]


def _note(finished: list[str], name: str, _delivery: Delivery) -> None:
    finished.append(name)


@pytest.mark.scenario("duplicate")
async def test_duplicate_has_first_offset(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    lost = cluster.on(ApiKey.PRODUCE).disconnect(after_storing=True)

    assert await offsets_of([producer.send("orders", b"0")]) == [1]

    assert lost.hits == 1
    assert figure(producer, "record-retry-total") == 1
    assert await offsets_of([producer.send("orders", b"1")]) == [2]
    assert values(cluster) == [b"first", b"0", b"1"]


@pytest.mark.scenario("duplicate")
async def test_duplicate_without_known_offset(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    """The broker no longer knows the duplicate's offset: success with offset -1."""
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.DUPLICATE_SEQUENCE_NUMBER, after_storing=True)

    assert await offsets_of([producer.send("orders", b"0")]) == [-1]

    assert await offsets_of([producer.send("orders", b"1")]) == [2]
    assert figure(producer, "record-error-total") == figure(producer, "record-retry-total") == 0
    assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario("duplicate")
async def test_second_batch_is_not_taken_for_duplicate(
    cluster: FakeCluster,
) -> None:
    """The very first batch expires in doubt.

    The next one starts a new epoch: with the same sequence the broker would take it for the
    duplicate of the first and drop it.
    """
    async with patient(cluster) as producer:
        await expire_in_doubt(cluster, producer, is_stored=True)

        assert await offsets_of([producer.send("orders", b"next")]) == [1]

    assert values(cluster) == [b"lost", b"next"]
    assert numbers(cluster) == [(0, 0), (1, 0)]


@pytest.mark.scenario("response-lost")
async def test_lost_responses_store_nothing_twice(
    cluster: FakeCluster,
) -> None:
    async with Relay(cluster) as relay, patient(cluster) as producer:
        await producer.send("orders", b"first")
        lost: list[Asked] = []

        def lose(asked: Asked, frame: bytes) -> list[bytes] | None:
            if asked.api is not ApiKey.PRODUCE or lost:
                return [frame]
            lost.append(asked)
            return None

        first = cluster.on(ApiKey.PRODUCE).hold()
        relay.on_answer = lose
        deliveries = send(producer, 5)
        await until(lambda: len(relay.asked(ApiKey.PRODUCE)) == 6)
        first.release()
        await until(lambda: len(values(cluster)) == 6)

        assert await offsets_of(deliveries) == [1, 2, 3, 4, 5]
        assert figure(producer, "record-retry-total") == 5
    assert values(cluster) == [b"first", b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.scenario("sequence-gap")
async def test_unsent_expiry_leaves_no_gap(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    await stop_the_node(cluster, producer)
    unsent = send(producer, 3)
    age_batches(producer)
    for delivery in unsent:
        with pytest.raises(DeliveryTimeoutError, match="no attempt was made") as expired:
            await asyncio.wait_for(delivery, PATIENCE)
        assert not expired.value.may_be_written
    await cluster.start_node(1)

    assert await offsets_of([producer.send("orders", b"next")]) == [1]

    assert values(cluster) == [b"first", b"next"]
    assert numbers(cluster) == [(0, 0), (0, 1)]


@pytest.mark.scenario("sequence-gap", "first-batch-expires")
@pytest.mark.parametrize("is_stored", [True, False])
async def test_next_batch_resolves_doubt(
    cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool
) -> None:
    """Java's producer holds the partition back until nothing is in flight, and then always bumps.

    Here the next batch is sent at once under the next sequence. If the broker accepts it, the
    expired batch is in the log; if it is out of order, the expired batch is not.
    """
    await expire_in_doubt(cluster, producer, is_stored=is_stored)
    responses = ResponseCodes(cluster)

    offsets = await offsets_of([producer.send("orders", b"next")])

    if is_stored:
        assert responses.codes == [ErrorCode.NONE]
        assert (values(cluster), offsets) == ([b"first", b"lost", b"next"], [2])
        assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]
    else:
        assert responses.codes == [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.NONE]
        assert (values(cluster), offsets) == ([b"first", b"next"], [1])
        assert numbers(cluster) == [(0, 0), (1, 0)]


@pytest.mark.scenario("first-batch-expires")
@pytest.mark.parametrize("is_stored", [True, False])
async def test_second_batch_bumps_when_needed(
    cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool
) -> None:
    """The first of two batches in flight expires: the second bumps the epoch only if the first is missing."""
    held = cluster.on(ApiKey.PRODUCE).hold()
    if not is_stored:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
    older, younger = await send_at_once(producer, 2)
    await expire_oldest(producer, older)
    assert not younger.done()

    held.release()
    offsets = await offsets_of([younger]) + await offsets_of([producer.send("orders", b"next")])

    if is_stored:
        assert (values(cluster), offsets) == ([b"first", b"0", b"1", b"next"], [2, 3])
        assert numbers(cluster) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    else:
        assert (values(cluster), offsets) == ([b"first", b"1", b"next"], [1, 2])
        assert numbers(cluster) == [(0, 0), (1, 0), (1, 1)]
    assert figure(producer, "record-retry-total") == (0 if is_stored else 1)


@pytest.mark.scenario("first-batch-expires")
@pytest.mark.parametrize("is_stored", [True, False])
async def test_lost_responses_after_expiry(
    cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool
) -> None:
    """The first of two batches expires, then the responses to both are lost.

    Java's producer gives the second batch a new sequence when it is out of order, though it may
    be in the log: a restarted broker remembers only the last batch of a producer, and a request
    of a lost connection may still arrive. So the second batch fails here, with `may_be_written`;
    later batches start the new epoch.
    """
    held = cluster.on(ApiKey.PRODUCE).hold(after_storing=is_stored)
    older, younger = await send_at_once(producer, 2)
    await held.hit()
    await expire_oldest(producer, older)

    cluster.drop_connections()

    if is_stored:
        assert await offsets_of([younger]) == [2]
    else:
        with pytest.raises(BrokerError, match="is not known") as in_doubt:
            await asyncio.wait_for(younger, PATIENCE)
        assert in_doubt.value.may_be_written
    await offsets_of([producer.send("orders", b"next")])
    assert values(cluster) == [b"first", *([b"0", b"1"] if is_stored else []), b"next"]
    assert numbers(cluster)[-1] == ((0, 3) if is_stored else (1, 0))
