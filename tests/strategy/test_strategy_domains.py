"""Shallow ways of domain adaptation on planted shifts: what they are for, they do."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.predictor import LinearHead
from headstart.score.ridge import PENALTIES, Design, one_hot
from headstart.strategy import ADAPTATIONS
from headstart.strategy.adapt import tri_train
from headstart.strategy.pair import Pair, Sides, Taught, classifier, on_raw, paired, weighted
from headstart.strategy.shallow import Domains, OnFeatures, Shallow

pytestmark = pytest.mark.fast

ADAPTING = [kind for name, kind in ADAPTATIONS.items() if issubclass(kind, OnFeatures) and name != "source-only"]
"""The others are tested in test_strategy_deep.py."""
CENTRES = 3.0 * np.eye(3, 6)


def domain(n: int, seed: int, shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=shares)
    return (CENTRES[y] + rng.normal(size=(n, 6))).astype(np.float32), y


def accuracy(kind, Xs, ys, Xt, yt, **how) -> float:
    head = kind(**how).head(Xs, ys, Xt, 3, 0)
    return float((head.logits(Xt).argmax(axis=1) == yt).mean())


@pytest.mark.parametrize("kind", ADAPTING, ids=lambda kind: kind.name)
def test_nothing_is_lost_where_nothing_moved_and_the_callers_arrays_stay(kind) -> None:
    (Xs, ys), (Xt, yt) = domain(120, 0), domain(90, 1)
    before = Xs.copy(), ys.copy(), Xt.copy()
    usual = accuracy(ADAPTATIONS["source-only"], Xs, ys, Xt, yt)
    for strategy in kind.grid(None):
        # Labelled target examples and source domains are there for those that need them.
        few = (Xt[:30], yt[:30]) if kind.needs.few else None
        head = strategy.fit(Domains(Xs, ys, Xt, 3, 0, np.arange(120) % 2, few, (domain(60, 21)[0],))).head
        assert (head.logits(Xt).argmax(axis=1) == yt).mean() > usual - 0.08, strategy
    assert all(np.array_equal(a, b) for a, b in zip(before, (Xs, ys, Xt), strict=True))


@pytest.mark.parametrize("kind", ADAPTING, ids=lambda kind: kind.name)
def test_few_target_labels_mend_what_labels_that_mean_something_else_broke(kind) -> None:
    """Concept shift: two classes have changed places. No method without target labels can know."""
    (Xs, ys), (Xt, yt) = domain(150, 7), domain(150, 8)
    yt = np.array([1, 0, 2])[yt]
    few = (Xt[:24], yt[:24])
    found = kind.grid(None)[0].fit(Domains(Xs, ys, Xt, 3, 0, np.arange(150) % 2, few, (domain(60, 21)[0],)))
    assert (found.head.logits(Xt[24:]).argmax(axis=1) == yt[24:]).mean() > 0.75
    assert found.said["source_weight"]["value"] < 0.5
    assert found.left_out is not None
    assert (found.left_out.argmax(axis=1) == yt[:24]).mean() > 0.6


@pytest.mark.parametrize("name", ["coral", "subspace", "tca", "transport", "self-train", "tri-train", "propagate"])
def test_an_affine_shift_is_undone(name: str) -> None:
    (Xs, ys), (Xt, yt) = domain(150, 2), domain(150, 3)
    Xt = 0.5 * Xt + np.array([4, -3, 2, 0, 0, 0], np.float32)
    assert accuracy(ADAPTATIONS["source-only"], Xs, ys, Xt, yt) < 0.75
    assert accuracy(ADAPTATIONS[name], Xs, ys, Xt, yt) > 0.88


def turned(degrees: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes side by side, long and thin, turned about the origin."""
    rng = np.random.default_rng(seed)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 2)) * (0.4, 1.5) + np.where(y, 1.5, -1.5)[:, None] * (1, 0)
    angle = np.radians(degrees)
    return (X @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])).astype(np.float32), y


@pytest.mark.parametrize("teacher", ["self-train", "tri-train"])
def test_domains_in_between_lead_where_the_target_is_too_far_to_adapt_to_at_once(teacher: str) -> None:
    def right(degrees: tuple[int, ...], **how) -> tuple[float, float]:
        """At once, and over domains in between."""
        (Xs, ys), (Xt, yt) = turned(0, 0), turned(degrees[-1], 4)
        between = tuple(turned(angle, seed)[0] for seed, angle in enumerate(degrees[:-1], 1))
        found = ADAPTATIONS["gradual"](teacher=teacher, **how).fit(Domains(Xs, ys, Xt, 2, 0, intermediate=between))
        assert [step["examples"] for step in found.said["intermediate"]] == [120] * len(between)
        assert all(0 < step["learned"] <= 120 for step in found.said["intermediate"])
        heads = ADAPTATIONS[teacher]().fit(Domains(Xs, ys, Xt, 2, 0)).head, found.head
        return tuple(float((head.logits(Xt).argmax(axis=1) == yt).mean()) for head in heads)

    once, over = right((20, 40, 60))
    assert over > once + 0.08
    once, over = right((30, 60, 90, 120), keep=False)
    assert once < 0.3, "at once it is led to the wrong classes"
    assert over > 0.8


@pytest.mark.parametrize("keep", [True, False])
def test_a_domain_in_between_that_nothing_is_sure_of_is_passed_over(keep: bool) -> None:
    (Xs, ys), (A, _), (Xt, _) = domain(90, 2), domain(60, 5), domain(80, 3)
    found = ADAPTATIONS["gradual"](sure=1.1, keep=keep).fit(Domains(Xs, ys, Xt, 3, 0, intermediate=(A,)))
    assert found.said["intermediate"] == [{"examples": 60, "learned": 0}]
    at_once = ADAPTATIONS["self-train"]().fit(Domains(Xs, ys, Xt, 3, 0))
    assert (found.head.logits(Xt).argmax(axis=1) == at_once.head.logits(Xt).argmax(axis=1)).all()


def test_what_gradual_learns_of_the_source_stands_on_the_sources_own_features() -> None:
    """Moved and stretched at each step, and each time undone: the source's side must be right of the source."""
    (Xs, ys), (A, _), (Xt, yt) = domain(150, 2), domain(150, 5), domain(150, 3)
    found = ADAPTATIONS["gradual"]().fit(Domains(Xs, ys, 4 * Xt - 9, 3, 0, intermediate=(2 * A + 5,)))
    assert found.elsewhere is not None
    assert (found.elsewhere.logits(Xs).argmax(axis=1) == ys).mean() > 0.95
    assert (found.head.logits(4 * Xt - 9).argmax(axis=1) == yt).mean() > 0.9


def test_teachers_of_tri_training_overrule_the_one_that_errs(monkeypatch) -> None:
    """Two of three are right of every target example; what they say together is learned, beside the source."""
    (Xs, ys), (Xt, yt) = domain(90, 11), domain(300, 12)
    Xt = Xt[:, ::-1].copy()  # so that the source's classifier knows nothing of the target
    truth = classifier(Xt, yt, 3)

    class Says(Shallow):
        name = "says"

        def __init__(self, head: LinearHead) -> None:
            self.says = head

        def sides(self, pair, seed) -> Sides:
            return Sides(self.says, self.says)

    wrong = LinearHead(np.roll(truth.weight, 1, axis=0), np.roll(truth.bias, 1))
    monkeypatch.setattr(tri_train, "TEACHERS", (Says(truth), Says(wrong), Says(truth)))
    assert accuracy(ADAPTATIONS["source-only"], Xs, ys, Xt, yt) < 0.6

    def right() -> float:
        head = ADAPTATIONS["tri-train"]().sides(Pair(Xs, ys, Xt, 3), 0).target
        return float((head.logits(Xt).argmax(axis=1) == yt).mean())

    assert right() > 0.85
    monkeypatch.setattr(tri_train, "TEACHERS", (Says(wrong), Says(wrong), Says(truth)))
    assert right() < 0.4


def test_what_ways_share_is_made_once_for_equal_arrays_and_gives_what_each_finds_alone() -> None:
    (Xs, ys), (Xt, _) = domain(90, 13), domain(80, 14)
    Xt = 0.5 * Xt + 1
    asked = [setting for kind in ADAPTING if issubclass(kind, Shallow) for setting in kind.grid(None)]
    alone = [setting.sides(Pair(Xs, ys, Xt, 3), 0) for setting in asked]
    shared = paired(Xs, ys, Xt, 3)
    together = [setting.on(shared, 0) for setting in asked]
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.target.weight, other.target.weight)
        assert np.array_equal(one.source.bias, other.source.bias)
    # Read again from the store they are equal arrays; changed ones are others.
    assert paired(Xs.copy(), ys.copy(), Xt.copy(), 3) is shared
    Xt[0, 0] += 1
    assert paired(Xs, ys, Xt, 3) is not shared


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("n", "m"), [(40, 30), (12, 10)], ids=["more examples", "more features"])
def test_what_is_taught_is_ridge_on_both_whatever_its_gram_matrix_was_put_together_from(n, m, aligned) -> None:
    rng = np.random.default_rng(15)
    Xs, Xt = (rng.normal(size=(k, 30)).astype(np.float32) for k in (n, m))
    ys, chosen = np.arange(n) % 3, np.sort(rng.permutation(m)[: m // 2])
    guessed = rng.integers(0, 3, len(chosen))
    pair = Pair(Xs, ys, Xt, 3)
    taught = Taught(pair, chosen, guessed, target_weight=0.5, aligned=aligned)
    weights = np.repeat([1.0, 0.5], [n, len(chosen)])
    Z = np.concatenate([pair.S, (pair.aligned if aligned else pair.unaligned)[chosen]]).astype(np.float64)
    found = Design(Z, weights=weights).fit(one_hot(taught.y, 3))
    head = taught.quick(found.penalty)
    assert head.weight == pytest.approx(found.weight, abs=1e-5)
    assert head.bias == pytest.approx(found.bias, abs=1e-5)
    whole = taught.head()
    factor = np.abs(whole.weight).sum() / np.abs(found.weight).sum()  # its logits are likely
    assert whole.weight == pytest.approx(factor * found.weight, abs=1e-4)


def test_single_precision_does_not_hide_a_small_penalty_behind_a_large_one() -> None:
    """With few examples that count, errors may have two minima, the lower one where single precision sees noise."""
    rng = np.random.default_rng(17)
    basis = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    X = (basis * np.geomspace(1e3, 1e-1, 300)).astype(np.float32)
    Y = X @ (rng.normal(size=(300, 1)) / np.geomspace(1e3, 1e-1, 300)[:, None]) + 1e-3 * rng.normal(size=(300, 1))
    single, double = (Design(X, single=each).fit(Y) for each in (True, False))
    assert single.penalty == double.penalty


@pytest.mark.parametrize("shape", [(300, 280), (280, 300)], ids=["more examples", "more features"])
@pytest.mark.parametrize("noise", [1.0, 1e-4], ids=["large penalty", "penalty that rounding would touch"])
def test_single_precision_finds_what_double_precision_finds(shape, noise) -> None:
    rng = np.random.default_rng(16)
    X = (rng.normal(size=shape) * np.geomspace(30, 0.05, shape[1])).astype(np.float32)
    Y = X @ rng.normal(size=(shape[1], 2)) / 50 + noise * rng.normal(size=(shape[0], 2))
    single, double = (Design(X, single=each).fit(Y) for each in (True, False))
    assert single.penalty == double.penalty
    assert (double.penalty < 1) == (noise < 1)
    assert single.weight == pytest.approx(double.weight, abs=2e-3 * np.abs(double.weight).max())
    assert single.left_out == pytest.approx(double.left_out, abs=2e-3 * np.abs(Y).max())


@pytest.mark.parametrize("n", [20, 60], ids=["more features", "more examples"])
def test_ridge_with_weights_is_that_of_repeated_examples_and_its_left_out_scores_those_of_fits_without(n: int) -> None:
    rng = np.random.default_rng(9)
    Z, Y, counts = rng.normal(size=(n, 30)), np.clip(rng.normal(size=(n, 2)), -1, 1), rng.integers(1, 4, n)
    weights = counts.astype(np.float64)
    found = Design(Z, weights=weights).fit(Y)
    # Normal equations with an offset, at the penalty that was chosen: every penalty's solution is tried.
    normal = weights / weights.mean()

    def solved(penalty: float, w: np.ndarray) -> np.ndarray:
        mean, offset = (w @ Z) / w.sum(), (w @ Y) / w.sum()
        A = (w[:, None] * (Z - mean)).T @ (Z - mean) + penalty * np.eye(30)
        return np.linalg.solve(A, (w[:, None] * (Z - mean)).T @ (Y - offset)).T

    fits = {penalty: solved(penalty, normal) for penalty in np.logspace(-2, 6, 25)}
    penalty = min(fits, key=lambda p: np.abs(fits[p] - found.weight).max())
    assert found.weight == pytest.approx(fits[penalty], abs=1e-8)
    assert found.penalty == pytest.approx(penalty)
    # Examples without weight are predicted, and change nothing.
    more = weighted(np.concatenate([Z, Z[:5] + 1]), np.concatenate([Y, Y[:5]]), np.concatenate([weights, np.zeros(5)]))
    scaled = Design(Z, weights=weights, penalties=PENALTIES * n / (n + 5)).fit(Y)
    assert more.head.weight == pytest.approx(scaled.weight, abs=1e-5)
    assert more.left_out[:n] == pytest.approx(scaled.left_out, abs=1e-5)
    assert more.left_out[n:] == pytest.approx((Z[:5] + 1) @ scaled.weight.T + scaled.bias, abs=1e-5)
    # What the first example would score, had it no weight.
    without = normal.copy()
    without[0] = 0.0
    mean, offset = (without @ Z) / without.sum(), (without @ Y) / without.sum()
    left = (Z[0] - mean) @ solved(penalty, without).T + offset
    assert found.left_out[0] == pytest.approx(left, abs=1e-6)


def test_label_shift_is_corrected() -> None:
    rng = np.random.default_rng(4)
    y, yt = rng.choice(3, 400), rng.choice(3, 400, p=(0.9, 0.08, 0.02))
    Xs, Xt = ((0.45 * CENTRES[c] + rng.normal(size=(400, 6))).astype(np.float32) for c in (y, yt))
    usual = accuracy(ADAPTATIONS["source-only"], Xs, y, Xt, yt)
    for shares in ("mlls", "bbse"):
        assert accuracy(ADAPTATIONS["label-shift"], Xs, y, Xt, yt, shares=shares) > usual + 0.05


def test_weights_mend_a_linear_model_of_a_curved_truth_under_covariate_shift() -> None:
    """Shimodaira's example: no line fits everywhere, the weighted one fits where the target is."""
    rng = np.random.default_rng(5)
    Xs, Xt = rng.normal(0, 1.5, (500, 1)).astype(np.float32), rng.normal(1.5, 0.5, (300, 1)).astype(np.float32)
    ys, yt = (((X[:, 0] ** 2) > 2.0).astype(np.int64) for X in (Xs, Xt))
    usual = ADAPTATIONS["source-only"]().head(Xs, ys, Xt, 2, 0)
    mended = ADAPTATIONS["reweight"](weights="rulsif").head(Xs, ys, Xt, 2, 0)
    right = [float((head.logits(Xt).argmax(axis=1) == yt).mean()) for head in (usual, mended)]
    assert right[1] > right[0] + 0.1


def test_a_head_on_raw_features_says_what_the_head_on_mapped_ones_says() -> None:
    rng = np.random.default_rng(6)
    X, onto = rng.normal(2, 3, (50, 4)).astype(np.float32), rng.normal(size=(4, 2))
    mean, scale = X.mean(axis=0), X.std(axis=0)
    Z = ((X - mean) / scale) @ onto
    head = classifier(Z, np.arange(50) % 2, 2)
    assert on_raw(head, mean, scale, onto).logits(X) == pytest.approx(head.logits(Z.astype(np.float32)), abs=1e-4)
