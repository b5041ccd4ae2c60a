"""The seed determines a plan, and its faults end in time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.integration.chaos.plan import (
    BROKER_KINDS,
    NETWORK_KINDS,
    RECOVERY,
    ChaosFault,
    Direction,
    Kind,
    broker_plan,
    network_plan,
)

SEEDS = range(50)
NODES = [1, 2, 3]
PARTITIONS = 6


@pytest.mark.parametrize("seconds", [10, 60])
def test_faults_end_before_the_plan(seconds: float) -> None:
    for seed in SEEDS:
        for fault in broker_plan(seed, seconds, NODES, PARTITIONS) + network_plan(seed, seconds, NODES):
            assert 0 < fault.at <= fault.until < seconds


def test_seed_determines_the_plan() -> None:
    plans = [broker_plan(seed, 30, NODES, PARTITIONS) + network_plan(seed, 30, NODES) for seed in SEEDS]

    assert plans == [
        broker_plan(seed, 30, NODES, PARTITIONS) + network_plan(seed, 30, NODES) for seed in SEEDS
    ]
    assert all(one != other for one, other in pairwise(plans))


def test_every_fault_kind_occurs() -> None:
    faults = [
        fault
        for seed in SEEDS
        for fault in broker_plan(seed, 30, NODES, PARTITIONS) + network_plan(seed, 30, NODES)
    ]

    assert {fault.kind for fault in faults} == set(Kind) == {Kind.MOVE, *BROKER_KINDS, *NETWORK_KINDS}
    assert {fault.node for fault in faults} == set(NODES)
    assert {fault.direction for fault in faults} == {None, *Direction}
    assert {fault.amount for fault in faults if fault.kind is Kind.MOVE} == set(range(PARTITIONS))


def test_restarted_broker_gets_a_pause() -> None:
    for seed in SEEDS:
        plan = [fault for fault in broker_plan(seed, 120, NODES, PARTITIONS) if fault.kind is not Kind.MOVE]
        for node in NODES:
            for fault, following in pairwise(fault for fault in plan if fault.node == node):
                assert following.at >= fault.until + RECOVERY


def test_fault_reads_as_a_line() -> None:
    assert (
        str(ChaosFault(2.5, Kind.KILL, 3, 1.25))
        == "   2.50 s  node 3  KILL        for 1.25 s  (SIGKILL, then a start)"
    )
    assert (
        str(ChaosFault(11, Kind.MOVE, 1, amount=0))
        == "  11.00 s  node 1  MOVE        (made the leader of a partition: 0)"
    )
    assert (
        str(ChaosFault(12.75, Kind.NARROW, 2, 3, 4000, Direction.ANSWERS))
        == "  12.75 s  node 2  NARROW      for 3.00 s  of the answers  (bytes a second: 4000)"
    )
