"""A Delivery gives the result of a record to any number of tasks."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import sys
import warnings
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

import pytest

import aioproducer
from aioproducer import (
    BatchRefusedError,
    BrokerError,
    ErrorCode,
    InvalidRecordError,
    ProducerError,
    RecordMetadata,
    WrongLoopError,
)
from aioproducer.batch_result import WAITERS_A_SLICE, BatchResult
from aioproducer.delivery import new_delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.delivery import Delivery

NOW = 1_700_000_000_000
PATIENCE = 30.0


def new_result(partition: int = 3) -> BatchResult:
    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    return BatchResult("orders", partition, loop)


def new_batch(count: int) -> tuple[BatchResult, list[Delivery]]:
    """Make a batch's result and the deliveries of its records, one millisecond apart."""
    result = new_result()
    return result, [new_delivery(result, index, NOW + index) for index in range(count)]


def refusal() -> BrokerError:
    return BrokerError.of(ErrorCode.TOPIC_AUTHORIZATION_FAILED, "2 records for orders-3")


async def turn() -> None:
    """Let the event loop run all scheduled callbacks."""
    for _ in range(3):
        await asyncio.sleep(0)


async def waited(delivery: Delivery) -> RecordMetadata:
    return await delivery


# Awaiting.


async def test_await_before_and_after_delivery() -> None:
    result, (first, second) = new_batch(2)
    task = asyncio.create_task(waited(second))
    await turn()

    result.resolve(2, 40, -1)

    async with asyncio.timeout(PATIENCE):
        assert await task == RecordMetadata("orders", 3, 41, NOW + 1)
    assert await second == RecordMetadata("orders", 3, 41, NOW + 1)
    assert await second == await second
    assert await first == RecordMetadata("orders", 3, 40, NOW)


async def test_await_when_done_does_not_yield() -> None:
    result, (delivery,) = new_batch(1)
    result.resolve(1, 0, -1)
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)

    await delivery

    assert not turns


async def test_many_tasks_await_one_delivery() -> None:
    result, (delivery,) = new_batch(1)
    tasks = [asyncio.create_task(waited(delivery)) for _ in range(5)]
    await turn()

    result.resolve(1, 7, -1)

    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*tasks) == [RecordMetadata("orders", 3, 7, NOW)] * 5


@pytest.mark.scenario("cancelled-awaiter")
async def test_cancelled_task_leaves_record_and_others() -> None:
    result, (delivery,) = new_batch(1)
    gone, stays = (asyncio.create_task(waited(delivery)) for _ in range(2))
    await turn()

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not delivery.done()
    result.resolve(1, 7, -1)

    async with asyncio.timeout(PATIENCE):
        assert (await stays).offset == 7
    assert (await delivery).offset == 7


async def test_await_again_after_timeout() -> None:
    result, (delivery,) = new_batch(1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waited(delivery), 0)

    result.resolve(1, 7, -1)

    assert (await asyncio.wait_for(waited(delivery), PATIENCE)).offset == 7


async def test_cancelled_futures_are_dropped() -> None:
    result, (delivery,) = new_batch(1)
    patient = delivery.future()

    for _ in range(10 * WAITERS_A_SLICE):
        delivery.future().cancel()

    assert len(result.waiters or ()) < 3 * WAITERS_A_SLICE
    result.resolve(1, 7, -1)
    assert patient.result().offset == 7


async def test_waiters_resolve_in_slices() -> None:
    count = 2 * WAITERS_A_SLICE + 5
    result, deliveries = new_batch(count)
    futures = [delivery.future() for delivery in deliveries]

    result.resolve(count, 100, -1)

    assert sum(future.done() for future in futures) == WAITERS_A_SLICE
    async with asyncio.timeout(PATIENCE):
        offsets = [(await future).offset for future in futures]
    assert offsets == list(range(100, 100 + count))


# Futures.


async def test_future_works_in_gather_and_wait() -> None:
    result, deliveries = new_batch(3)
    futures = [delivery.future() for delivery in deliveries]
    assert all(isinstance(future, asyncio.Future) for future in futures)
    assert futures[0] is not deliveries[0].future()

    asyncio.get_running_loop().call_soon(result.resolve, 3, 10, -1)

    async with asyncio.timeout(PATIENCE):
        done, pending = await asyncio.wait(futures)
        assert [metadata.offset for metadata in await asyncio.gather(*futures)] == [10, 11, 12]
    assert (len(done), len(pending)) == (3, 0)


async def test_gather_takes_deliveries() -> None:
    result, deliveries = new_batch(3)
    asyncio.get_running_loop().call_soon(result.resolve, 3, 10, -1)

    async with asyncio.timeout(PATIENCE):
        gathered = await asyncio.gather(*deliveries)

    assert [metadata.offset for metadata in gathered] == [10, 11, 12]


# As a coroutine.


async def test_create_task_takes_a_delivery() -> None:
    result, deliveries = new_batch(4)
    tasks = [asyncio.create_task(delivery) for delivery in deliveries[:2]]
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks += [group.create_task(delivery) for delivery in deliveries[1:3]]
        await turn()
        result.resolve(4, 10, -1)
        tasks.append(group.create_task(deliveries[3]))
    assert [(await task).offset for task in tasks] == [10, 11, 11, 12, 13]
    assert [delivery.result().offset for delivery in deliveries] == [10, 11, 12, 13]


async def test_asyncio_functions_take_a_delivery() -> None:
    result, (delivery,) = new_batch(1)
    assert asyncio.iscoroutine(delivery)
    asyncio.get_running_loop().call_soon(result.resolve, 1, 7, -1)
    async with asyncio.timeout(PATIENCE):
        for waiting in (
            asyncio.ensure_future(delivery),
            asyncio.shield(delivery),
            asyncio.wait_for(delivery, PATIENCE),
            asyncio.gather(delivery, delivery),
            next(iter(asyncio.as_completed([delivery]))),
            asyncio.to_thread(asyncio.run_coroutine_threadsafe, delivery, asyncio.get_running_loop()),
        ):
            await waiting
    with pytest.raises(TypeError, match="coroutines is forbidden"):
        await asyncio.wait([delivery])  # type: ignore[type-var]


async def test_each_task_has_its_own_error() -> None:
    result, (delivery,) = new_batch(1)
    before = [asyncio.create_task(delivery) for _ in range(2)]
    await turn()
    result.fail(1, refusal())
    after = asyncio.create_task(delivery)
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([*before, after])
    errors = [task.exception() for task in (*before, after)]
    assert [type(error) for error in errors] == [type(refusal())] * 3
    assert len({id(error) for error in errors}) == 3


async def test_cancelled_task_leaves_record() -> None:
    result, (delivery,) = new_batch(1)
    tasks = [asyncio.create_task(delivery) for _ in range(3)]
    tasks[0].cancel()  # before its first step
    await turn()
    tasks[1].cancel()
    await turn()
    assert [task.cancelled() for task in tasks] == [True, True, False]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(delivery, 0.001)

    result.resolve(1, 7, -1)

    assert (await asyncio.wait_for(tasks[2], PATIENCE)).offset == 7


async def test_task_follows_a_split() -> None:
    result, (first, second) = new_batch(2)
    tasks = [asyncio.create_task(delivery) for delivery in (first, second)]
    await turn()
    pieces = [new_result(), new_result()]
    result.split([(0, pieces[0]), (1, pieces[1])])
    await turn()
    pieces[1].resolve(1, 7, -1)
    assert (await asyncio.wait_for(tasks[1], PATIENCE)).offset == 7
    assert not tasks[0].done()
    pieces[0].resolve(1, 3, -1)
    assert (await asyncio.wait_for(tasks[0], PATIENCE)).offset == 3


async def test_unawaited_delivery_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, (delivery,) = new_batch(1)
        delivery.close()
        assert not delivery.done()
        del delivery
        gc.collect()


async def test_throw_raises_the_exception() -> None:
    _, (delivery,) = new_batch(1)
    error = ZeroDivisionError()
    for arguments in (
        (error,),
        (ZeroDivisionError,),
        (ZeroDivisionError, error),
        (ZeroDivisionError, None, None),
    ):
        with pytest.raises(ZeroDivisionError):
            delivery.throw(*arguments)
    assert not delivery.done()


async def test_eager_task_of_done_delivery() -> None:
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    result, (delivery,) = new_batch(1)
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop passes an argument that the eager factory of Python 3.13.0 does not take")
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        waiting = asyncio.create_task(delivery)
        result.resolve(1, 7, -1)
        assert asyncio.create_task(delivery).result().offset == 7
        assert (await asyncio.wait_for(waiting, PATIENCE)).offset == 7
    finally:
        loop.set_task_factory(None)


async def test_future_of_done_delivery() -> None:
    result, (delivery,) = new_batch(1)
    result.resolve(1, 7, -1)
    assert delivery.future().result().offset == 7

    failed, (other,) = new_batch(1)
    failed.fail(1, refusal())
    assert isinstance(other.future().exception(), BrokerError)


async def test_cancelled_future_leaves_record_and_others() -> None:
    result, (delivery,) = new_batch(1)
    gone, stays = delivery.future(), delivery.future()

    gone.cancel()
    result.resolve(1, 7, -1)

    assert gone.cancelled()
    assert stays.result().offset == 7


async def test_pending_delivery_refuses_other_loops() -> None:
    _, (delivery,) = new_batch(1)

    def in_other_loop() -> None:
        asyncio.run(asyncio.wait_for(waited(delivery), PATIENCE))

    with pytest.raises(WrongLoopError, match="another event loop"):
        await asyncio.to_thread(in_other_loop)


# done(), result(), exception().


async def test_done_result_and_exception() -> None:
    result, (delivery,) = new_batch(1)
    assert not delivery.done()
    with pytest.raises(asyncio.InvalidStateError, match="still pending"):
        delivery.result()
    with pytest.raises(asyncio.InvalidStateError, match="still pending"):
        delivery.exception()

    result.resolve(1, 7, -1)

    assert delivery.done()
    assert delivery.result() == RecordMetadata("orders", 3, 7, NOW)
    assert delivery.exception() is None


async def test_failure_is_raised_everywhere() -> None:
    result, (delivery,) = new_batch(1)
    task = asyncio.create_task(waited(delivery))
    future = delivery.future()
    await turn()

    result.fail(1, refusal())

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BrokerError, match="TOPIC_AUTHORIZATION_FAILED"):
            await task
        with pytest.raises(BrokerError, match="TOPIC_AUTHORIZATION_FAILED"):
            await future
    with pytest.raises(BrokerError, match="TOPIC_AUTHORIZATION_FAILED"):
        await delivery
    with pytest.raises(BrokerError, match="TOPIC_AUTHORIZATION_FAILED"):
        delivery.result()
    assert isinstance(delivery.exception(), BrokerError)


async def test_every_caller_gets_a_fresh_error() -> None:
    """Otherwise the tracebacks of several tasks would mix."""
    result, (first, second) = new_batch(2)
    error = refusal()
    error.__cause__ = cause = ConnectionError("gone")

    result.fail(2, error)

    given = [first.exception(), first.exception(), second.exception()]
    assert len({id(one) for one in [error, *given]}) == 4
    for one in given:
        assert isinstance(one, BrokerError)
        assert (str(one), one.__cause__) == (str(error), cause)
        assert one.code is ErrorCode.TOPIC_AUTHORIZATION_FAILED
    assert error.__traceback__ is None


@pytest.mark.scenario("record-errors")
async def test_record_has_its_own_error() -> None:
    """The broker named record 1; the others get the error of the batch."""
    result, deliveries = new_batch(3)
    own = BrokerError.of(ErrorCode.INVALID_RECORD, "record 1", reason="no key")
    others = BatchRefusedError("another record was refused", code=ErrorCode.INVALID_RECORD)

    result.fail(3, others, {1: own})

    errors = [delivery.exception() for delivery in deliveries]
    assert [type(error) for error in errors] == [BatchRefusedError, InvalidRecordError, BatchRefusedError]
    assert "no key" in str(errors[1])


# Metadata.


async def test_timestamp_of_record_or_broker() -> None:
    created, deliveries = new_batch(2)
    created.resolve(2, 0, -1)
    assert [delivery.result().timestamp_ms for delivery in deliveries] == [NOW, NOW + 1]

    appended, deliveries = new_batch(2)
    appended.resolve(2, 0, 0)
    assert [delivery.result().timestamp_ms for delivery in deliveries] == [0, 0]


async def test_offsets_begin_at_zero() -> None:
    result, deliveries = new_batch(3)

    result.resolve(3, 0, -1)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]


@pytest.mark.scenario("acks-zero", "duplicate")
async def test_unknown_offset_is_minus_one() -> None:
    """Acks=0, and a duplicate whose offset is forgotten."""
    result, deliveries = new_batch(2)

    result.resolve(2, -1, -1)

    assert [delivery.result().offset for delivery in deliveries] == [-1, -1]


def test_metadata_is_a_value() -> None:
    metadata = RecordMetadata("orders", 3, 2**40, NOW)
    same = RecordMetadata("orders", 3, 2**40, NOW)
    others = [
        RecordMetadata("order", 3, 2**40, NOW),
        RecordMetadata("orders", 2, 2**40, NOW),
        RecordMetadata("orders", 3, 2**40 + 1, NOW),
        RecordMetadata("orders", 3, 2**40, NOW + 1),
        ("orders", 3, 2**40, NOW),
    ]

    assert metadata == same
    assert len({metadata, same, *others}) == 6
    assert all(metadata != other for other in others)
    assert repr(metadata) == (
        "RecordMetadata(topic='orders', partition=3, offset=1099511627776, timestamp_ms=1700000000000)"
    )
    assert pickle.loads(pickle.dumps(metadata)) == metadata  # noqa: S301 - our own


# Callbacks.


async def test_callbacks_run_in_order() -> None:
    result, (delivery,) = new_batch(1)
    called: list[tuple[str, Delivery]] = []
    delivery.add_done_callback(lambda done: called.append(("first", done)))
    delivery.add_done_callback(lambda done: called.append(("second", done)))

    result.resolve(1, 7, -1)
    assert not called
    await turn()

    assert called == [("first", delivery), ("second", delivery)]
    assert called[0][1].result().offset == 7


async def test_callback_added_when_done() -> None:
    result, (delivery,) = new_batch(1)
    result.fail(1, refusal())
    called: list[ProducerError | None] = []

    delivery.add_done_callback(lambda done: called.append(done.exception()))
    assert not called
    await turn()

    assert [type(error) for error in called] == [aioproducer.AuthorizationError]


@pytest.mark.scenario("callbacks")
async def test_raising_callback_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    result, (first, second) = new_batch(2)
    called: list[Delivery] = []

    def broken(_done: Delivery) -> None:
        message = "a bug of the user's"
        raise ZeroDivisionError(message)

    first.add_done_callback(broken)
    second.add_done_callback(called.append)
    result.resolve(2, 7, -1)
    await turn()

    assert called == [second]
    assert "a callback of <Delivery orders-3 at offset 7> raised" in caplog.text
    assert "a bug of the user's" in caplog.text


async def test_callback_that_raises_cancelled_error() -> None:
    result, (first, second) = new_batch(2)
    called: list[Delivery] = []
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()

    first.add_done_callback(lambda _: gone.result())
    second.add_done_callback(called.append)
    result.resolve(2, 7, -1)
    await turn()

    assert called == [second]


async def test_callback_runs_in_its_context() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="outside")
    context = copy_context()
    context.run(variable.set, "inside")
    result, (delivery,) = new_batch(1)
    seen: list[str] = []

    delivery.add_done_callback(lambda _: seen.append(variable.get()), context=context)
    result.resolve(1, 7, -1)
    delivery.add_done_callback(lambda _: seen.append(variable.get()), context=context)
    await turn()

    assert seen == ["inside", "inside"]


async def test_callback_may_add_a_callback() -> None:
    result, (delivery,) = new_batch(1)
    called: list[str] = []
    delivery.add_done_callback(lambda done: done.add_done_callback(lambda _: called.append("inner")))

    result.resolve(1, 7, -1)
    await turn()

    assert called == ["inner"]


# Splits.


@pytest.mark.scenario("split-too-large")
async def test_split_moves_records_to_pieces() -> None:
    """Waiters, callbacks and deliveries alike get their own offset."""
    result, deliveries = new_batch(5)
    futures = [delivery.future() for delivery in deliveries]
    called: list[Delivery] = []
    for delivery in deliveries:
        delivery.add_done_callback(called.append)
    settled = result.settled()
    front, back = new_result(), new_result()

    result.split([(0, front), (2, back)])
    late = [delivery.future() for delivery in deliveries]
    back.resolve(3, 200, -1)
    await turn()

    assert [delivery.done() for delivery in deliveries] == [False, False, True, True, True]
    assert not settled.done()
    front.resolve(2, 100, -1)
    await turn()

    expected = [100, 101, 200, 201, 202]
    assert [future.result().offset for future in futures] == expected
    assert [future.result().offset for future in late] == expected
    assert [delivery.result().offset for delivery in deliveries] == expected
    assert [delivery.result().timestamp_ms for delivery in deliveries] == [NOW + i for i in range(5)]
    assert sorted(done.result().offset for done in called) == expected
    assert settled.done()


@pytest.mark.scenario("split-too-large")
async def test_piece_is_split_again() -> None:
    result, deliveries = new_batch(4)
    futures = [delivery.future() for delivery in deliveries]
    first, second, third, fourth = (new_result() for _ in range(4))

    settled = result.settled()
    result.split([(0, first), (1, second)])
    assert [future.done() for future in futures] == [False] * 4
    second.split([(0, third), (2, fourth)])
    first.resolve(1, 10, -1)
    third.fail(2, refusal())
    fourth.resolve(1, 30, -1)
    await turn()

    assert settled.done()
    assert futures[0].result().offset == 10
    assert isinstance(futures[1].exception(), BrokerError)
    assert isinstance(futures[2].exception(), BrokerError)
    assert futures[3].result().offset == 30
    assert deliveries[3].result().offset == 30
    assert isinstance(deliveries[2].exception(), BrokerError)


async def test_settled_never_raises() -> None:
    result, _ = new_batch(2)
    waiting = result.settled()
    assert not waiting.done()

    result.fail(2, refusal())

    assert waiting.done()
    await waiting
    assert result.settled().done()


async def test_settled_after_a_split() -> None:
    result, _ = new_batch(2)
    front, back = new_result(), new_result()
    result.split([(0, front), (1, back)])

    waiting = result.settled()
    front.resolve(1, 0, -1)
    await turn()
    assert not waiting.done()
    back.resolve(1, 1, -1)
    await turn()

    assert waiting.done()


async def test_settled_after_two_splits() -> None:
    result, _ = new_batch(3)
    front, back, middle, end = (new_result() for _ in range(4))
    result.split([(0, front), (1, back)])
    back.split([(0, middle), (1, end)])
    front.resolve(1, 0, -1)

    waiting = result.settled()
    await turn()
    assert not waiting.done()
    end.resolve(1, 2, -1)
    await turn()
    assert not waiting.done()
    middle.resolve(1, 1, -1)
    await turn()

    assert waiting.done()


async def test_settled_cancelled_after_a_split() -> None:
    result, deliveries = new_batch(2)
    front, back = new_result(), new_result()
    waiting = result.settled()
    result.split([(0, front), (1, back)])

    waiting.cancel()
    front.resolve(1, 0, -1)
    back.resolve(1, 1, -1)
    await turn()

    assert [delivery.result().offset for delivery in deliveries] == [0, 1]


# Failures that are never looked at.


def unseen_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    gc.collect()
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "aioproducer.delivery" and record.levelno == logging.ERROR
    ]


async def test_unseen_failures_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    result, deliveries = new_batch(3)
    result.fail(3, refusal())
    del result
    assert not unseen_errors(caplog)

    deliveries.clear()

    (message,) = unseen_errors(caplog)
    assert message == (
        "3 of 3 records for orders-3 failed and their deliveries were never looked at: "
        "2 records for orders-3: TOPIC_AUTHORIZATION_FAILED (29); "
        "the principal needs the operation Write on the topic"
    )


def raised_by_result(delivery: Delivery) -> None:
    with pytest.raises(BrokerError):
        delivery.result()


@pytest.mark.parametrize(
    "look",
    [
        lambda delivery: delivery.exception(),
        raised_by_result,
        lambda delivery: delivery.future().exception(),
    ],
    ids=["exception", "result", "future"],
)
async def test_seen_failure_is_not_logged(
    caplog: pytest.LogCaptureFixture, look: Callable[[Delivery], object]
) -> None:
    result, deliveries = new_batch(2)
    result.fail(2, refusal())
    for delivery in deliveries:
        look(delivery)

    del result, delivery
    deliveries.clear()

    assert not unseen_errors(caplog)


async def test_seen_failures_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    result, deliveries = new_batch(3)
    waiting = deliveries[0].future()
    result.fail(3, refusal())
    waiting.exception()

    del result
    deliveries.clear()

    (message,) = unseen_errors(caplog)
    assert message.startswith("2 of 3 records for orders-3 failed")


async def test_record_seen_twice_counts_once(caplog: pytest.LogCaptureFixture) -> None:
    result, deliveries = new_batch(2)
    result.fail(2, refusal())
    deliveries[0].exception()
    deliveries[0].exception()

    del result
    deliveries.clear()

    (message,) = unseen_errors(caplog)
    assert message.startswith("1 of 2 records for orders-3 failed")


async def test_failure_without_partition_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    new_result(-1).fail(1, refusal())

    (message,) = unseen_errors(caplog)
    assert message.startswith("1 of 1 record for orders-? failed")


async def test_cancelled_future_has_not_seen(caplog: pytest.LogCaptureFixture) -> None:
    result, deliveries = new_batch(1)
    deliveries[0].future().cancel()
    result.fail(1, refusal())

    del result
    deliveries.clear()

    assert len(unseen_errors(caplog)) == 1


async def test_delivered_records_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    result, deliveries = new_batch(2)
    result.resolve(2, 0, -1)

    del result
    deliveries.clear()

    assert not unseen_errors(caplog)


# repr() and memory.


async def test_repr_shows_partition_and_state() -> None:
    result, (delivery, other) = new_batch(2)
    assert repr(delivery) == "<Delivery orders-3 pending>"

    result.resolve(2, 41, -1)
    assert repr(other) == "<Delivery orders-3 at offset 42>"

    failed, (delivery,) = new_batch(1)
    failed.fail(1, refusal())
    assert repr(delivery) == (
        "<Delivery orders-3 failed: 2 records for orders-3: TOPIC_AUTHORIZATION_FAILED (29); "
        "the principal needs the operation Write on the topic>"
    )
    delivery.exception()


async def test_repr_without_partition() -> None:
    assert repr(new_delivery(new_result(-1), 0, NOW)) == "<Delivery orders-? pending>"


@pytest.mark.skipif(not aioproducer.__compiled__, reason="only compiled classes can be untracked")
async def test_deliveries_are_not_tracked_by_gc() -> None:
    kept: list[Delivery] = []
    for number in range(100):
        result = new_result()
        kept += [new_delivery(result, index, NOW) for index in range(1000)]
        result.resolve(1000, number * 1000, -1)

    assert not any(map(gc.is_tracked, kept))
    assert [delivery.result().offset for delivery in kept[::10_001]] == list(range(0, 100_000, 10_001))


async def test_no_reference_cycles(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Reference counts free deliveries and their result: a resolved batch does not refer to them."""
    gc.disable()
    try:
        result, deliveries = new_batch(2)
        deliveries[0].add_done_callback(lambda _: None)
        deliveries[1].future().cancel()
        result.fail(2, refusal())
        await turn()
        del result
        deliveries.clear()
        assert "2 of 2 records" in caplog.text
    finally:
        gc.enable()
