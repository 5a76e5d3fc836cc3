"""Temperature scaling recovers planted temperatures and stands extremes."""

import numpy as np
import pytest

from headstart.judge.metrics import log_loss
from headstart.predictor.calibration import apply_temperature, fit_temperature

pytestmark = pytest.mark.fast


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sampled(planted, n=20_000, classes=4, seed=0):
    """Logits whose true class is drawn from softmax(logits / planted)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes))
    cumulative = softmax(logits / planted).cumsum(1)
    return logits, (rng.uniform(size=(n, 1)) > cumulative).sum(1).clip(0, classes - 1)


@pytest.mark.parametrize("planted", [0.4, 1.0, 3.0])
def test_planted_temperature_is_found(planted):
    logits, labels = sampled(planted)
    assert fit_temperature(logits, labels) == pytest.approx(planted, rel=0.05)


def test_fit_is_the_minimum_on_a_grid():
    logits, labels = sampled(2.0, n=300)
    fitted = fit_temperature(logits, labels)

    def objective(t):
        return 300 * log_loss(softmax(logits / t), labels) + 1 / t + np.log(t)

    grid = np.geomspace(0.05, 20, 400)
    assert objective(fitted) <= min(objective(t) for t in grid) + 1e-6


def test_logits_and_log_probabilities_give_the_same():
    logits, labels = sampled(1.7, n=500)
    assert fit_temperature(np.log(softmax(logits)), labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)


def test_perfect_separation_and_certain_mistakes_stay_in_bounds():
    probabilities = np.eye(3)[np.arange(30) % 3]
    labels = np.arange(30) % 3
    with np.errstate(divide="ignore"):
        certain = np.log(probabilities)
    assert 0.05 <= fit_temperature(certain, labels) <= 1.0 + 1e-6
    assert fit_temperature(certain, (labels + 1) % 3) == 20.0
    assert fit_temperature(np.empty((0, 3)), np.empty(0, dtype=np.int64)) == 1.0


def test_apply_keeps_the_predicted_class_and_is_nothing_at_one():
    p = np.random.default_rng(0).dirichlet(np.ones(5), 100)
    assert np.allclose(apply_temperature(p, 1.0), p)
    hot = apply_temperature(p, 2.5)
    assert np.allclose(hot.sum(1), 1)
    assert (hot.argmax(1) == p.argmax(1)).all()
    by_hand = p**0.4 / (p**0.4).sum(1, keepdims=True)
    assert np.allclose(hot, by_hand)
    assert np.isfinite(apply_temperature(np.array([[1.0, 0.0]]), 3.0)).all()
    with pytest.raises(ValueError, match="above zero"):
        apply_temperature(p, 0.0)
