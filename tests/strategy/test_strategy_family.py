"""The family of finetune: what is trained, what holds it, what is done afterwards, and what skew needs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation
from headstart.predictor import load
from headstart.source import find
from headstart.source.card import Classifier as Known
from headstart.strategy import Bench, network
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.lora import Lora
from headstart.strategy.adapt.probe import Probe
from headstart.strategy.objective import Objective
from headstart.target.inputs import ArrayInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import check_adapt
from headstart.train import History, Trainable

pytestmark = pytest.mark.fast

NORMS = ("bn1", "bn2", "bn3")


def saved(name, folder):
    """A timm source of random weights, in a file."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = timm.create_model(name.partition(".")[0], pretrained=False)
    file = folder / f"{name}.safetensors"
    save_file(dict(model.state_dict()), file)
    return find(f"timm:{name}@{file}")


class Knowing:
    """A source that still knows four classes by name."""

    def __init__(self, source):
        self.source, self.card = source, replace(source.card, known="four")

    def __getattr__(self, name):
        return getattr(self.source, name)

    def names(self):
        return ("w", "x", "y", "z")

    def classifier(self):
        rng = np.random.default_rng(0)
        weight = rng.normal(size=(4, self.card.features)).astype(np.float32)
        return Known(self.names(), weight, np.zeros(4, np.float32))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Knowing(saved("test_efficientnet.r160_in1k", tmp_path_factory.mktemp("cnn")))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def view(n=24, counts=None, metric="accuracy"):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), counts) if counts else np.arange(n) % 3
    pixels = rng.integers(0, 90, (len(y), 20, 20, 3), dtype=np.uint8)
    for i, c in enumerate(y):
        pixels[i, :: c + 2, :, c % 3] += 120
    return TrainView(Examples(ArrayInputs(pixels), y.astype(np.int64)), ("a", "b", "c"), metric)


def moved(source, predictor):
    before, after = source.module().state_dict(), predictor.body.tensors()
    return {key for key in before if not np.array_equal(before[key].numpy(), after[key])}


def fit(strategy, source, store, seen=None, seed=0):
    return strategy(source, seen or view(), budget=Budget(), seed=seed, bench=Bench(store=store))


@pytest.mark.parametrize("last", [None, 1])
@pytest.mark.parametrize("trained", ["norm", "bias"])
def test_only_that_part_of_the_trunk_moves(tiny, store, trained, last):
    strategy = Finetune(epochs=1, rate=1e-2, trunk=1.0, batch=12, trained=trained, last=last, views=1)
    found = moved(tiny, fit(strategy, tiny, store))
    assert found
    suffixes = (".bias",) if trained == "bias" else (".weight", ".bias")
    parts = {key.rpartition(".")[0].rpartition(".")[2] for key in found}
    assert all(key.endswith(suffixes) for key in found)
    if trained == "norm":
        assert parts <= set(NORMS)
    module = tiny.module()
    everything = {
        f"{name}.{key}"
        for name, layer in module.named_modules()
        if isinstance(layer, nn.BatchNorm2d) or trained == "bias"
        for key, _ in layer.named_parameters(recurse=False)
        if trained == "norm" or key == "bias"
    }
    if last is None:
        assert found == everything
    else:
        assert found == {key for key in everything if not key.startswith(("conv_stem", "bn1", *_stages(tiny, -1)))}


def _stages(source, end):
    return [f"{stage.name}." for stage in source.card.stages[:end]]


def test_shares_fall_from_the_last_stage_to_the_first_and_what_follows_is_as_the_last(tiny):
    shares = Finetune(trunk=0.5, decay=0.1, unfreeze=True).trainable(tiny)
    names = [f"trunk.{name}" for name, _ in tiny.module().named_parameters()]
    stages = [stage.name for stage in tiny.card.stages]
    count = len(stages)
    for name in names:
        at = next((k for k, stage in enumerate(stages) if name.startswith(f"trunk.{stage}.")), None)
        if at is None:  # before the first, or after the last
            at = -1 if name.startswith(("trunk.conv_stem", "trunk.bn1")) else count - 1
        assert shares.share(name) == pytest.approx(0.5 * 0.1 ** (count - 1 - at)), name
        assert shares._first(name) == count - at, name
    assert shares.share("head.weight") == 1.0
    tail = Finetune(last=1, decay=0.1).trainable(tiny)
    assert tail.share(f"tail.trunk.{stages[-1]}.0.conv_pw.weight") == pytest.approx(0.1)
    assert tail.share("tail.trunk.conv_head.weight") == pytest.approx(0.1)
    assert tail.share(f"tail.trunk.{stages[0]}.0.conv.weight") == 0


def test_parts_are_of_what_matches():
    module = nn.Module()
    module.trunk, module.head = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), nn.Linear(2, 2)
    head = {"head.weight", "head.bias"}
    for part, expected in (
        ("all", {"trunk.0.weight", "trunk.0.bias", "trunk.1.weight", "trunk.1.bias"}),
        ("norm", {"trunk.1.weight", "trunk.1.bias"}),
        ("bias", {"trunk.0.bias", "trunk.1.bias"}),
    ):
        value = Trainable(((r".*", 1.0),), parts=((r"trunk\.", part),))
        assert set(value.trained(module)) == expected | head
        with value.applied(module):
            assert {name for name, p in module.named_parameters() if p.requires_grad} == expected | head
        counted = sum(len(group["params"]) for group in value.groups(module, 0.1, 0.0))
        assert counted == len(expected) + 2


@pytest.mark.parametrize("penalty", ["l2sp", "delta"])
def test_a_strong_penalty_keeps_itself_small(tiny, store, monkeypatch, penalty):
    """Its own value after a training, beside that after a training in which it did not count."""
    values = []
    real = network.train

    def train(module, task, epoch, *args, **kwargs):
        history = real(module, task, epoch, *args, **kwargs)
        batch = next(epoch(0))
        with torch.no_grad():
            task(module, batch)
            values.append(float(task.penalty(module, batch)))
        return history

    monkeypatch.setattr(network, "train", train)
    for strength in (0.0, 1e4):
        kind = {"penalty": penalty, "strength": strength, "last": 1, "views": 1}
        fit(Finetune(epochs=15, rate=1e-2, trunk=1.0, batch=12, **kind), tiny, store)
    assert values[1] < 0.5 * values[0]


def test_cotuning_trains_the_source_s_head_and_ships_without_it(tiny, store, monkeypatch):
    seen = {}
    real = network.train

    def train(module, *args, **kwargs):
        seen["before"] = module.known.weight.detach().clone()
        history = real(module, *args, **kwargs)
        seen["after"] = module.known.weight.detach().clone()
        return history

    monkeypatch.setattr(network, "train", train)
    predictor = fit(Finetune(epochs=1, rate=1e-2, batch=12, last=1, views=1, penalty="cotuning"), tiny, store)
    np.testing.assert_array_equal(seen["before"].numpy(), tiny.classifier().weight)
    assert not torch.equal(seen["before"], seen["after"])
    assert not any("known" in key for key in predictor.body.tensors())


def test_what_cannot_be_had_is_said_at_once(tiny, store):
    bare = tiny.source
    strategy = Finetune(penalty="cotuning", last=99)
    with pytest.raises(TrialError, match=r"needs a source that knows classes by name.*; the last 99 of"):
        fit(strategy, bare, store)
    stageless = SimpleNamespace(name="x", stages=(), known="", modality="text")
    assert len(Objective(mix="mixup", penalty="delta").refused(stageless)) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"mix": "mixup", "loss": "focal"},
        {"mix": "cutmix", "loss": "class-balanced", "penalty": "bss"},
        {"loss": "adjusted", "balanced": True, "average": "swa"},
        {"rate": None, "average": "wise"},
        {"operations": 2, "decay": 0.5, "unfreeze": True},
    ],
    ids=lambda more: "+".join(more),
)
def test_they_go_together_and_repeat_themselves(tiny, store, more):
    strategy = Finetune(**({"epochs": 2, "batch": 12, "last": 1, "views": 1} | more))
    inputs = view().examples.inputs
    a, b = (fit(strategy, tiny, store).predict_proba(inputs) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert np.isfinite(a).all()


def test_what_was_done_is_written_down(tiny, store):
    strategy = Finetune(epochs=2, batch=12, last=1, views=1, rate=None, average="wise", shift=True)
    small = fit(strategy, tiny, store).provenance["training"]
    assert small["between"] == 0.5, "of 24 examples none is held out"
    assert "shift" not in small
    assert 1e-7 < small["rate"] < 1
    large = fit(strategy, tiny, store, view(60)).provenance["training"]
    assert large["between"] in [k / 10 for k in range(11)]
    assert 0 <= large["shift"] <= 2
    assert fit(replace(strategy, average="swa"), tiny, store).provenance["training"]["averaged"] == 1


def test_even_batches_and_weights_reach_the_training(tiny, store, monkeypatch):
    seen = []

    def train(module, task, epoch, *args, **kwargs):
        seen.append((np.bincount(torch.cat([y for _, y in epoch(0)]).numpy(), minlength=3), task, kwargs["plan"]))
        return History()

    monkeypatch.setattr(network, "train", train)
    skewed = view(counts=(24, 8, 4))
    for last in (None, 1):
        fit(Finetune(last=last, views=1, balanced=True, loss="adjusted", penalty="l2sp"), tiny, store, skewed)
        fit(Finetune(last=last, views=1, loss="class-balanced"), tiny, store, skewed)
    for counts, task, plan in (seen[0], seen[2]):
        assert counts.tolist() == [12, 12, 12]
        assert task.task.shift == pytest.approx(np.log([24 / 36, 8 / 36, 4 / 36]))
        assert (task.strength, plan.decay) == (0.01, 0.0)
    for counts, task, plan in (seen[1], seen[3]):
        assert counts.tolist() == [24, 8, 4]
        assert task.weights[2] > task.weights[1] > task.weights[0]
        assert plan.decay == 0.05


def test_the_head_is_probed_on_what_is_trained_on_alone(tiny, store, monkeypatch):
    """Else what is held out to stop by, and to choose by, would not be held out from the start."""
    seen = {}
    real = network.probed

    def probed(source, examples, classes, bench):
        seen["probed"] = examples
        return real(source, examples, classes, bench)

    def train(*args, **kwargs):
        return History()

    monkeypatch.setattr(network, "probed", probed)
    monkeypatch.setattr(network, "train", train)
    monkeypatch.setattr(network, "STOPPING_MINIMUM", 60)
    fit(Finetune(last=1, views=1), tiny, store, view(60))
    assert len(seen["probed"]) == 51


@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_a_shifted_probe_is_the_probe_where_classes_are_balanced_and_helps_where_they_are_not(tiny, store, head):
    same, shifted = (fit(Probe(head, 0.01, shift=on), tiny, store) for on in (False, True))
    np.testing.assert_array_equal(same.head.bias, shifted.head.bias)
    assert shifted.provenance["training"]["shift"] == 0
    skewed = view(counts=(40, 5, 5), metric="balanced_accuracy")
    # Labels that the pictures tell badly, so that the frequent class wins too often.
    labels = skewed.examples.labels.copy()
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (50, 20, 20, 3), dtype=np.uint8)
    pixels[labels > 0, :, :, 0] = np.minimum(pixels[labels > 0, :, :, 0], 200)
    seen = replace(skewed, examples=Examples(ArrayInputs(pixels), labels))
    same, shifted = (fit(Probe(head, 0.01, shift=on), tiny, store, seen) for on in (False, True))
    tau = shifted.provenance["training"]["shift"]
    np.testing.assert_allclose(shifted.head.bias - same.head.bias, -tau * np.log([0.8, 0.1, 0.1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_peft_of_an_image_transformer(tmp_path, store, method):
    """Only the queries, keys, values and outputs of attention move, and the saved model is the tuned one."""
    vit = saved("test_vit.r160_in1k", tmp_path)
    assert vit.card.attention
    assert "needs a transformer" in Lora.needs.lacking(saved("test_efficientnet.r160_in1k", tmp_path).card)
    assert not Lora.needs.lacking(vit.card)
    strategy = Lora(method, rank=2, epochs=1, rate=1e-2, batch=12)
    predictor = fit(strategy, vit, store)
    found = moved(vit, predictor)
    blocks = len({key.split(".")[1] for key in found})
    assert {key for key in found if key.endswith(".weight")} == {
        f"blocks.{k}.attn.{layer}.weight" for k in range(blocks) for layer in ("qkv", "proj")
    }
    inputs = view().examples.inputs
    predictor.save(tmp_path / "model", check=inputs)
    np.testing.assert_allclose(
        load(tmp_path / "model").predict_proba(inputs), predictor.predict_proba(inputs), atol=1e-5
    )
    if method == "ia3":  # each output times a number: a row of the weights keeps its direction
        before, after = (body.state_dict() for body in (vit.module(), predictor.body.module))
        rows = [state["blocks.0.attn.qkv.weight"] for state in (before, after)]
        cosine = torch.nn.functional.cosine_similarity(*rows, dim=1)
        np.testing.assert_allclose(cosine.abs().numpy(), 1.0, atol=1e-5)


def test_they_keep_their_contract(tiny):
    everything = Finetune(
        epochs=1, rate=None, batch=8, last=1, views=1, trained="norm", loss="adjusted", mix="mixup", balanced=True,
        penalty="l2sp", average="wise", shift=True,
    )  # fmt: skip
    assert check_adapt(everything, tiny.source) == 10
    assert check_adapt(Probe(shift=True), tiny.source) == 10


def test_operations_change_pictures_by_the_generator_alone():
    from PIL import Image

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    change = Augmentation(operations=2, magnitude=1.0)
    drawn = [change.apply(image, 24, np.random.default_rng(seed)) for seed in range(30)]
    again = change.apply(image, 24, np.random.default_rng(7))
    np.testing.assert_array_equal(drawn[7], again)
    assert all(picture.shape == (24, 24, 3) and picture.dtype == np.uint8 for picture in drawn)
    different = sum(not np.array_equal(picture, np.asarray(image)) for picture in drawn)
    assert different > 24, "most draws do something"
    plain = Augmentation().apply(image, 24, np.random.default_rng(0))
    np.testing.assert_array_equal(Augmentation(operations=3, magnitude=0.0).apply(image, 24, _identities()), plain)


def _identities():
    """Draws the first operation each time."""
    return SimpleNamespace(integers=lambda n: 0, choice=lambda values: 1.0, random=lambda: 1.0)


class Times(Budget):
    """Enough for one training."""

    def left(self):
        return -1.0 if Times.spent else float("inf")

    spent = False


def shipped(**options):
    seed = options.pop("seed", 0)
    budget = options.pop("budget", Budget())
    return Finetune(epochs=2, trunk=1.0, **options)(find("toy:detail"), view(), budget=budget, seed=seed)


def test_a_soup_is_the_mean_of_trainings_from_one_start():
    made = shipped(average="soup", members=2)
    assert made.provenance["training"]["soup"] == {"members": 2, "taken": [0, 1]}
    alone = [shipped(), shipped(rate=5e-4, seed=network.STRIDE)]
    weight = np.mean([each.head.weight for each in alone], axis=0)
    np.testing.assert_allclose(made.head.weight, weight, atol=1e-6)
    mine = made.body.tensors()["filters.weight"]
    theirs = [each.body.tensors()["filters.weight"] for each in alone]
    np.testing.assert_allclose(mine, np.mean(theirs, axis=0), atol=1e-6)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-5


def test_a_greedy_soup_chooses_on_what_is_held_out():
    seen = view(240)
    made = Finetune(epochs=1, trunk=1.0, average="greedy-soup")(find("toy:detail"), seen, budget=Budget(), seed=0)
    told = made.provenance["training"]["soup"]
    assert told["members"] == 3
    assert 1 <= len(told["taken"]) <= 3
    assert made.provenance["training"]["epochs"] == 3


def test_a_soup_ends_with_the_time_and_costs_as_many_trainings(monkeypatch):
    card = find("toy:detail").card
    one, three = (Finetune(average=kind).seconds(card, 1_000, 2, 1e10) for kind in ("none", "soup"))
    assert three - 1 == pytest.approx(3 * (one - 1))
    plain, spent = network.train, []

    def train(*args, **kwargs):
        spent.append(kwargs["plan"].rate)
        try:
            return plain(*args, **kwargs)
        finally:
            Times.spent = True

    monkeypatch.setattr(network, "train", train)
    monkeypatch.setattr(Times, "spent", False)
    made = shipped(average="soup", budget=Times())
    assert spent == [1e-3]
    training = made.provenance["training"]
    assert (training["soup"], training["stopped_by"]) == ({"members": 1, "taken": [0]}, "budget")
    # What time decided then is repeated by steps.
    again = shipped(average="soup", budget=Budget(steps=training["steps"]))
    np.testing.assert_array_equal(again.head.weight, made.head.weight)
    assert again.provenance == made.provenance


def test_a_member_that_diverges_is_left_out(monkeypatch):
    from headstart.errors import DivergedError

    plain = network.train

    def train(*args, **kwargs):
        if kwargs["plan"].rate > 1e-3:
            raise DivergedError("planted")
        return plain(*args, **kwargs)

    monkeypatch.setattr(network, "train", train)
    assert shipped(average="soup").provenance["training"]["soup"] == {"members": 2, "taken": [0, 1]}
    with pytest.raises(DivergedError):
        shipped(average="soup", rate=0.1)


def test_few_examples_are_gone_over_more_often():
    few = Finetune(epochs=10, steps=120)
    assert [few._epochs(examples) for examples in (1, 16, 100, 192, 193, 5_000)] == [120, 120, 18, 10, 10, 10]
    assert Finetune(epochs=7)._epochs(3) == 7
    made = Finetune(epochs=1, steps=5, trunk=1.0)(find("toy:detail"), view(30), budget=Budget(), seed=0)
    assert made.provenance["training"]["epochs"] == 3  # of two batches
