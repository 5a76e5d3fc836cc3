"""Deep ways of domain adaptation on a planted shift: what they are for, they do, and nothing where nothing moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.predictor import Predictor, load
from headstart.source import Preprocessing, Source, SourceCard, architecture, find
from headstart.source.card import Stage
from headstart.source.encoder import BertEncoder
from headstart.source.network import Network
from headstart.strategy import ADAPTATIONS, Bench, tail
from headstart.strategy.adapt.shot import Shot
from headstart.strategy.adapt.tri_train import TriTrain
from headstart.strategy.shallow import Domains, OnFeatures
from headstart.strategy.source_free import SourceFree
from headstart.target.inputs import ArrayInputs, Inputs, StringInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import check_adapt, check_all, registered
from headstart.testing.texts import CLASSES, WORDS, ToyTextSource, planted_texts
from headstart.train import align
from headstart.train.adaptation import Both

pytestmark = pytest.mark.fast

SIDE = 16
DEEP = [
    "adabn",
    "adabn-tri-train",
    "adabn-gradual",
    "dann",
    "cdan",
    "deep-coral",
    "dan",
    "mcc",
    "mcd",
    "deep-self-train",
    "shot",
    "tent",
]
QUICK = {"rate": 1e-2, "batch": 60, "views": 0}
"""Of the toy network, which is small: no augmented views, and a fast head."""
UNTRAINED = ("source-only", "adabn", "adabn-tri-train", "adabn-gradual")


class Toy(Network):
    """The brightness of the four quarters of a picture, mixed by random numbers, with batch norm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 1, SIDE // 2, stride=SIDE // 2, bias=False)
        self.mix = nn.Sequential(nn.Conv2d(1, 16, 2), nn.BatchNorm2d(16))
        self.out = nn.Conv2d(16, 16, 1)
        self.num_features = self.head_hidden_size = 16
        self.reset_classifier(0)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.mix(self.stem(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        return {"stem": r"^stem", "blocks": r"^(mix|out)"}


architecture.register("toy_quarters", Toy)


class Quarters:
    """The source with that network."""

    card = SourceCard(
        name="toys:quarters",
        modality="image",
        architecture="toy_quarters",
        pretraining="planted by hand",
        licence="Apache-2.0",
        origin="made in memory",
        preprocessing=Preprocessing(size=SIDE, squash=True, interpolation="bilinear"),
        parameters=sum(p.numel() for p in Toy().parameters()),
        features=16,
        flops=1e4,
        stages=architecture.stages("toy_quarters", SIDE),
        batch_norm=True,
    )

    def revision(self) -> str:
        return "toys:quarters 1"

    def module(self, seed: int = 0) -> nn.Module:
        """Always the same: bright quarters are large numbers, and batch norm has seen pictures of all kinds."""
        network = architecture.build("toy_quarters", 1)
        with torch.no_grad():
            network.stem.weight.fill_(1 / (3 * (SIDE // 2) ** 2))
            stem = network.stem(torch.rand(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1)
            network.mix[1].running_mean.copy_(network.mix[0](stem).mean(dim=(0, 2, 3)))
            network.mix[1].running_var.fill_(0.1)
        return network


def pictures(n: int, seed: int, left: float, right: float, moved: float) -> tuple[ArrayInputs, np.ndarray]:
    """Two classes: the halves of a picture are as bright as -left and left, and as moved - right and moved + right.

    All that with noise of deviation 0.08, on a scale from -1 to 1.
    """
    rng = np.random.default_rng([seed, n])
    y = rng.permutation(np.arange(n) % 2)
    halves = ((2 * y - 1) * size + rng.normal(0, 0.08, n) + at for size, at in ((left, 0.0), (right, moved)))
    grey = np.concatenate([np.tile(half[:, None, None], (1, SIDE, SIDE // 2)) for half in halves], axis=2)
    grey = np.clip(127.5 + 127.5 * (grey + rng.normal(0, 0.02, grey.shape)), 0, 255).astype(np.uint8)
    return ArrayInputs(np.repeat(grey[..., None], 3, axis=3)), y


def domains(moved: float, left: float = 0.2, right: float = 0.12) -> tuple[TrainView, Inputs, np.ndarray]:
    """The source domain's view with the target's inputs, those inputs, and their classes."""
    (inputs, y), (target, truth) = pictures(120, 1, left, right, 0.0), pictures(120, 2, left, right, moved)
    between = (pictures(60, 3, left, right, moved / 2)[0],)
    return TrainView(Examples(inputs, y), ("a", "b"), "accuracy", target, intermediate=between), target, truth


@pytest.fixture(scope="module", autouse=True)
def source():
    with registered(Quarters()) as made:
        yield made


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def fit(name: str, view: TrainView, store, seed: int = 0, **how) -> Predictor:
    quick = {} if name in UNTRAINED else QUICK | ({"rate": 1e-3} if name == "tent" else {})
    source = find("toys:quarters" if view.modality == "image" else "toy_text:words")
    made: Predictor = ADAPTATIONS[name](**quick | how)(source, view, budget=Budget(), seed=seed, bench=Bench(store))
    return made


def right(made: Predictor, target: Inputs, truth: np.ndarray) -> float:
    return float((made.predict_proba(target).argmax(axis=1) == truth).mean())


@pytest.fixture(scope="module")
def moved_and_not(source, store):
    """A planted shift and none, each with what source-only gets right."""
    planted = [domains(0.6), domains(0.0)]
    return [(*domain, right(fit("source-only", domain[0], store), *domain[1:])) for domain in planted]


@pytest.mark.parametrize("name", DEEP)
def test_a_shift_is_undone_and_nothing_is_lost_where_nothing_moved(name: str, moved_and_not, store) -> None:
    (view, target, truth, usual), (same, still, known, easy) = moved_and_not
    assert usual < 0.7
    assert right(fit(name, view, store), target, truth) > usual + 0.2
    assert right(fit(name, same, store), still, known) >= easy - 0.02


@pytest.mark.parametrize("name", ["adabn", "adabn-tri-train", "mcc"])
def test_few_labels_of_the_target_correct_it(name: str, moved_and_not, store) -> None:
    view, target, truth, _ = moved_and_not[0]
    some = np.arange(8)
    turned = Examples(target.take(some), 1 - truth[some])  # the classes are called the other way round here
    made = fit(name, replace(view, few=turned), store)
    assert made.left_out is not None
    assert made.left_out.shape == (8, 2)
    assert made.provenance["source_weight"]["value"] < 0.2
    assert right(made, target, truth) < 0.3
    assert right(fit(name, view, store), target, truth) > 0.7


def test_without_batch_norms_statistics_it_is_the_discrepancy_that_helps(moved_and_not, store) -> None:
    view, target, truth, _ = moved_and_not[0]

    def found(name: str, strength: float) -> float:
        return right(fit(name, view, store, strength=strength, epochs=20, trunk=0.1, norm="kept"), target, truth)

    alone = found("mcc", 0.0)
    assert alone < 0.75
    for name, strength in (("deep-coral", 4.0), ("mcc", 1.0), ("deep-self-train", 1.0)):
        assert found(name, strength) > alone + 0.15, name


def test_features_of_the_domains_are_drawn_together(moved_and_not, store) -> None:
    view, target, *_ = moved_and_not[0]

    def apart(name: str, **how) -> float:
        made = fit(name, view, store, **{"epochs": 20, "trunk": 1.0, "norm": "kept"} | how)
        both = [made.body.compute(part, np.arange(len(part))).vectors for part in (view.examples.inputs, target)]
        X = torch.from_numpy(np.concatenate(both))
        return float(align.mmd(align.kernel(X, align.spread(X)), len(both[0])))

    alone = apart("mcc", strength=0.0)
    assert apart("dan") < 0.2 * alone
    assert apart("dan", joint=True) < 0.2 * alone


@pytest.mark.parametrize("name", ["dann", "cdan", "mcd"])
def test_the_network_and_what_it_plays_against_step_in_opposite_directions(name: str) -> None:
    """A step down the gradient: of the critic, it tells the domains apart better; of the network, it can do so less.

    Of two classifiers, they agree less on the target domain; of the network, they agree more.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: Any = nn.Module()
        module.head = nn.Linear(6, 3)
        way = ADAPTATIONS[name]()
        for part, made in way.made(module.head).items():
            module.add_module(part, made)
    Xs, Xt = (torch.randn(20, 6, generator=generator) + shift for shift in (0.0, 1.0))
    ys = torch.arange(20) % 3

    def both(xs: torch.Tensor, xt: torch.Tensor) -> Both:
        return Both(xs, xt, module.head(xs).detach(), module.head(xt).detach(), ys, 1.0)

    def prize(xs: torch.Tensor, xt: torch.Tensor) -> float:
        """What the opponent of the network wants: to tell the domains apart, or to differ on the target."""
        if name == "mcd":
            return float(align.discrepancy(module.head(xt), module.second(xt)).detach())
        return -float(way.discrepancy(module, both(xs, xt)).detach())

    xs, xt = Xs.clone().requires_grad_(), Xt.clone().requires_grad_()
    loss = way.discrepancy(module, both(xs, xt))
    if name == "mcd":  # without what the second classifier learns of the source domain
        loss = loss - nn.functional.cross_entropy(module.second(xs), ys)
    loss.backward()
    start, rate = prize(Xs, Xt), 0.01
    assert prize(Xs - rate * (0 if xs.grad is None else xs.grad), Xt - rate * xt.grad) < start, "the network"
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
    assert prize(Xs, Xt) > start, "its opponent"


@pytest.mark.parametrize("name", ["cdan", "shot"])
def test_the_seed_decides_and_nothing_else_is_drawn(name: str, store) -> None:
    view, target, _ = domains(0.3)
    before = torch.random.get_rng_state()
    one, same, other = (fit(name, view, store, seed).predict_proba(target) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", ["mcd", "tent"])
def test_the_adapted_network_comes_back_from_a_folder(name: str, store, tmp_path) -> None:
    view, target, truth = domains(0.6)
    made = fit(name, view, store)
    made.save(tmp_path / "model", check=target.take(range(8)))
    again = load(tmp_path / "model")
    assert set(again.body.tensors()) == set(find("toys:quarters").module().state_dict()), "nothing but the network"
    assert np.allclose(again.predict_proba(target), made.predict_proba(target), atol=1e-3)  # values at the cut: float16
    assert right(again, target, truth) > 0.85


def test_the_second_step_of_a_source_free_way_is_given_a_model_and_inputs(store) -> None:
    """It is the same whatever examples the model came of, and its types have no place for them."""
    hints = get_type_hints(SourceFree.adapt)
    assert {name: hints[name] for name in ("model", "source", "target")} == {
        "model": Predictor,
        "source": Source,
        "target": Inputs,
    }
    assert TrainView not in hints.values()
    view, target, _ = domains(0.6)
    way, source, bench = Shot(**QUICK), find("toys:quarters"), Bench(store)
    models = [way.model(source, replace(view, unlabelled=None), seed=0, bench=bench) for _ in range(2)]
    alone = way.adapt(models[0], source, target, budget=Budget(), seed=0, bench=bench)
    whole = fit("shot", view, store)
    assert np.array_equal(alone.predict_proba(target), whole.predict_proba(target))
    assert np.array_equal(alone.head.arrays()["weight"], models[1].head.arrays()["weight"]), "the head stays"


def test_only_scales_and_shifts_are_tented_and_only_the_last_stages_move(store) -> None:
    view, *_ = domains(0.6)
    before = find("toys:quarters").module().state_dict()

    def moved(name: str) -> set[str]:
        after = fit(name, view, store).body.tensors()
        return {key for key in before if not np.array_equal(before[key].numpy(), after[key])}

    statistics = {f"mix.1.{part}" for part in ("running_mean", "running_var", "num_batches_tracked")}
    assert moved("adabn") == moved("adabn-tri-train") == moved("adabn-gradual") == statistics
    assert moved("tent") == statistics | {"mix.1.weight", "mix.1.bias"}
    assert moved("mcc") == statistics | {"mix.1.weight", "mix.1.bias", "out.weight", "out.bias"}


def test_tri_training_learns_from_features_by_either_domains_statistics(moved_and_not, store) -> None:
    view, target, *_ = moved_and_not[0]
    made, bench = fit("adabn-tri-train", view, store), Bench(store)

    def vectors(body: Any, inputs: Inputs) -> np.ndarray:
        return bench.features(body, inputs, "toys")

    # By hand: the features of the target are those of adabn, of the source those of the source's own model.
    of_source = Shot(batch=64).model(find("toys:quarters"), replace(view, unlabelled=None), seed=0, bench=bench)
    of_target = fit("adabn", view, store)
    Xs, Xt = vectors(of_source.body, view.examples.inputs), vectors(of_target.body, target)
    known = TriTrain().fit(Domains(Xs, view.examples.labels, Xt, 2, 0))
    np.testing.assert_allclose(made.head.arrays()["weight"], known.head.weight, rtol=1e-3, atol=1e-4)
    # The source's side, seen by the target's statistics, is right of the source's examples, whichever those are.
    seen = vectors(made.body, view.examples.inputs)
    said = made.log_probabilities(seen, elsewhere=True).argmax(axis=1)
    np.testing.assert_array_equal(said, known.elsewhere.logits(Xs).argmax(axis=1))
    assert (said == view.examples.labels).mean() > 0.95


def test_the_frozen_prefix_is_run_once_for_both_domains(tmp_path) -> None:
    view, *_ = domains(0.6)
    bench = Bench(tmp_path)
    source = find("toys:quarters")
    ADAPTATIONS["dann"](**QUICK | {"epochs": 3})(source, view, budget=Budget(), seed=0, bench=bench)
    # The values at the cut of both domains; the head is probed on what the stages after it make of these.
    assert bench.tally.computed == 240
    ADAPTATIONS["mcc"](**QUICK)(source, view, budget=Budget(), seed=1, bench=bench)
    assert bench.tally.computed == 240
    # Batch norm as the source has it: the head is the probe of the pooled features.
    ADAPTATIONS["mcc"](**QUICK | {"norm": "kept"})(source, view, budget=Budget(), seed=1, bench=bench)
    assert bench.tally.computed == 120 + 240


def test_what_cannot_be_adapted_is_refused_with_the_reason(store) -> None:
    view, *_ = domains(0.0)
    text = find("toy_text:words")
    assert ADAPTATIONS["adabn"].needs.lacking(text.card) == "needs image, and toy_text:words is text"
    plain = replace(Quarters.card, batch_norm=False)
    assert "needs batch norm" in ADAPTATIONS["adabn"].needs.lacking(plain)
    assert ADAPTATIONS["dann"].needs.lacking(plain) == ""
    whole = replace(Quarters.card, stages=())
    assert all("cut into stages" in ADAPTATIONS[name].needs.lacking(whole) for name in DEEP)
    for name in DEEP:
        with pytest.raises(TrialError, match="needs unlabelled examples of the target domain"):
            fit(name, replace(view, unlabelled=None), store)
    with pytest.raises(TrialError, match="the last 7 of"):
        fit("mcc", view, store, last=7)
    raw = planted_texts(30, 30)
    y = np.array([CLASSES.index(label) for label in raw.labels])
    texts = TrainView(
        Examples(raw.inputs.take(range(30)), y[:30]), CLASSES, "accuracy", unlabelled=raw.inputs.take(range(30, 60))
    )
    with pytest.raises(TrialError, match="tent finds nothing to train in the last stages of toy_text:words"):
        fit("tent", texts, store)


def test_no_deep_way_is_left_out_of_the_tests() -> None:
    assert {name for name, kind in ADAPTATIONS.items() if not issubclass(kind, OnFeatures)} == set(DEEP)


def test_they_keep_the_contract_of_strategies() -> None:
    """On pictures those that differ most, and on texts."""
    members = [
        (ADAPTATIONS[name](**{"epochs": 1, "views": 1, "batch": 12} if name not in UNTRAINED else {}), "toys:quarters")
        for name in ("adabn", "adabn-tri-train", "adabn-gradual", "cdan")
    ]
    members += [(ADAPTATIONS[name](epochs=1), "toy_text:words") for name in ("mcd", "shot")]
    assert check_all(lambda member: check_adapt(member[0], find(member[1])), members, expected=6) == 60


architecture.register("small_bert", lambda: BertEncoder(WORDS + 2, 16, 2, 4, 32, 16))


class SmallBert(ToyTextSource):
    """The architecture of the bundled encoder."""

    card = replace(
        ToyTextSource.card,
        name="toys:bert",
        architecture="small_bert",
        features=16,
        stages=tuple(Stage(f"encoder.layer.{k}", (16,), 1e4 * (2 - k)) for k in range(2)),
    )

    def module(self, seed: int = 0) -> nn.Module:
        return architecture.build("small_bert", 1)


def test_texts_are_adapted_from_a_cut_and_batches_of_two_lengths_go_together(tmp_path, monkeypatch) -> None:
    raw = planted_texts(24, 24)
    y = np.array([CLASSES.index(label) for label in raw.labels])
    long = StringInputs([" ".join([raw.inputs.text(i)] * 2) for i in range(24, 48)])
    view = TrainView(Examples(raw.inputs.take(range(24)), y[:24]), CLASSES, "accuracy", unlabelled=long)
    way = ADAPTATIONS["dan"](epochs=2, batch=8, rate=1e-2, trunk=1.0)
    cut = way(SmallBert(), view, budget=Budget(), seed=0, bench=Bench(tmp_path / "a"))
    monkeypatch.setattr(tail, "resumable", lambda *_: False)
    whole = way(SmallBert(), view, budget=Budget(), seed=0, bench=Bench(tmp_path / "b"))
    assert np.allclose(cut.predict_proba(long), whole.predict_proba(long), atol=5e-3)
    before, after = SmallBert().module().state_dict(), cut.body.tensors()
    moved = {key for key in before if not np.array_equal(before[key].numpy(), after[key])}
    assert moved
    assert all(key.startswith("encoder.layer.1.") for key in moved)
    tented = ADAPTATIONS["tent"]()(SmallBert(), view, budget=Budget(), seed=0, bench=Bench(tmp_path / "a"))
    moved = {key for key in before if not np.array_equal(before[key].numpy(), tented.body.tensors()[key])}
    assert moved
    assert all("LayerNorm" in key and key.startswith("encoder.layer.1.") for key in moved)
