"""The log check finds every kind of violation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aioproducer.testing import FakeCluster
from tests.integration.chaos.load import Load
from tests.integration.chaos.log_checker import check_log
from tests.integration.consumer import ConsumedRecord
from tests.net.quick import quick

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.chaos.log_checker import Figures

RECORDS = 200


@pytest.fixture
async def checked() -> AsyncIterator[tuple[Load, list[ConsumedRecord]]]:
    """Return a successful load, and its log."""
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


Checked = tuple[Load, list[ConsumedRecord]]


def test_valid_log_passes(checked: Checked) -> None:
    figures = check_log(*checked)

    assert figures.sent == figures.acknowledged == len(checked[1]) >= RECORDS
    assert found(figures) == []


def test_missing_record_is_found(checked: Checked) -> None:
    load, log = checked

    assert found(check_log(load, log[:10] + log[11:])) == ["1 missing"]


def test_duplicate_is_found(checked: Checked) -> None:
    load, log = checked

    assert found(check_log(load, [*log, log[-3]])) == ["1 duplicates"]


def test_swapped_records_are_found(checked: Checked) -> None:
    load, log = checked
    first, second = log[10], log[11]
    log[10:12] = [replace(second, offset=first.offset), replace(first, offset=second.offset)]

    assert found(check_log(load, log)) == ["1 out of order", "2 misplaced"]


def test_wrong_offset_is_found(checked: Checked) -> None:
    load, log = checked
    load.offset[0] += 1

    assert found(check_log(load, log)) == ["1 misplaced"]


def test_unknown_offset_passes(checked: Checked) -> None:
    load, log = checked
    load.offset[0] = -1

    assert found(check_log(load, log)) == []


@pytest.mark.parametrize("may_be_written", [True, False])
def test_failed_record_in_log(checked: Checked, may_be_written: bool) -> None:  # noqa: FBT001 - a parameter
    load, log = checked
    load.failures[5] = (may_be_written, "timed out")

    figures = check_log(load, log)

    assert (figures.failed, figures.doubtful) == (1, may_be_written)
    assert found(figures) == ([] if may_be_written else ["1 denied"])


def test_failed_record_may_be_missing(checked: Checked) -> None:
    load, log = checked
    load.failures[next(number for number in range(RECORDS) if load.partition[number] == log[0].partition)] = (
        False,
        "timed out",
    )

    assert found(check_log(load, log[1:])) == []


def test_unknown_record_is_found(checked: Checked) -> None:
    load, log = checked
    log[3] = replace(log[3], value=(log[3].value or b"") + b"!")

    assert found(check_log(load, log)) == ["1 missing", "1 foreign"]


def test_unfinished_delivery_is_found(checked: Checked) -> None:
    load, log = checked
    load.ended[7] = 0.0

    assert found(check_log(load, log)) == ["1 unended"]


def test_slow_delivery_is_found(checked: Checked) -> None:
    load, log = checked
    load.ended[7] += load.limit + 1

    assert found(check_log(load, log)) == [
        f"a delivery took {load.ended[7] - load.sent[7]:.2f} s, {load.limit:g} s are allowed"
    ]
