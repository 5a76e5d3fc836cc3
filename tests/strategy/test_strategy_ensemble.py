"""Ensembles: the mean of what their members say, several sources as one, and the same for baselines."""

import numpy as np
import pytest

from headstart.budget import Budget
from headstart.errors import SourceError, TrialError
from headstart.predictor import ConstantHead, LinearHead, MeanHead, load
from headstart.predictor.heads import restore
from headstart.search import Options
from headstart.search.plan import Plan
from headstart.search.seconds import PREPARING, STORED
from headstart.source import JoinedSource, find, join
from headstart.source.joined import names_in
from headstart.strategy import Bench
from headstart.strategy.adapt.classical import Classical
from headstart.strategy.adapt.ensemble import Ensemble
from headstart.strategy.adapt.probe import Probe
from headstart.target.inputs import ArrayInputs
from headstart.target.view import Examples, TrainView
from headstart.testing.toys import ToySource
from headstart.trial import Result, Spec, execute

pytestmark = pytest.mark.fast

LITES = [find(f"efficientnet_lite{i}").card for i in range(3)]


def dotted(n=30):
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 3).astype(np.int64)
    pixels = rng.integers(0, 160, (n, 32, 32, 3), dtype=np.uint8)
    pixels[np.arange(n), :16, :, y] += 40
    return TrainView(Examples(ArrayInputs(pixels), y), ("a", "b", "c"), "accuracy")


@pytest.fixture(scope="module")
def several():
    return JoinedSource([ToySource("detail"), ToySource("pixels")])


def test_the_mean_of_probabilities_by_hand():
    sure = ConstantHead(np.log(np.array([0.9, 0.1], dtype=np.float32)))
    rng = np.random.default_rng(0)
    line = LinearHead(rng.normal(size=(2, 3)).astype(np.float32), np.zeros(2, dtype=np.float32))
    head = MeanHead([sure, line], np.array([[0, 2], [2, 5]]))
    X = rng.normal(size=(4, 5)).astype(np.float32)
    z = X[:, 2:] @ line.weight.T
    other = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(head.logits(X)), (other + np.array([0.9, 0.1])) / 2, rtol=1e-5)
    again = restore("mean", head.arrays())
    np.testing.assert_array_equal(again.logits(X), head.logits(X))
    far = LinearHead(np.array([[1e3], [-1e3]], dtype=np.float32), np.zeros(2, dtype=np.float32))
    assert np.isfinite(MeanHead([far, far], np.array([[0, 1], [0, 1]])).logits(np.ones((1, 1), np.float32))).all()


def test_an_ensemble_is_the_mean_of_its_members(several, tmp_path):
    view, bench = dotted(), Bench(store=tmp_path / "store")
    made = Ensemble()(several, view, budget=Budget(), seed=0, bench=bench)
    inputs = view.examples.inputs
    each = [
        Probe("ridge")(part, view, budget=Budget(), seed=0, bench=bench).predict_proba(inputs) for part in several.parts
    ]
    assert np.abs(each[0] - each[1]).max() > 0.05, "two members that agree would prove nothing"
    np.testing.assert_allclose(made.predict_proba(inputs), np.mean(each, axis=0), atol=1e-5)
    vectors = bench.features(made.body, inputs, "")
    np.testing.assert_allclose(np.exp(made.log_probabilities(vectors)), np.mean(each, axis=0), atol=1e-5)
    made.save(tmp_path / "model", check=inputs)  # raises unless it comes back identical
    back = load(tmp_path / "model")
    assert [body.architecture for body in back.body.bodies] == ["toy_detail", "toy_pixels"]
    assert [body.revision for body in back.body.bodies] == [part.revision() for part in several.parts]
    np.testing.assert_allclose(back.predict_proba(inputs), made.predict_proba(inputs), atol=1e-5)


def test_members_take_what_the_store_has_and_their_costs_add_up(several, tmp_path):
    view = dotted()
    first = Bench(store=tmp_path)
    Probe("ridge")(several.parts[0], view, budget=Budget(), seed=0, bench=first)
    second = Bench(store=tmp_path)
    Ensemble()(several, view, budget=Budget(), seed=0, bench=second)
    assert (first.tally.computed, second.tally.computed, second.tally.recalled) == (30, 30, 30)
    card, parts = several.card, [part.card for part in several.parts]
    for cost in ("flops", "parameters", "bytes", "features"):
        assert getattr(card, cost) == sum(getattr(part, cost) for part in parts)


def test_an_unreadable_input_is_unreadable_to_all(several, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    made = Ensemble()(several, dotted(), budget=Budget(), seed=0, bench=Bench(store=tmp_path))
    [row] = made.rows([tmp_path / "broken.png"])
    assert row.error
    assert not row.label


def test_names_of_several_sources():
    assert join(LITES[:2]).name == "bundled:efficientnet_lite0+bundled:efficientnet_lite1"
    assert find("efficientnet_lite0+bundled:efficientnet_lite1").card == join(LITES[:2])
    assert join(LITES).short == "efficientnet_lite0+efficientnet_lite1+efficientnet_lite2"
    assert names_in("timm:a@x+y.bin+hf:b/c+d", ("timm", "hf")) == ["timm:a@x+y.bin", "hf:b/c+d"]
    assert find("toy:detail+toy:pixels").revision() == find("toy:detail+toy:pixels").revision()
    assert find("toy:detail+toy:pixels").revision() != find("toy:pixels+toy:detail").revision()


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0+efficientnet_lite0",  # the same twice
        "efficientnet_lite0+minilm_l6",  # two modalities
        "efficientnet_lite0+scratch",  # nothing to transfer from
    ],
)
def test_what_cannot_be_joined_is_refused(name):
    with pytest.raises(SourceError, match="several sources as one"):
        find(name)


def test_one_source_is_no_ensemble():
    with pytest.raises(TrialError, match="takes several sources"):
        Ensemble()(ToySource("detail"), dotted(), budget=Budget(), seed=0)
    with pytest.raises(TypeError, match="2 networks, not one"):
        JoinedSource([ToySource("detail"), ToySource("pixels")]).module()


def test_the_cheapest_sources_make_one_ensemble_and_no_other_route_takes_them():
    found = [s for s in Options().settings() if s.card.parts]
    assert {s.strategy.name for s in found} == {"ensemble"}
    assert {s.card.name for s in found} == {join(LITES).name}
    alone = Options(("efficientnet_lite0",)).settings()
    assert not [s for s in alone if s.card.parts]
    assert not [s for s in Options().settings("text") if s.card.parts], "one encoder is bundled"


def test_the_plan_knows_what_of_an_ensemble_is_there_already():
    settings = [s for s in Options().settings() if s.strategy.name in ("probe", "ensemble")]
    plan = Plan(["test"], settings, examples=100, training=100, sealed=50, classes=2, rate=1e9)
    ensemble = next(s for s in settings if s.strategy == Ensemble())

    def predicted(*names):
        probes = [s for s in settings if s.card.name in names and s.strategy == Probe()]
        results = [Result(s.spec("test", "search", 0), "transfer", "ok") for s in probes]
        return plan.seconds(results).search(ensemble, "test")

    first = predicted(LITES[0].name)
    assert first - predicted(LITES[0].name, LITES[1].name) == pytest.approx(
        PREPARING + 100 * (STORED + LITES[1].flops / 1e9)
    )
    assert predicted(*(card.name for card in LITES)) < 5


def test_the_ledger_has_the_sum_and_the_judge_an_ordinary_member(tmp_path):
    view = dotted()
    spec = Spec("all", "search", "toy:detail+toy:pixels", "ensemble", {"layers": "mixed"}, 0)
    outcome = execute(spec, view, None, budget=Budget(), bench=Bench(store=tmp_path))
    result = outcome.result
    assert result.status == "ok", result.error
    assert spec.words() == "ensemble on detail+pixels"
    assert result.flops == find(spec.source).card.flops
    assert result.model_parameters > find(spec.source).card.parameters
    assert result.log_probabilities.shape == (6, 3)
    assert Result.from_json(result.to_json()).spec == spec


def test_the_baselines_have_the_same_chance(tmp_path):
    view, bench = dotted(), Bench(store=tmp_path / "store")
    nothing = find("scratch")

    def fit(features, size):
        return Classical(features, size)(nothing, view, budget=Budget(), seed=0, bench=bench)

    inputs = view.examples.inputs
    both = fit("hog+pixels", 32)
    each = [fit("hog", 32).predict_proba(inputs), fit("pixels", 8).predict_proba(inputs)]
    np.testing.assert_allclose(both.predict_proba(inputs), np.mean(each, axis=0), atol=1e-5)
    both.save(tmp_path / "model", check=inputs)
    assert any(setting.features == "hog+pixels" for setting in Classical.grid(nothing.card))
