"""A report names the broken guarantees."""

from __future__ import annotations

import pytest

from tests.integration.chaos.log_checker import Figures
from tests.integration.chaos.plan import ChaosFault, Kind
from tests.integration.chaos.run import Chaos, Report
from tests.integration.chaos.watch import LoopWatch

KILL = ChaosFault(2.5, Kind.KILL, 3, 1.25)


def report(*figures: Figures, stall: float = 0.0) -> Report:
    return Report(Chaos("brokers", 7, 30), [KILL], ["over"], list(figures), LoopWatch(wall=stall, cpu=stall))


def figures(load: str, failed: int = 0, doubtful: int = 0, longest: float = 0.0) -> Figures:
    return Figures(
        load, sent=1000, acknowledged=1000 - failed, failed=failed, doubtful=doubtful, limit=3, retries=5,
        longest=longest,
    )  # fmt: skip


def test_report_names_plan_and_command() -> None:
    words = str(report(figures("patient")))

    assert str(KILL) in words
    assert "python -m tests.integration.chaos --fault brokers --seed 7 --seconds 30" in words
    assert "BROKEN" not in words


@pytest.mark.parametrize(
    ("failed", "doubtful", "is_broken"), [(0, 0, False), (10, 10, False), (11, 11, True), (1, 0, True)]
)
def test_patient_producer_rarely_fails(
    failed: int,
    doubtful: int,
    is_broken: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert bool(report(figures("patient", failed, doubtful)).violations()) is is_broken
    assert not report(figures("hasty", failed, doubtful)).violations()


def test_long_stall_is_reported() -> None:
    assert not report(figures("hasty"), stall=0.05).violations()
    assert (
        report(figures("hasty"), stall=0.06)
        .violations()[0]
        .startswith("the event loop was held up for 60 ms")
    )


def test_blocked_loop_is_not_counted() -> None:
    late = figures("hasty", longest=4.03)

    assert report(late).violations() == ["hasty: a delivery took 4.03 s, 3 s are allowed"]
    assert not report(late, stall=0.04).violations()
