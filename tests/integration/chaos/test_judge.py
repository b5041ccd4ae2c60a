"""The judge sees what it is there to see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aioproducer.testing import FakeCluster
from tests.integration.chaos.judge import judge
from tests.integration.chaos.load import Load
from tests.integration.consumer import ConsumedRecord
from tests.net.quick import quick

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.chaos.judge import Figures

RECORDS = 200


@pytest.fixture
async def told() -> AsyncIterator[tuple[Load, list[ConsumedRecord]]]:
    """Give a load that went well, and its log."""
    async with FakeCluster(1, {"orders": 2}) as cluster, quick(cluster) as producer:
        load = Load("calm", producer, "orders", rate=10_000)
        async with load.noted():
            while len(load.sent) < RECORDS:
                await load.run(seconds=0.05)
            await load.settle()
        log = [
            ConsumedRecord("orders", partition, record.offset, record.key, record.value, (), 0, None)
            for partition in range(2)
            for record in cluster.records("orders", partition)
        ]
        yield load, log


def found(figures: Figures) -> list[str]:
    return [words.split(":")[1].strip() for words in figures.violations()]


Told = tuple[Load, list[ConsumedRecord]]


def test_a_log_as_told_is_in_order(told: Told) -> None:
    figures = judge(*told)

    assert figures.sent == figures.acknowledged == len(told[1]) >= RECORDS
    assert found(figures) == []


def test_an_acknowledged_record_is_missing(told: Told) -> None:
    load, log = told

    assert found(judge(load, log[:10] + log[11:])) == ["1 missing"]


def test_a_record_is_there_twice(told: Told) -> None:
    load, log = told

    assert found(judge(load, [*log, log[-3]])) == ["1 duplicates"]


def test_two_records_have_changed_places(told: Told) -> None:
    load, log = told
    first, second = log[10], log[11]
    log[10:12] = [replace(second, offset=first.offset), replace(first, offset=second.offset)]

    assert found(judge(load, log)) == ["1 out of order", "2 misplaced"]


def test_a_record_is_not_where_it_was_told_to_be(told: Told) -> None:
    load, log = told
    load.offset[0] += 1

    assert found(judge(load, log)) == ["1 misplaced"]


def test_an_offset_that_nobody_told_is_not_wrong(told: Told) -> None:
    load, log = told
    load.offset[0] = -1

    assert found(judge(load, log)) == []


@pytest.mark.parametrize("may_be_written", [True, False])
def test_a_failed_record_is_in_the_log(told: Told, may_be_written: bool) -> None:  # noqa: FBT001 - a parameter
    load, log = told
    load.failures[5] = (may_be_written, "timed out")

    figures = judge(load, log)

    assert (figures.failed, figures.doubtful) == (1, may_be_written)
    assert found(figures) == ([] if may_be_written else ["1 denied"])


def test_a_failed_record_is_not_missed(told: Told) -> None:
    load, log = told
    load.failures[next(number for number in range(RECORDS) if load.partition[number] == log[0].partition)] = (
        False,
        "timed out",
    )

    assert found(judge(load, log[1:])) == []


def test_a_record_that_nobody_sent_or_not_so(told: Told) -> None:
    load, log = told
    log[3] = replace(log[3], value=(log[3].value or b"") + b"!")

    assert found(judge(load, log)) == ["1 missing", "1 foreign"]


def test_a_delivery_has_not_ended(told: Told) -> None:
    load, log = told
    load.ended[7] = 0.0

    assert found(judge(load, log)) == ["1 unended"]


def test_a_delivery_took_too_long(told: Told) -> None:
    load, log = told
    load.ended[7] += load.limit + 1

    assert found(judge(load, log)) == [
        f"a delivery took {load.ended[7] - load.sent[7]:.2f} s, {load.limit:g} s are allowed"
    ]
