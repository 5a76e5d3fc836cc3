"""Importances of bands against brute force and finite differences, relevance against what was planted."""

import itertools

import numpy as np
import pytest

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import extract
from headstart.features.network import NetworkBody
from headstart.predictor import LinearHead
from headstart.predictor import load as load_predictor
from headstart.predictor.heads import restore
from headstart.score.ridge import solve, standardise
from headstart.source import find
from headstart.source.card import Stage, beside, halfway
from headstart.strategy import Bench, bands, linear
from headstart.strategy.adapt.probe import Probe
from headstart.target.inputs import ArrayInputs
from headstart.target.view import Examples, TrainView
from headstart.testing.toys import ToySource

pytestmark = pytest.mark.fast

WIDTHS = (6, 20, 9)


def problem(N=60, classes=3, telling=(1,), noise=1.0, seed=0):
    """Bands of noise; in those that tell, the classes have means of their own."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(N) % classes).astype(np.int64)
    parts = []
    for g, width in enumerate(WIDTHS):
        centres = rng.normal(size=(classes, width)) * (g in telling)
        parts.append(centres[y] + noise * rng.normal(size=(N, width)))
    return np.concatenate(parts, axis=1).astype(np.float32), y


def kernels_of(X, y, classes):
    mean, scale = standardise(X)
    Z = ((X - mean) / scale).astype(np.float64)
    Z -= Z.mean(axis=0)
    Y = np.where(y[:, None] == np.arange(classes), 1.0, -1.0)
    ends = np.cumsum([0, *WIDTHS])
    parts = [Z[:, a:b] for a, b in itertools.pairwise(ends)]
    return parts, [part @ part.T for part in parts], Y - Y.mean(axis=0), Y


@pytest.mark.parametrize("N", [20, 60])  # fewer examples than features, and more
def test_the_left_out_loss_is_what_refitting_gives(N):
    X, y = problem(N)
    parts, kernels, Yc, Y = kernels_of(X, y, 3)
    w = np.array([0.3, 0.02, 1.7])
    A = np.column_stack([*parts, np.ones(N)])
    penalty = np.diag([*np.repeat(1 / w, WIDTHS), 0.0])  # each band its own, and none on the offset
    total = 0.0
    for i in range(N):
        keep = np.arange(N) != i
        coefficients = np.linalg.solve(A[keep].T @ A[keep] + penalty, A[keep].T @ Y[keep])
        total += ((Y[i] - A[i] @ coefficients) ** 2).sum()
    assert bands.left_out_loss(np.log(w), kernels, Yc)[0] == pytest.approx(total / N, rel=1e-6)


def test_the_gradient_is_that_of_finite_differences():
    X, y = problem(30)
    _, kernels, Yc, _ = kernels_of(X, y, 3)
    at, step = np.log([0.3, 0.02, 1.7]), 1e-5
    slope = bands.left_out_loss(at, kernels, Yc)[1]
    for g in range(3):
        e = step * (np.arange(3) == g)
        up, down = (bands.left_out_loss(at + s * e, kernels, Yc)[0] for s in (1, -1))
        assert slope[g] == pytest.approx((up - down) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("telling", [(0,), (1,), (2,), (0, 2)])
def test_the_bands_that_tell_are_found(telling):
    X, y = problem(90, telling=telling)
    found = bands.importances(X, y, 3, WIDTHS)
    assert found.max() == 1
    silent = [g for g in range(3) if g not in telling]
    assert found[list(telling)].min() > 3 * found[silent].max(), found


def test_trusting_the_right_band_predicts_better_than_trusting_all_alike():
    """Averaged over draws, on examples that were not seen: 6 features tell, and 29 do not."""
    gains = []
    for seed in range(5):
        X, y = problem(260, telling=(0,), noise=1.5, seed=seed)
        train, test = slice(0, 40), slice(40, None)
        importance = np.repeat(bands.importances(X[train], y[train], 3, WIDTHS), WIDTHS).astype(np.float32)
        right = [
            (linear.ridge(X[train], y[train], 3, w).head.logits(X[test]).argmax(axis=1) == y[test]).mean()
            for w in (importance, None)
        ]
        gains.append(right[0] - right[1])
    assert np.mean(gains) > 0.03, gains


def test_equal_importances_are_plain_ridge_and_logistic_regression():
    X, y = problem()
    ones = np.ones(X.shape[1], dtype=np.float32)
    plain, same = solve(X, y, 3), solve(X, y, 3, importance=ones)
    assert plain.penalty == same.penalty
    np.testing.assert_array_equal(plain.weight, same.weight)
    # Ten times the importance is ten times the penalty: the same machine.
    more = solve(X, y, 3, importance=100 * ones)
    assert more.penalty == pytest.approx(100 * plain.penalty)
    np.testing.assert_allclose(more.weight, plain.weight, atol=1e-5)
    a, b = (linear.logistic(X, y, 3, 0.1, importance) for importance in (None, ones))
    np.testing.assert_array_equal(a.weight, b.weight)


@pytest.mark.parametrize("N", [20, 60])
def test_an_importance_of_zero_leaves_a_feature_out(N):
    X, y = problem(N)
    importance = np.repeat(np.array([1, 0, 1], dtype=np.float32), WIDTHS)
    found = solve(X, y, 3, np.array([7.0]), importance)
    assert not found.weight[:, 6:26].any()
    mean, scale = standardise(X)
    Z = ((X - mean) / scale)[:, importance > 0].astype(np.float64)
    Y = np.where(y[:, None] == np.arange(3), 1.0, -1.0)
    expected = np.linalg.solve(Z.T @ Z + 7.0 * np.eye(Z.shape[1]), Z.T @ (Y - Y.mean(axis=0))).T
    np.testing.assert_allclose(found.weight[:, importance > 0] * scale[importance > 0], expected, atol=1e-4)


def test_a_planted_sparse_truth_is_recovered():
    """Of 200 features 5 tell: the highest relevance is theirs, and a probe that keeps a fortieth is better than all."""
    rng = np.random.default_rng(0)
    y = (np.arange(420) % 3).astype(np.int64)
    X = rng.normal(size=(420, 200)).astype(np.float32)
    telling = rng.choice(200, 5, replace=False)
    X[:, telling] += np.stack([rng.permutation([-1.0, 0.0, 1.0]) for _ in range(5)], axis=1)[y].astype(np.float32)
    found = bands.relevance(X[:120], y[:120], 3)
    assert set(np.argsort(-found)[:5]) == set(telling)
    chosen = np.argsort(-found)[:5]
    few = linear.ridge(X[:120, chosen], y[:120], 3).head.logits(X[120:, chosen]).argmax(axis=1)
    every = linear.ridge(X[:120], y[:120], 3).head.logits(X[120:]).argmax(axis=1)
    assert (few == y[120:]).mean() > (every == y[120:]).mean() + 0.1


def test_relevance_is_the_group_lasso_s_optimum():
    """Its conditions: a row that is used has a gradient of the penalty's length, and no other has a longer one."""
    X, y = problem(80, telling=(0, 1))
    mean, scale = standardise(X)
    Z = ((X - mean) / scale).astype(np.float64)
    Y = np.where(y[:, None] == np.arange(3), 1.0, -1.0)
    Y -= Y.mean(axis=0)
    from sklearn.linear_model import MultiTaskLasso

    a = bands.SHARPNESS * np.linalg.norm(Z.T @ Y, axis=1).max() / len(Z)
    W = MultiTaskLasso(alpha=a, fit_intercept=False, max_iter=20_000, tol=1e-12).fit(Z, Y).coef_.T
    gradient = np.linalg.norm(Z.T @ (Y - Z @ W), axis=1) / len(Z)
    used = np.linalg.norm(W, axis=1) > 0
    np.testing.assert_allclose(gradient[used], a, rtol=1e-5)
    assert (gradient[~used] <= a * (1 + 1e-6)).all()
    np.testing.assert_allclose(bands.relevance(X, y, 3), np.linalg.norm(W, axis=1), atol=5e-3)


def test_features_that_say_nothing_at_all():
    X, y = np.ones((12, 35), dtype=np.float32), (np.arange(12) % 2).astype(np.int64)
    assert not bands.relevance(X, y, 2).any()
    np.testing.assert_array_equal(bands.importances(X, y, 2, WIDTHS), 1)


def stages(*widths):
    return tuple(Stage(f"s{i}", (width, 4, 4), 1.0) for i, width in enumerate(widths))


@pytest.mark.parametrize(
    ("widths", "features", "expected"),
    [
        ((16, 24, 112, 320), 1280, ("s0", "s1", "s2", "s3")),  # a last convolution follows
        ((64, 128, 256, 512), 512, ("s0", "s1", "s2")),  # the pooled output is the mean of the last
        ((8,) * 12, 8, ("s8", "s9", "s10")),  # a transformer: no more than three times as wide
        ((8,), 8, ()),
        ((), 8, ()),
    ],
)
def test_which_stages_stand_beside_the_pooled_output(widths, features, expected):
    assert beside(stages(*widths), features) == expected


def test_the_stage_half_way():
    assert halfway(stages(1, 2, 3, 4, 5, 6, 7)) == ("s3",)
    assert halfway(stages(1, 2, 3, 4, 5, 6)) == ("s2",)
    assert halfway(stages(1, 2)) == ()


def test_a_head_on_some_columns_comes_back():
    rng = np.random.default_rng(0)
    head = LinearHead(*(rng.normal(size=s).astype(np.float32) for s in ((3, 2), (3,))), np.array([4, 1]))
    X = rng.normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(head.logits(X), X[:, [4, 1]] @ head.weight.T + head.bias, rtol=1e-6)
    np.testing.assert_array_equal(restore("linear", head.arrays()).logits(X), head.logits(X))


# -- the probe that uses them -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A network with stages, of random weights saved to a file."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = timm.create_model("test_efficientnet", pretrained=False)
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(dict(model.state_dict()), file)
    return find(f"timm:test_efficientnet.r160_in1k@{file}")


def coloured(n=30):
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 3).astype(np.int64)
    pixels = rng.integers(0, 160, (n, 24, 24, 3), dtype=np.uint8)
    pixels[np.arange(n), :, :, y] += 60
    return TrainView(Examples(ArrayInputs(pixels), y), ("a", "b", "c"), "accuracy")


def test_every_layer_comes_from_one_pass(tiny, tmp_path):
    """Whatever is asked first, the rest is in the store; and it says what it once cost."""
    view = coloured()
    for number, layers in enumerate(("deep", "mixed", "shallow")):
        bench = Bench(store=tmp_path)
        Probe("ridge", None, layers)(tiny, view, budget=Budget(), seed=0, bench=bench)
        assert (bench.tally.computed, bench.tally.recalled) == ((30, 0) if number == 0 else (0, 30))
        assert (bench.tally.saved > 0) == (layers == "mixed"), "its seconds stand with the pooled output"


def test_mixed_is_the_machine_on_all_stages_and_shallow_on_one(tiny, tmp_path):
    view, card = coloured(), tiny.card
    earlier = beside(card.stages, card.features)
    assert len(earlier) >= 2
    for layers, outputs in (("mixed", (*earlier, "pooled")), ("shallow", halfway(card.stages))):
        made = Probe("ridge", None, layers)(tiny, view, budget=Budget(), seed=0, bench=Bench(store=tmp_path))
        X = extract(NetworkBody.of(tiny, outputs=outputs), view.examples.inputs, store=tmp_path)
        y = view.examples.labels
        np.testing.assert_array_equal(made.head.weight, linear.ridge(X, y, 3).as_logits(y).weight)
        assert made.body.outputs == outputs


@pytest.mark.parametrize("settings", [{"weights": "learned"}, {"keep": 0.03}, {"weights": "learned", "keep": 0.5}])
def test_the_saved_predictor_computes_and_keeps_only_what_it_needs(settings, tiny, tmp_path, monkeypatch):
    view = coloured()
    # Only the first stage is worth anything, so that all others are left out.
    real = bands.importances
    monkeypatch.setattr(bands, "importances", lambda *args: (w := real(*args)) * (np.arange(len(w)) < 1) + 0.0)
    probe = Probe("ridge", None, "mixed", **settings)
    made = probe(tiny, view, budget=Budget(), seed=0, bench=Bench(store=tmp_path / "store"))
    card = tiny.card
    earlier = beside(card.stages, card.features)
    if "weights" in settings:
        assert made.body.outputs == earlier[:1]
    used = made.head.weight.shape[1]
    assert used < sum(stage.width for stage in card.stages) + card.features
    assert used == made.body.width or len(made.head.columns) == used
    made.save(tmp_path / "model", check=view.examples.inputs)  # raises unless it predicts the same
    back = load_predictor(tmp_path / "model")
    assert back.body.outputs == made.body.outputs
    np.testing.assert_allclose(
        back.predict_proba(view.examples.inputs), made.predict_proba(view.examples.inputs), atol=1e-5
    )


def test_what_a_probe_cannot_do_is_said(tiny, tmp_path):
    def fit(**settings):
        Probe(**settings)(tiny, coloured(), budget=Budget(), seed=0, bench=Bench(store=tmp_path))

    with pytest.raises(TrialError, match="keep=0: a share of the features"):
        fit(keep=0.0)
    with pytest.raises(TrialError, match="has no stages that a probe could take"):
        Probe(layers="mixed")(ToySource(), coloured(), budget=Budget(), seed=0, bench=Bench(store=tmp_path))
