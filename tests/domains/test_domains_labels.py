"""Label shift: planted class shares are recovered, and their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.domains.labels import bbse, calibrate, estimate, mlls, predictions_differ, softmax

CENTRES = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])


def drawn(shares: list[float], n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the true logits of Gaussian classes under equal priors."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=shares)
    x = CENTRES[y] + rng.normal(size=(n, 2))
    return y, -((x[:, None] - CENTRES[None]) ** 2).sum(axis=2) / 2


EVEN, SKEWED = [1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]


@pytest.mark.fast
def test_planted_shares_are_found() -> None:
    (y, held), (_, asked) = drawn(EVEN, 600, 0), drawn(SKEWED, 600, 1)
    for shares in estimate(held, y, asked, resamples=20).values():
        assert shares.estimate.sum() == pytest.approx(1)
        assert shares.estimate == pytest.approx(SKEWED, abs=0.08)
        assert (shares.low < shares.estimate).all()
        assert (shares.estimate < shares.high).all()


@pytest.mark.slow
def test_intervals_of_shares_cover() -> None:
    hits, rounds = {"bbse": 0, "mlls": 0}, 60
    for seed in range(rounds):
        (y, held), (_, asked) = drawn(EVEN, 500, seed), drawn(SKEWED, 400, 1000 + seed)
        for name, shares in estimate(held, y, asked, resamples=150, seed=seed).items():
            hits[name] += int(((shares.low <= SKEWED) & (np.array(SKEWED) <= shares.high)).sum())
    assert min(hits.values()) >= 0.89 * 3 * rounds


@pytest.mark.fast
def test_without_label_shift_nothing_moves_and_with_it_predictions_differ() -> None:
    (y, held), (_, same), (_, skewed) = drawn(EVEN, 900, 1), drawn(EVEN, 900, 2), drawn(SKEWED, 900, 3)
    assert mlls(softmax(same), np.bincount(y) / len(y)) == pytest.approx(EVEN, abs=0.06)
    assert predictions_differ(held, same) > 0.01
    assert predictions_differ(held, skewed) < 1e-6


@pytest.mark.fast
def test_bbse_inverts_the_confusion_matrix() -> None:
    # Of class 0 nine tenths are predicted 0, of class 1 eight tenths are predicted 1; the target has 30 % of class 1.
    y = np.repeat([0, 1], [10, 10])
    held = np.eye(2)[np.array([0] * 9 + [1] + [0] * 2 + [1] * 8)]
    predicted = 0.7 * 0.1 + 0.3 * 0.8
    asked = np.eye(2)[np.repeat([0, 1], [round(1000 * (1 - predicted)), round(1000 * predicted)])]
    assert bbse(held, y, asked) == pytest.approx([0.7, 0.3], abs=1e-9)


@pytest.mark.fast
def test_em_stops_where_the_likelihood_is_flat() -> None:
    _, asked = drawn(SKEWED, 500, 4)
    p = softmax(asked)
    found = mlls(p, np.array(EVEN))
    slope = (p / np.array(EVEN) / ((p / np.array(EVEN)) @ found)[:, None]).mean(axis=0)
    assert slope == pytest.approx(np.ones(3), abs=1e-3)


@pytest.mark.fast
def test_calibration_finds_the_temperature_and_the_bias() -> None:
    y, truth = drawn(EVEN, 6000, 5)
    wrong = 3 * truth + np.array([0.0, 2.0, -1.0])
    found = calibrate(wrong, y)
    assert found.scale == pytest.approx(1 / 3, rel=0.1)
    assert found(wrong) == pytest.approx(softmax(truth), abs=0.05)


@pytest.mark.fast
def test_calibration_stays_finite_where_every_example_is_right() -> None:
    y = np.arange(30) % 3
    found = calibrate(10 * np.eye(3)[y], y)
    assert np.isfinite(found.bias).all()
    assert 0 < found.scale < 10
