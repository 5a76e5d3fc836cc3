"""Several source domains: weights that follow a planted mixture, and a harmful domain that is found."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.domains.several import ALL, by_discrepancy, by_validators, equal, of_examples, screened

pytestmark = pytest.mark.fast


def clouds(seed: int, sizes: tuple[int, ...], centres: tuple[float, ...]):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(n, 4)) + np.array([0, at, 0, 0]) for n, at in zip(sizes, centres, strict=True)]
    return np.concatenate(parts).astype(np.float32), np.repeat(np.arange(len(sizes)), sizes)


def test_the_mixture_that_the_target_was_drawn_from_is_found() -> None:
    Xs, origin = clouds(0, (250, 120, 200), (-4.0, 0.0, 4.0))
    Xt, _ = clouds(1, (90, 210), (-4.0, 4.0))
    weights = by_discrepancy(Xs, origin, Xt)
    np.testing.assert_allclose(weights, [0.3, 0.0, 0.7], atol=0.06)


def test_weights_of_examples_divide_those_of_domains() -> None:
    origin = np.repeat([0, 1], [30, 10])
    weights = of_examples(equal(origin), origin)
    assert weights.mean() == pytest.approx(1)
    assert weights[:30].sum() == pytest.approx(weights[30:].sum())


def labelled(seed: int, n: int, *, wrong: bool = False):
    """Two classes far apart; of a wrong domain the labels are the other way round."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = rng.normal(size=(n, 6)) + np.where(y, 1.5, -1.5)[:, None] * np.array([1, 0, 0, 0, 0, 0])
    return X.astype(np.float32), (1 - y if wrong else y)


def planted(*, wrong: bool):
    parts = [labelled(0, 120), labelled(1, 120), labelled(2, 90, wrong=wrong)]
    Xs, ys = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Xs, ys, np.repeat([0, 1, 2], [120, 120, 90]), labelled(3, 150)


def test_a_domain_whose_labels_are_wrong_is_dropped_by_labels_of_the_target() -> None:
    _, _, _, (Xt, yt) = planted(wrong=True)
    few = (Xt[:40], yt[:40])
    parts = [labelled(0, 60), labelled(2, 90, wrong=True)]
    Xs, ys = (np.concatenate(each) for each in zip(*parts, strict=True))
    found = screened(Xs, ys, np.repeat([0, 1], [60, 90]), Xt, ["right", "wrong"], 2, few)
    assert found.dropped == ("wrong",)
    assert "labelled target examples without it" in found.reason
    assert set(found.asked) == {ALL, "right", "wrong"}
    assert (found.asked["wrong"].argmax(axis=1) == yt).mean() > 0.9  # without it


def test_a_domain_that_misleads_the_others_is_dropped_without_labels_of_the_target() -> None:
    Xs, ys, origin, (Xt, yt) = planted(wrong=True)
    found = screened(Xs, ys, origin, Xt, ["a", "b", "wrong"], 2)
    assert found.dropped == ("wrong",)
    assert "importance_weighted" in found.harmed["wrong"]
    right = {name: (logs.argmax(axis=1) == yt).mean() for name, logs in found.asked.items()}
    assert right["wrong"] > right[ALL]


def test_domains_that_are_alike_are_all_kept() -> None:
    Xs, ys, origin, (Xt, _) = planted(wrong=False)
    found = screened(Xs, ys, origin, Xt, ["a", "b", "c"], 2)
    assert found.dropped == ()
    assert found.reason.startswith("No source was dropped")
    weights = by_validators(Xs, ys, origin, Xt, 2)
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0.05).all()
