import asyncio

import pytest

from aioproducer.testing import ApiKey, ErrorCode, Fault
from aioproducer.testing.faults import Match, Script
from aioproducer.testing.scripting import Scripting

ORDERS_0 = [("orders", 0)]


def on(script: Script, **match: object) -> Scripting:
    return Scripting(script, Match(**match))  # type: ignore[arg-type] # each test says what it matches


def happens(fault: Fault, times: int, api: ApiKey = ApiKey.PRODUCE, node: int = 1) -> list[bool]:
    return [fault.is_due(api, node, ORDERS_0) for _ in range(times)]


def test_fault_happens_once_by_default() -> None:
    assert happens(on(Script()).leave_out(), 3) == [True, False, False]
    assert happens(on(Script(), skip=1, times=2).leave_out(), 4) == [False, True, True, False]
    assert happens(on(Script(), times=None).leave_out(), 4) == [True] * 4


def test_other_requests_are_not_counted() -> None:
    fault = on(Script(), api=ApiKey.PRODUCE, node=2, skip=1).leave_out()
    assert happens(fault, 2, api=ApiKey.METADATA, node=2) == [False, False]
    assert happens(fault, 2, node=1) == [False, False]
    assert happens(fault, 2, node=2) == [False, True]
    assert fault.hits == 1


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"topic": "orders"}, True),
        ({"topic": "audit"}, False),
        ({"topic": "orders", "partition": 0}, True),
        ({"topic": "orders", "partition": 1}, False),
        ({"partition": 0}, True),
        ({"partition": 1}, False),
    ],
)
def test_topics_and_partitions_narrow_match(match: dict[str, object], *, expected: bool) -> None:
    assert happens(on(Script(), **match).leave_out(), 1) == [expected]


def test_matching_faults_keep_their_order() -> None:
    script = Script()
    first = on(script).delay(0.1)
    second = on(script).answer(ErrorCode.NOT_LEADER_OR_FOLLOWER)
    assert script.due(ApiKey.PRODUCE, 1, ORDERS_0) == (first, second)
    assert script.due(ApiKey.PRODUCE, 1, ORDERS_0) == ()


def test_faults_without_hits_are_unmatched() -> None:
    script = Script()
    on(script, api=ApiKey.PRODUCE).leave_out()
    late = on(script, api=ApiKey.PRODUCE, skip=1).leave_out()
    on(script, api=ApiKey.METADATA, optional=True).leave_out()
    script.due(ApiKey.PRODUCE, 1, ORDERS_0)
    assert script.unmatched() == [late]


def test_match_reads_as_its_call() -> None:
    match = Match(api=ApiKey.PRODUCE, topic="orders", times=None, optional=True)
    assert str(match) == "on(PRODUCE, topic='orders', times=None, optional=True)"
    assert str(Match(partition=0)) == "on(partition=0)"


async def test_hits_are_awaited_and_released() -> None:
    script = Script()
    fault = on(script).hold()
    waiting = asyncio.ensure_future(fault.hit())
    await asyncio.sleep(0)
    assert not waiting.done()
    script.due(ApiKey.PRODUCE, 1, ORDERS_0)
    await asyncio.wait_for(waiting, 1)
    script.clear()
    await asyncio.wait_for(fault.wait(None), 1)
    assert not script
