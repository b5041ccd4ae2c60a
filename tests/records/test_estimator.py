"""The estimate of the compression ratio, as in Kafka's `CompressionRatioEstimator`."""

from __future__ import annotations

import pytest

from aioproducer.records.estimator import CompressionRatio

pytestmark = pytest.mark.scenario("ratio-estimate")


def test_initial_estimate_is_one() -> None:
    assert CompressionRatio().estimate == 1.0


def test_better_ratio_lowers_estimate_slowly() -> None:
    ratio = CompressionRatio()
    ratio.observe(0.3)
    assert ratio.estimate == pytest.approx(0.995)
    for _ in range(200):
        ratio.observe(0.3)
    assert ratio.estimate == pytest.approx(0.3)


def test_estimate_stays_above_observed_ratio() -> None:
    ratio = CompressionRatio()
    ratio.observe(0.998)
    assert ratio.estimate == pytest.approx(0.998)


def test_worse_ratio_raises_estimate_by_step() -> None:
    ratio = CompressionRatio()
    ratio.observe(1.01)
    assert ratio.estimate == pytest.approx(1.05)


def test_much_worse_ratio_becomes_estimate() -> None:
    ratio = CompressionRatio()
    ratio.observe(1.4)
    assert ratio.estimate == pytest.approx(1.4)


def test_expected_ratio_changes_nothing() -> None:
    ratio = CompressionRatio()
    ratio.observe(1.0)
    assert ratio.estimate == 1.0


@pytest.mark.parametrize(("refused", "expected"), [(0.2, 1.0), (1.3, 1.3)])
def test_split_resets_estimate(refused: float, expected: float) -> None:
    ratio = CompressionRatio()
    for _ in range(100):
        ratio.observe(0.2)
    ratio.reset_after_split(refused)
    assert ratio.estimate == expected
