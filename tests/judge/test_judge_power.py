"""Minimal detectable gain and examples to settle, by hand and by exact binomial power."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from headstart.judge.intervals import paired_interval
from headstart.judge.power import examples_to_settle, minimal_detectable_gain

pytestmark = pytest.mark.fast


def test_large_standard_error_is_what_counts():
    # 1.96 + 0.8416 standard errors.
    assert minimal_detectable_gain(0.05, 400) == pytest.approx(2.8016 * 0.05, rel=1e-4)
    assert minimal_detectable_gain(0.5, 10) == 1.0


@pytest.mark.parametrize("n", [30, 60, 150])
def test_without_disagreement_the_floor_has_eighty_percent_power(n):
    """If transfer only ever wins, its wins are binomial: the power of the verdict at the floor is exact."""
    gain = minimal_detectable_gain(0.0, n)
    labels, baseline = np.zeros(n, dtype=np.int64), np.zeros((1, n))
    power = 0.0
    for wins in range(n + 1):
        transfer = (np.arange(n) < wins)[None]
        if paired_interval(transfer, baseline, labels, "accuracy", resamples=2000)[1] > 0:
            power += binom.pmf(wins, n, gain)
    assert 0.75 < power < 0.93


def test_examples_to_settle_by_hand():
    # The interval reaches 0.2 below a gain of 0.1: it must halve, so four times the examples.
    assert examples_to_settle(0.1, -0.1, 0.3, 50) == 200
    assert examples_to_settle(-0.1, -0.3, 0.1, 50) == 200
    assert examples_to_settle(0.1, 0.01, 0.19, 50) is None
    assert examples_to_settle(-0.1, -0.19, -0.01, 50) is None
    assert examples_to_settle(0.0, -0.1, 0.1, 50) is None
    assert examples_to_settle(0.0005, -0.1, 0.1, 50) is None
    assert examples_to_settle(0.1, 0.0, 0.2, 50) == 51


def test_settling_does_settle():
    """With the promised number of examples like the ones seen, the interval does exclude zero."""
    transfer, baseline = np.array([[1] * 20 + [0] * 5 + [1] * 5]), np.array([[1] * 20 + [1] * 2 + [0] * 3 + [0] * 5])
    labels = np.zeros(30, dtype=np.int64)
    estimate, low, high = paired_interval(transfer, baseline, labels, "accuracy")
    n = examples_to_settle(estimate, low, high, 30)
    assert n is not None
    copies = math.ceil(n / 30)
    more = paired_interval(np.tile(transfer, copies), np.tile(baseline, copies), np.tile(labels, copies), "accuracy")
    assert more[1] > 0
