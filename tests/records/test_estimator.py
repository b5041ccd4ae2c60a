from __future__ import annotations

import pytest

from aioproducer.records.estimator import CompressionRatio

pytestmark = pytest.mark.scenario(13)


def test_before_any_batch_nothing_is_expected_of_compression() -> None:
    assert CompressionRatio().estimate == 1.0


def test_a_batch_that_compressed_better_lowers_the_estimate_slowly() -> None:
    ratio = CompressionRatio()
    ratio.observe(0.3)
    assert ratio.estimate == pytest.approx(0.995)
    for _ in range(200):
        ratio.observe(0.3)
    assert ratio.estimate == pytest.approx(0.3)


def test_the_estimate_never_falls_below_what_was_observed() -> None:
    ratio = CompressionRatio()
    ratio.observe(0.998)
    assert ratio.estimate == pytest.approx(0.998)


def test_a_batch_that_compressed_worse_raises_the_estimate_by_a_step_at_least() -> None:
    ratio = CompressionRatio()
    ratio.observe(1.01)
    assert ratio.estimate == pytest.approx(1.05)


def test_a_batch_that_compressed_much_worse_raises_the_estimate_to_its_ratio() -> None:
    ratio = CompressionRatio()
    ratio.observe(1.4)
    assert ratio.estimate == pytest.approx(1.4)


def test_a_batch_as_expected_changes_nothing() -> None:
    ratio = CompressionRatio()
    ratio.observe(1.0)
    assert ratio.estimate == 1.0


@pytest.mark.parametrize(("refused", "expected"), [(0.2, 1.0), (1.3, 1.3)])
def test_a_split_takes_back_all_that_was_learnt(refused: float, expected: float) -> None:
    ratio = CompressionRatio()
    for _ in range(100):
        ratio.observe(0.2)
    ratio.reset_after_split(refused)
    assert ratio.estimate == expected
