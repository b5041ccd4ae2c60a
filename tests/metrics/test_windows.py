"""Windows keep recent counts apart from totals."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.metrics.windows import Period, Tally, Windows

START = 1_000.0
PERIOD = Period(START, length=30.0, windows=2)


@dataclass(slots=True)
class Parcels(Tally):
    count: int = 0
    weight_max: float = 0.0


def count(windows: Windows[Parcels], now: float, weight: float = 1.0) -> None:
    if now >= windows.ends:
        windows.roll(now)
    windows.current.count += 1
    windows.current.weight_max = max(windows.current.weight_max, weight)


def new_windows(now: float = START) -> Windows[Parcels]:
    return Windows(Parcels, PERIOD, now)


def test_tally_adds_sums_and_maxima() -> None:
    tally = Parcels(count=2, weight_max=7.0)

    tally.add(Parcels(count=3, weight_max=5.0))

    assert tally == Parcels(count=5, weight_max=7.0)


def test_event_is_recent_for_two_windows() -> None:
    windows = new_windows()
    count(windows, START + 29.9, weight=9.0)

    assert windows.recent(START + 29.9) == Parcels(1, 9.0)
    assert windows.recent(START + 59.9) == Parcels(1, 9.0)
    assert windows.recent(START + 60.0) == Parcels(0, 0.0)
    assert windows.total() == Parcels(1, 9.0)


def test_windows_roll_during_events() -> None:
    windows = new_windows()
    for second in range(100):
        count(windows, START + second, weight=float(second))

    # Seconds 90 to 99 are in the current window, 60 to 89 in the one before.
    assert windows.recent(START + 99) == Parcels(40, 99.0)
    assert windows.total() == Parcels(100, 99.0)


def test_idle_windows_drop_old_counts() -> None:
    windows = new_windows()
    count(windows, START)

    count(windows, START + 3_600)

    assert windows.recent(START + 3_600).count == 1
    assert windows.total().count == 2


def test_windows_of_one_period_end_together() -> None:
    assert new_windows(START + 47).ends == new_windows(START + 31).ends == START + 60


def test_single_sample_is_the_current_window() -> None:
    windows = Windows(Parcels, Period(START, length=10.0, windows=1), START)
    count(windows, START + 9)

    count(windows, START + 10)

    assert windows.recent(START + 10).count == 1
    assert windows.total().count == 2


@pytest.mark.parametrize(
    ("age", "covered"),
    [(0, 1), (0.5, 1), (5, 5), (29, 29), (45, 45), (59, 59), (60, 30), (75, 45), (3_600, 30), (3_629, 59)],
)
def test_rates_cover_the_recent_windows(age: float, covered: float) -> None:
    assert PERIOD.seconds(START + age) == pytest.approx(covered)


def test_absorbed_counts_keep_their_window() -> None:
    kept, dropped = new_windows(), new_windows()
    count(dropped, START + 10, weight=3.0)
    count(dropped, START + 40, weight=2.0)
    count(kept, START + 50)

    kept.absorb(dropped)

    assert kept.total() == Parcels(3, 3.0)
    assert kept.recent(START + 50) == Parcels(3, 3.0)
    assert kept.recent(START + 60) == Parcels(2, 2.0)
    assert kept.recent(START + 90) == Parcels(0, 0.0)


def test_closed_windows_are_dropped() -> None:
    windows = new_windows()
    for minute in range(100):
        count(windows, START + minute * 30)

    assert windows.total().count == 100
    assert len(windows._closed) <= PERIOD.windows  # noqa: SLF001 - the test is about memory


def test_absorbed_windows_are_dropped() -> None:
    kept = new_windows()
    for minute in range(100):
        dropped = new_windows(START + minute * 60)
        count(dropped, START + minute * 60)
        kept.absorb(dropped)

    assert kept.total().count == 100
    assert len(kept._closed) <= PERIOD.windows  # noqa: SLF001 - the test is about memory


@given(st.lists(st.floats(0, 500), max_size=60), st.floats(0, 100))
def test_counts_match_a_list(ages: list[float], later: float) -> None:
    windows = new_windows()
    for age in sorted(ages):
        count(windows, START + age)
    now = START + max(ages, default=0) + later

    oldest = (int((now - START) / 30) - 1) * 30 + START
    assert windows.recent(now).count == sum(START + age >= oldest for age in ages)
    assert windows.total().count == len(ages)


@given(start=st.floats(0, 1e9), length=st.floats(1e-3, 1e4), steps=st.integers(1, 50))
def test_rounding_never_repeats_a_window(start: float, length: float, steps: int) -> None:
    windows = Windows(Parcels, Period(start, length), start)
    for _ in range(steps):
        before = windows.ends
        count(windows, before)
        assert windows.ends > before

    assert windows.total().count == steps
