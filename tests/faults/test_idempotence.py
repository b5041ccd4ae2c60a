"""Once and in order, through every error that a broker gives: whole producers, a strict cluster."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from aioproducer import BrokerError, Delivery, DeliveryTimeoutError, InvalidRecordError, Producer
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster, Fault
from tests.faults.stored import (
    Answers,
    expire_the_oldest,
    figure,
    grow_old,
    landed,
    log_of,
    numbers,
    patient,
    send,
    send_at_once,
    values,
)
from tests.net.quick import PATIENCE, until
from tests.net.relay import Asked, Relay


async def lose(cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool) -> None:
    """Have a batch sent, its answer lost, and its time run out before it can be sent again."""
    stored = len(values(cluster)) + is_stored
    held = cluster.on(ApiKey.PRODUCE).hold(after_storing=is_stored)
    delivery = producer.send("orders", b"lost")
    await held.hit()
    await until(lambda: len(values(cluster)) == stored)
    await lose_the_node(cluster, producer)
    grow_old(producer)
    with pytest.raises(DeliveryTimeoutError) as expired:
        await asyncio.wait_for(delivery, PATIENCE)
    assert expired.value.may_be_written
    await cluster.start_node(1)


async def lose_the_node(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    """Stop the only node, and see the producer notice."""
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
async def test_when_the_first_of_five_fails_all_land_in_order_and_once(
    cluster: FakeCluster, producer: Producer[Any, Any], fail: Callable[[Any], Fault], retries: int
) -> None:
    first = cluster.on(ApiKey.PRODUCE).hold()
    fail(cluster.on(ApiKey.PRODUCE))
    deliveries = await send_at_once(producer, 5)

    first.release()

    assert await landed(deliveries) == [1, 2, 3, 4, 5]
    assert values(cluster) == [b"first", b"0", b"1", b"2", b"3", b"4"]
    assert numbers(cluster) == [(0, number) for number in range(6)]
    assert figure(producer, "record-retry-total") == retries


@pytest.mark.scenario("first-of-five-fails")
@pytest.mark.parametrize("position", [0, 2])
async def test_what_follows_a_refused_batch_lands_under_a_new_epoch(
    cluster: FakeCluster, producer: Producer[Any, Any], position: int
) -> None:
    first = cluster.on(ApiKey.PRODUCE).hold()
    cluster.on(ApiKey.PRODUCE, skip=position).answer(ErrorCode.INVALID_RECORD)
    deliveries = await send_at_once(producer, 5)

    first.release()

    with pytest.raises(InvalidRecordError) as refused:
        await asyncio.wait_for(deliveries.pop(position), PATIENCE)
    assert not refused.value.may_be_written
    assert await landed(deliveries) == [1, 2, 3, 4]
    assert figure(producer, "record-retry-total") == 4 - position
    assert await landed([producer.send("orders", b"later")]) == [5]
    survivors = [b"0", b"1", b"2", b"3", b"4"]
    del survivors[position]
    assert values(cluster) == [b"first", *survivors, b"later"]
    before = [(0, number) for number in range(position + 1)]
    assert numbers(cluster) == before + [(1, number) for number in range(5 - position)]


@pytest.mark.scenario("first-of-five-fails")
async def test_the_number_of_a_refused_batch_that_nothing_follows_goes_to_the_next(
    cluster: FakeCluster, producer: Producer[Any, Any]
) -> None:
    """Java's producer begins a new epoch here too, which is not needed: the broker sees no gap."""
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
    with pytest.raises(InvalidRecordError):
        await producer.send("orders", b"refused")

    assert await landed(send(producer, 2)) == [1, 2]

    assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario("next-out-of-order")
@pytest.mark.parametrize("count", [1, 5])
async def test_when_the_very_next_batch_is_out_of_order_the_partition_begins_a_new_epoch(
    cluster: FakeCluster, producer: Producer[Any, Any], count: int
) -> None:
    await producer.send("orders", b"second")
    # As after the election of a leader that had not got the second.
    (state,) = log_of(cluster).producers.values()
    state.batches.pop()
    answers = Answers(cluster)
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, count)

    first.release()

    assert await landed(deliveries) == [2 + number for number in range(count)]
    out_of_order = [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER] * count
    assert answers.codes == [*out_of_order, *[ErrorCode.NONE] * count]
    assert values(cluster) == [b"first", b"second", *[b"%d" % number for number in range(count)]]
    assert numbers(cluster) == [(0, 0), (0, 1), *[(1, number) for number in range(count)]]


@pytest.mark.scenario("later-out-of-order")
async def test_a_later_batch_that_is_out_of_order_is_sent_again_as_it_is(
    cluster: FakeCluster, producer: Producer[Any, Any]
) -> None:
    answers = Answers(cluster)
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, 2)

    first.release()

    assert await landed(deliveries) == [1, 2]
    assert answers.codes == [
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.NONE,
        ErrorCode.NONE,
    ]
    assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario("later-out-of-order", "duplicate")
async def test_a_later_batch_may_be_acknowledged_before_the_one_that_is_in_the_log_before_it(
    cluster: FakeCluster, producer: Producer[Any, Any]
) -> None:
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.REQUEST_TIMED_OUT, after_storing=True)
    finished: list[str] = []
    first = cluster.on(ApiKey.PRODUCE).hold()
    deliveries = await send_at_once(producer, 2)
    for name, delivery in zip(("older", "younger"), deliveries, strict=True):
        delivery.add_done_callback(partial(_note, finished, name))

    first.release()

    assert await landed(deliveries) == [1, 2]
    await until(lambda: finished == ["younger", "older"])
    assert values(cluster) == [b"first", b"0", b"1"]


def _note(finished: list[str], name: str, _delivery: Delivery) -> None:
    finished.append(name)


@pytest.mark.scenario("duplicate")
async def test_a_duplicate_has_the_offset_of_the_first_copy(
    cluster: FakeCluster, producer: Producer[Any, Any]
) -> None:
    lost = cluster.on(ApiKey.PRODUCE).disconnect(after_storing=True)

    assert await landed([producer.send("orders", b"0")]) == [1]

    assert lost.hits == 1
    assert figure(producer, "record-retry-total") == 1
    assert await landed([producer.send("orders", b"1")]) == [2]
    assert values(cluster) == [b"first", b"0", b"1"]


@pytest.mark.scenario("duplicate")
async def test_a_duplicate_whose_place_the_broker_has_forgotten_is_a_success_without_offset(
    cluster: FakeCluster, producer: Producer[Any, Any]
) -> None:
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.DUPLICATE_SEQUENCE_NUMBER, after_storing=True)

    assert await landed([producer.send("orders", b"0")]) == [-1]

    assert await landed([producer.send("orders", b"1")]) == [2]
    assert figure(producer, "record-error-total") == figure(producer, "record-retry-total") == 0
    assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.scenario("duplicate")
async def test_what_follows_the_first_of_all_when_that_is_in_doubt_does_not_pass_for_its_duplicate(
    cluster: FakeCluster,
) -> None:
    async with patient(cluster) as producer:
        await lose(cluster, producer, is_stored=True)

        assert await landed([producer.send("orders", b"next")]) == [1]

    assert values(cluster) == [b"lost", b"next"]
    assert numbers(cluster) == [(0, 0), (1, 0)]


@pytest.mark.scenario("response-lost")
async def test_when_the_answers_to_five_stored_batches_are_lost_nothing_is_twice_in_the_log(
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

        assert await landed(deliveries) == [1, 2, 3, 4, 5]
        assert figure(producer, "record-retry-total") == 5
    assert values(cluster) == [b"first", b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.scenario("sequence-gap")
async def test_what_expires_unsent_leaves_no_gap(cluster: FakeCluster, producer: Producer[Any, Any]) -> None:
    await lose_the_node(cluster, producer)
    unsent = send(producer, 3)
    grow_old(producer)
    for delivery in unsent:
        with pytest.raises(DeliveryTimeoutError, match="no attempt was made") as expired:
            await asyncio.wait_for(delivery, PATIENCE)
        assert not expired.value.may_be_written
    await cluster.start_node(1)

    assert await landed([producer.send("orders", b"next")]) == [1]

    assert values(cluster) == [b"first", b"next"]
    assert numbers(cluster) == [(0, 0), (0, 1)]


@pytest.mark.scenario("sequence-gap", "first-batch-expires")
@pytest.mark.parametrize("is_stored", [True, False])
async def test_after_a_batch_of_unknown_fate_the_next_one_finds_out_what_became_of_it(
    cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool
) -> None:
    """Java's producer holds the partition back until nothing is in flight, and then always bumps.

    Here the next batch goes out at once under the next number: if the broker takes it, the
    expired one is in the log, and if the broker calls it out of order, it is not.
    """
    await lose(cluster, producer, is_stored=is_stored)
    answers = Answers(cluster)

    offsets = await landed([producer.send("orders", b"next")])

    if is_stored:
        assert answers.codes == [ErrorCode.NONE]
        assert (values(cluster), offsets) == ([b"first", b"lost", b"next"], [2])
        assert numbers(cluster) == [(0, 0), (0, 1), (0, 2)]
    else:
        assert answers.codes == [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode.NONE]
        assert (values(cluster), offsets) == ([b"first", b"next"], [1])
        assert numbers(cluster) == [(0, 0), (1, 0)]


@pytest.mark.scenario("first-batch-expires")
@pytest.mark.parametrize("is_stored", [True, False])
async def test_when_the_first_of_two_in_flight_expires_the_second_begins_a_new_epoch_if_it_has_to(
    cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool
) -> None:
    held = cluster.on(ApiKey.PRODUCE).hold()
    if not is_stored:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
    older, younger = await send_at_once(producer, 2)
    await expire_the_oldest(producer, older)
    assert not younger.done()

    held.release()
    offsets = await landed([younger]) + await landed([producer.send("orders", b"next")])

    if is_stored:
        assert (values(cluster), offsets) == ([b"first", b"0", b"1", b"next"], [2, 3])
        assert numbers(cluster) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    else:
        assert (values(cluster), offsets) == ([b"first", b"1", b"next"], [1, 2])
        assert numbers(cluster) == [(0, 0), (1, 0), (1, 1)]
    assert figure(producer, "record-retry-total") == (0 if is_stored else 1)


@pytest.mark.scenario("first-batch-expires")
@pytest.mark.parametrize("is_stored", [True, False])
async def test_when_the_first_of_two_expires_and_the_answers_to_both_are_lost_nothing_is_stored_twice(
    cluster: FakeCluster, producer: Producer[Any, Any], *, is_stored: bool
) -> None:
    """Java's producer numbers the second anew when it is out of order, though it may be in the log.

    A broker that was restarted remembers the last batch of a producer alone, and a request whose
    connection was lost may still be on its way. So the second fails here, and says that it is in
    doubt; what comes after it begins the new epoch.
    """
    held = cluster.on(ApiKey.PRODUCE).hold(after_storing=is_stored)
    older, younger = await send_at_once(producer, 2)
    await held.hit()
    await expire_the_oldest(producer, older)

    cluster.drop_connections()

    if is_stored:
        assert await landed([younger]) == [2]
    else:
        with pytest.raises(BrokerError, match="is not known") as in_doubt:
            await asyncio.wait_for(younger, PATIENCE)
        assert in_doubt.value.may_be_written
    await landed([producer.send("orders", b"next")])
    assert values(cluster) == [b"first", *([b"0", b"1"] if is_stored else []), b"next"]
    assert numbers(cluster)[-1] == ((0, 3) if is_stored else (1, 0))
