"""Backoff: KIP-580's waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.core.backoff import Backoff

LEAST, MIDDLE, MOST = 0.0, 0.5, 1.0

chances = st.floats(0, 1, exclude_max=True)
seconds = st.floats(1e-6, 1e6)


@pytest.mark.scenario("retry-backoff")
def test_waits_double_up_to_the_maximum() -> None:
    backoff = Backoff(0.1, 1.0, random=lambda: MIDDLE)

    assert [backoff.delay(n) for n in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@pytest.mark.scenario("retry-backoff")
@pytest.mark.parametrize(("chance", "factor"), [(LEAST, 0.8), (MIDDLE, 1.0), (MOST, 1.2)])
def test_jitter_is_a_fifth(chance: float, factor: float) -> None:
    backoff = Backoff(0.1, 10.0, random=lambda: chance)

    assert backoff.delay(3) == pytest.approx(0.8 * factor)


def test_longest_waits_have_jitter() -> None:
    assert Backoff(0.1, 1.0, random=lambda: LEAST).delay(50) == pytest.approx(0.8)
    assert Backoff(0.1, 1.0, random=lambda: MOST).delay(50) == 1.0


@pytest.mark.scenario("connection-setup")
def test_setup_timeout_grows() -> None:
    timeout = Backoff(10.0, 30.0, random=lambda: MIDDLE)

    assert [timeout.delay(n) for n in range(4)] == pytest.approx([10, 20, 30, 30])


@pytest.mark.parametrize("initial", [1.0, 5.0])
def test_large_initial_has_no_jitter(initial: float) -> None:
    backoff = Backoff(initial, 1.0, random=lambda: LEAST)

    assert [backoff.delay(n) for n in (0, 1, 100)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("maximum", [0.0, 1.0])
def test_initial_0_never_waits(maximum: float) -> None:
    backoff = Backoff(0.0, maximum, random=lambda: MOST)

    assert [backoff.delay(n) for n in (0, 1, 100)] == [0.0, 0.0, 0.0]


def test_another_multiplier_and_no_jitter() -> None:
    backoff = Backoff(1.0, 20.0, random=lambda: MOST, multiplier=3, jitter=0)

    assert [backoff.delay(n) for n in range(4)] == pytest.approx([1, 3, 9, 20])


@given(initial=seconds, maximum=seconds, attempts=st.integers(0, 10**18), chance=chances)
def test_many_failures_stay_in_bounds(initial: float, maximum: float, attempts: int, chance: float) -> None:
    delay = Backoff(initial, maximum, random=lambda: chance).delay(attempts)

    assert min(initial, maximum) * 0.8 <= delay * (1 + 1e-9)
    assert delay <= maximum


@given(initial=seconds, maximum=seconds, attempts=st.integers(0, 40), chance=chances)
def test_the_wait_is_kafkas_formula(initial: float, maximum: float, attempts: int, chance: float) -> None:
    delay = Backoff(initial, maximum, random=lambda: chance).delay(attempts)

    if initial < maximum:
        expected = min(maximum, initial * 2**attempts) * (0.8 + 0.4 * chance)
        assert delay == pytest.approx(min(maximum, expected))
