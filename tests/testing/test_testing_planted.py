"""Planted targets are what they say they are: known by arithmetic, not by running the product."""

import numpy as np
import pytest

from headstart.features import HandcraftedBody, NetworkBody
from headstart.judge import compare
from headstart.strategy.linear import kernel_machine, ridge
from headstart.target.inputs import ArrayInputs
from headstart.testing import ToySource, negative, null, positive
from headstart.testing.planted import pattern, predictions

pytestmark = pytest.mark.fast


def accuracy(planted, body, fit=lambda X, y: ridge(X, y, 2).head):
    X = body.compute(ArrayInputs(planted.pictures), np.arange(len(planted.labels))).vectors
    y = (np.array(planted.labels) == "plus").astype(np.int64)
    head = fit(X[: planted.train], y[: planted.train])
    return (head.logits(X[planted.train :]).argmax(axis=1) == y[planted.train :]).mean()


def test_patterns_are_balanced_and_unrelated():
    detail, layout = pattern("detail"), pattern("layout")
    assert set(np.unique(detail)) == set(np.unique(layout)) == {-1.0, 1.0}
    assert detail.sum() == layout.sum() == 0
    assert np.abs(detail.reshape(16, 2, 16, 2).sum(axis=(1, 3))).max() == 0  # halving averages it away
    assert (detail * layout).sum() == 0


def test_what_the_source_sees_decides_whether_it_helps():
    detail, pixels = (NetworkBody.of(ToySource(sees)) for sees in ("detail", "pixels"))
    plain, hog = HandcraftedBody("pixels", 16), HandcraftedBody("hog", 64)
    machine = lambda X, y: kernel_machine(X, y, 2, 10.0)  # noqa: E731
    helps, hurts, same = positive(), negative(), null()
    assert accuracy(helps, detail) >= 0.97
    assert accuracy(helps, plain) <= 0.62
    assert accuracy(helps, plain, machine) <= 0.62
    assert accuracy(helps, hog) <= 0.62
    assert accuracy(helps, hog, machine) <= 0.62
    assert accuracy(hurts, detail) <= 0.62
    assert accuracy(hurts, plain) >= 0.9
    assert accuracy(same, pixels) >= 0.9
    assert abs(accuracy(same, pixels) - accuracy(same, plain)) <= 0.03


def test_planted_targets_are_balanced_and_the_same_for_the_same_seed():
    for make in (positive, negative, null):
        one, again, other = make(seed=3), make(seed=3), make(seed=4)
        assert (one.pictures == again.pictures).all()
        assert (one.pictures != other.pictures).any()
        assert one.labels[: one.train].count("plus") == one.train // 2
        target = one.target()
        assert (target.split, target.n_train, target.n_test, target.metric) == ("given", 80, 160, "accuracy")
        assert not target.hygiene.near_duplicates
    small = positive(40, 0).target()
    assert (small.split, small.n_examples, len(small.episodes)) == ("cross-fit", 40, 10)


@pytest.mark.parametrize(
    ("transfer", "baseline", "verdict"), [(0.9, 0.6, "helped"), (0.6, 0.9, "hurt"), (0.8, 0.8, "undetermined")]
)
def test_planted_predictions_are_as_right_as_they_say(transfer, baseline, verdict):
    judged = predictions(transfer, baseline, n=400, classes=3, seeds=4)
    assert judged.transfer.shape == judged.baseline.shape == (4, 400, 3)
    assert judged.correct("transfer").mean() == pytest.approx(transfer, abs=0.04)
    assert judged.correct("baseline").mean() == pytest.approx(baseline, abs=0.04)
    assert np.allclose(judged.transfer.sum(axis=2), 1)
    assert compare([judged], ["a", "b", "c"], "accuracy").verdict == verdict
