"""The prior shift: against its closed form, and where it must do nothing."""

import numpy as np
import pytest

from headstart.predictor.prior import TAUS, choose_shift

pytestmark = pytest.mark.fast


def skewed(n=4_000, seed=0):
    """Log-odds of two Gaussians one apart in standard deviations, nine of ten from the first, by Bayes' rule."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.1).astype(np.int64)
    x = rng.normal(1.5 * y, 1.0)
    logits = np.stack([np.log(0.9) - x**2 / 2, np.log(0.1) - (x - 1.5) ** 2 / 2], axis=1)
    return logits.astype(np.float32), y


def test_bayes_posteriors_are_right_for_accuracy_and_wrong_by_the_prior_for_balanced_accuracy():
    logits, y = skewed(200_000)
    frequencies = np.bincount(y) / len(y)
    assert choose_shift(logits, y, frequencies, "accuracy")[0] == pytest.approx(0.0, abs=0.11)
    tau, moved = choose_shift(logits, y, frequencies, "balanced_accuracy")
    assert tau == pytest.approx(1.0, abs=0.21)
    np.testing.assert_allclose(moved, -tau * np.log(frequencies), rtol=1e-5)


def test_it_raises_balanced_accuracy_on_other_examples():
    logits, y = skewed(2_000, 0)
    _, moved = choose_shift(logits, y, np.bincount(y) / len(y), "balanced_accuracy")
    other, truth = skewed(4_000, 1)

    def recalls(scores):
        right = scores.argmax(axis=1) == truth
        return np.mean([right[truth == c].mean() for c in (0, 1)])

    assert recalls(other + moved) > recalls(other) + 0.1


def test_it_stays_where_nothing_is_gained():
    """Balanced classes cannot be shifted; nor is a perfect classifier, or one of a single example."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(60, 3))
    tau, moved = choose_shift(logits, np.arange(60) % 3, np.full(3, 1 / 3), "balanced_accuracy")
    assert tau == 0
    assert not moved.any()
    y = np.array([0, 0, 0, 1])
    assert choose_shift(50 * np.eye(2)[y], y, np.array([0.75, 0.25]), "balanced_accuracy")[0] == 0
    assert TAUS[0] == 0


def test_an_absent_class_is_left_as_it_is():
    logits, y = skewed(2_000)
    wide = np.concatenate([logits, np.full((len(y), 1), -30.0)], axis=1)
    _, moved = choose_shift(wide, y, np.bincount(y, minlength=3) / len(y), "balanced_accuracy")
    assert moved[2] == 0
    assert moved[1] > moved[0]
