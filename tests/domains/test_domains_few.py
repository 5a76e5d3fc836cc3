"""A few target labels beside a source: closed forms against plain ones, and a source weight that follows the truth."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.domains.few import OFFSET, WEIGHTS, compared, corrected, joint, one_hot_scale, settled_by_labels

pytestmark = pytest.mark.fast


def two_domains(seed: int, n: int, few: int, *, agree: bool = True, width: int = 12):
    """Labels by the sign of the first feature; in the target of one that does not agree by that of the second."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + few, width))
    y = (X[:, 0] > 0).astype(np.int64)
    target = X[n:]
    yt = y[n:] if agree else (target[:, 1] > 0).astype(np.int64)
    return X[:n], y[:n], target, yt


def by_hand(S, Y, T, Z, share, penalty):
    """The same mixture of errors, solved as one system."""
    A = share / len(S) * S.T @ S + (1 - share) / len(T) * T.T @ T + penalty * np.eye(S.shape[1])
    return np.linalg.solve(A, share / len(S) * S.T @ Y + (1 - share) / len(T) * T.T @ Z)


def padded(X):
    return np.concatenate([X, np.full((len(X), 1), OFFSET)], axis=1) / np.sqrt(X.shape[1])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_joint_is_the_mixture_of_errors_and_its_left_out_scores_are_refits(share, monkeypatch) -> None:
    Xs, ys, L, yl = two_domains(0, 60, 9)
    monkeypatch.setattr("headstart.domains.few.PENALTIES", np.array([0.02]))
    found = joint(Xs, ys, L, yl, 2, weights=np.array([share]))
    Y, Z = (np.where(y[:, None] == np.arange(2), 1.0, -1.0) for y in (ys, yl))
    S, T = padded(Xs), padded(L)
    W = by_hand(S, Y, T, Z, share, 0.02)
    np.testing.assert_allclose(found.weight, W[:-1].T / np.sqrt(12), atol=1e-8)
    np.testing.assert_allclose(found.bias, W[-1] * OFFSET / np.sqrt(12), atol=1e-8)
    for i in range(9):
        kept = np.arange(9) != i
        # The strength of one target example stays what it is with all of them.
        A = share / 60 * S.T @ S + (1 - share) / 9 * T[kept].T @ T[kept] + 0.02 * np.eye(13)
        b = share / 60 * S.T @ Y + (1 - share) / 9 * T[kept].T @ Z[kept]
        np.testing.assert_allclose(found.left_out[i], T[i] @ np.linalg.solve(A, b), atol=1e-8)


def test_the_source_is_used_where_it_agrees_and_not_where_it_does_not() -> None:
    def accuracy(found, agree: bool) -> float:
        _, _, fresh, truth = two_domains(9, 0, 2_000, agree=agree, width=30)
        return float(((fresh @ found.weight.T + found.bias).argmax(axis=1) == truth).mean())

    data = two_domains(1, 200, 20, width=30)
    both, alone = (joint(*data, 2, weights=weights) for weights in (WEIGHTS, np.zeros(1)))
    assert both.source_weight > 0
    assert accuracy(both, True) > accuracy(alone, True) + 0.05
    other = joint(*two_domains(1, 200, 60, agree=False, width=30), 2)
    assert other.low <= other.source_weight <= other.high
    assert other.source_weight <= 0.3
    assert accuracy(other, False) > 0.7


def test_a_source_weight_of_one_does_not_look_at_the_target(monkeypatch) -> None:
    monkeypatch.setattr("headstart.domains.few.PENALTIES", np.array([0.1]))
    Xs, ys, L, yl = two_domains(2, 80, 8)
    one = joint(Xs, ys, L, yl, 2, weights=np.ones(1))
    np.testing.assert_allclose(one.left_out, L @ one.weight.T + one.bias, atol=1e-8)


def test_a_model_that_is_right_is_kept_and_one_that_is_wrong_is_not() -> None:
    _, _, L, yl = two_domains(3, 10, 40)
    truth = np.where(yl[:, None] == np.arange(2), 1.0, -1.0)
    kept = corrected(truth, L, yl)
    assert kept.source_weight == 1.0
    assert np.abs(kept.weight).max() < 1e-6
    wrong = corrected(-truth, L, yl)
    assert wrong.source_weight == 0.0
    assert (wrong.left_out.argmax(axis=1) == yl).mean() > 0.8


def test_logits_on_the_scale_of_one_hot_targets_have_their_moments() -> None:
    rng = np.random.default_rng(0)
    logits = 7 * rng.normal(size=(500, 5))
    logits -= logits.mean(axis=1, keepdims=True)
    factor, offset = one_hot_scale(logits)
    targets = np.where(rng.integers(0, 5, 500)[:, None] == np.arange(5), 1.0, -1.0)
    scaled = factor * logits + offset
    assert scaled.mean() == pytest.approx(targets.mean(), abs=1e-9)
    assert scaled.std() == pytest.approx(targets.std(), rel=1e-6)


def right(n: int, k: int):
    return np.arange(n) < k


def test_few_labels_ship_an_adaptation_only_where_it_is_ahead_of_both_baselines() -> None:
    sides = (["source-only", "target-only"], ["coral", "joint"])
    clear = {"source-only": right(40, 15), "target-only": right(40, 20), "coral": right(40, 21), "joint": right(40, 36)}
    found = settled_by_labels(clear, *sides)
    assert (found.shipped, found.baseline, found.rival) == ("joint", "target-only", "joint")
    close = {**clear, "joint": right(40, 21)}
    found = settled_by_labels(close, *sides)
    assert found.shipped == "target-only"
    assert found.rival == "coral"  # as good as the joint, and validators rank it first
    assert settled_by_labels(close, *sides, agreed="joint").shipped == "joint"
    behind = {**clear, "joint": right(40, 19)}
    assert settled_by_labels(behind, *sides, agreed="joint").shipped == "target-only"
    level = {name: right(40, 20) for name in clear}
    assert settled_by_labels(level, *sides).baseline == "source-only"


def test_two_models_that_are_always_right_are_not_told_apart() -> None:
    told = compared(np.ones(4, bool), np.ones(4, bool))
    assert told.lead == 0
    assert told.noise > 0.2
