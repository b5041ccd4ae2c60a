"""The send loop of one node: what it decides, and when it looks again."""

from __future__ import annotations

from aioproducer.core.batch import NEVER
from aioproducer.core.dispatch import CONNECT, WAIT_FOR_EVENT, Dispatch, Send, Wait
from aioproducer.core.queues import BLOCKED
from aioproducer.errors import ProducerError
from tests.core.harness import LEADER, MAX_REQUEST, DeliveryHarness


def new_dispatch(harness: DeliveryHarness, max_in_flight: int = 5) -> Dispatch:
    return Dispatch(
        harness.schedule.node(LEADER),
        harness.schedule,
        harness.ordering,
        harness.settlement,
        harness,
        max_in_flight=max_in_flight,
        max_request_size=MAX_REQUEST,
    )


def test_empty_node_waits_for_event() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)

    assert dispatch.decide(harness.now, harness.now) is WAIT_FOR_EVENT
    assert harness.schedule.node(LEADER).armed == NEVER


def test_due_batches_are_sent() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    harness.send_some(1, partition=0)
    harness.send_some(1, partition=1)

    decision = dispatch.decide(harness.now, harness.now)

    assert isinstance(decision, Send)
    assert [batch.queue.partition for batch in decision.batches] == [0, 1]
    assert dispatch.decide(harness.now, harness.now) is WAIT_FOR_EVENT


def test_batches_open_the_connection() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    assert dispatch.decide(harness.now, None) is WAIT_FOR_EVENT

    harness.send_some(1)

    assert dispatch.decide(harness.now, None) is CONNECT
    assert harness.schedule.node(LEADER).starved_since == harness.now


def test_throttle_delays_the_next_look() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    harness.send_some(1)

    assert dispatch.decide(harness.now, harness.now + 3) == Wait(harness.now + 3)
    assert dispatch.decide(harness.now, NEVER) == Wait(NEVER)
    assert harness.schedule.node(LEADER).armed == BLOCKED


def test_requests_in_flight_are_limited() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness, max_in_flight=1)
    harness.deliver()
    harness.send_some(2)
    assert isinstance(dispatch.decide(harness.now, harness.now), Send)
    dispatch.request_sent()

    assert dispatch.decide(harness.now, harness.now) is WAIT_FOR_EVENT
    dispatch.request_ended()

    harness.send_some(1, partition=1)
    assert isinstance(dispatch.decide(harness.now, harness.now), Send)


def test_compression_stops_later_requests() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    harness.send_some(1)
    dispatch.compression_started()

    assert dispatch.decide(harness.now, harness.now) is WAIT_FOR_EVENT
    dispatch.compression_ended()
    assert isinstance(dispatch.decide(harness.now, harness.now), Send)


def test_missing_producer_id_is_requested() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    harness.sequences.producer_id.drop()
    harness.send_some(1)

    dispatch.decide(harness.now, harness.now)

    assert "producer id" in harness.asked


def test_wake_returns_due_time() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    node = harness.schedule.node(LEADER)
    node.drained(harness.now + 5, took_batches=False)

    assert dispatch.wake(harness.now) == node.armed == harness.now + 5
    harness.schedule.flush_started()
    assert dispatch.wake(harness.now) == harness.now
    assert node.armed == BLOCKED


def test_closed_dispatch_leaves_node_alone() -> None:
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    dispatch.request_sent()
    dispatch.close()
    node = harness.schedule.node(LEADER)
    node.arm(7.0)

    dispatch.request_ended()

    assert node.armed == 7.0


def test_done_batch_is_not_assigned() -> None:
    """A batch that expired during compression goes back without a sequence."""
    harness = DeliveryHarness()
    dispatch = new_dispatch(harness)
    harness.send_some(1, partition=0)
    harness.send_some(1, partition=1)
    decision = dispatch.decide(harness.now, harness.now)
    assert isinstance(decision, Send)
    first, second = decision.batches
    first.result.fail(1, ProducerError("expired"))

    assert dispatch.assign(decision.batches, harness.now) == [second]
    assert not first.is_in_flight
