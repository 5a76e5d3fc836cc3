"""One small contract for every Adapt, and what each of them promises besides."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from headstart.budget import Budget
from headstart.errors import OptionError, TrialError
from headstart.features import Augmentation
from headstart.predictor import Predictor
from headstart.source import JoinedSource, SourceCard, find
from headstart.strategy import STRATEGIES, Adapt, Bench, Needs, make, parameters
from headstart.strategy.adapt import classical, finetune
from headstart.target.inputs import ArrayInputs
from headstart.target.view import Examples, TrainView
from headstart.testing.toys import ToySource
from headstart.train import History

pytestmark = pytest.mark.fast

# zero-shot, which goes by the names of classes and has no use for these, has a file of its own; lora, which on pictures
# needs a transformer, is tested with one in test_strategy_family.py.
OF_PICTURES = [
    name
    for name, kind in STRATEGIES.items()
    if "image" in kind.needs.modalities and not kind.needs.class_names and not kind.needs.attention
]
"""The others are tested in test_strategy_texts.py and test_strategy_contrast.py."""
SMALL = {
    "probe": {"head": "logistic", "C": 0.5},
    "prototypes": {},
    "ensemble": {},
    "finetune": {"epochs": 1, "batch": 8},
    "majority": {},
    "classical": {"features": "pixels", "size": 8},
    "scratch": {"epochs": 1, "size": 16, "batch": 8},
}


def striped(n, classes=3, seed=0, side=20):
    """Pictures whose class is the hue and the direction of their stripes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    pixels = rng.integers(0, 90, (n, side, side, 3), dtype=np.uint8)
    for i, c in enumerate(y):
        pixels[i, :: c + 2, :, c % 3] += 120
        pixels[i, :, :: 4 - c, (c + 1) % 3] += 60
    return pixels, y.astype(np.int64)


def view(n=24, classes=("a", "b", "c"), seed=0):
    pixels, y = striped(n, 3, seed)
    return TrainView(Examples(ArrayInputs(pixels), y), classes, "accuracy")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A pretrained source of 0.1 million parameters: random weights, saved to a file."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = timm.create_model("test_efficientnet", pretrained=False)
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(dict(model.state_dict()), file)
    return find(f"timm:test_efficientnet.r160_in1k@{file}")


@pytest.fixture(scope="session")
def fitted(tiny, tmp_path_factory):
    """Every strategy on its source, twice with one seed."""
    store = tmp_path_factory.mktemp("store")
    sources = {
        "probe": tiny,
        "prototypes": tiny,
        "ensemble": JoinedSource([tiny, ToySource()]),
        "finetune": tiny,
        "majority": find("scratch"),
        "classical": find("scratch"),
        "scratch": find("scratch:small_cnn"),
    }

    def fit(name):
        torch.rand(3)  # whatever the global state is
        return make(name, SMALL[name])(sources[name], view(), budget=Budget(), seed=7, bench=Bench(store=store))

    assert set(sources) == set(SMALL) == set(OF_PICTURES), "a strategy is not tested"
    return {name: (sources[name], fit(name), fit(name)) for name in OF_PICTURES}


@pytest.mark.parametrize("name", OF_PICTURES)
def test_contract(name, fitted):
    kind = STRATEGIES[name]
    source, predictor, again = fitted[name]
    assert kind.name == name
    assert kind.needs.lacking(source.card) == ""
    assert isinstance(kind(), Adapt)
    assert isinstance(predictor, Predictor)
    assert predictor.classes == ("a", "b", "c")
    new, _ = striped(6, seed=9)
    p = predictor.predict_proba(new)
    assert p.shape == (6, 3)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(p, again.predict_proba(new))


@pytest.mark.parametrize("name", OF_PICTURES)
def test_the_grid_is_made_of_distinct_settings_that_come_back_from_json(name, fitted):
    source, *_ = fitted[name]
    grid = STRATEGIES[name].grid(source.card)
    assert len(set(grid)) == len(grid) > 0
    for setting in grid:
        assert make(name, parameters(setting)) == setting
        assert setting.seconds(source.card, 100, 5, 1e10) > 0
        assert setting.seconds(source.card, 10_000, 5, 1e10) >= setting.seconds(source.card, 100, 5, 1e10)


@pytest.mark.parametrize("name", OF_PICTURES)
def test_training_leaves_the_global_random_state_alone(name, fitted):
    source, *_ = fitted[name]
    torch_state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the old state, which other libraries use
    make(name, SMALL[name])(source, view(8), budget=Budget(), seed=1)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def card(**changes):
    base = {
        "name": "timm:x",
        "modality": "image",
        "architecture": "x",
        "pretraining": "photos",
        "licence": "",
        "origin": "",
        "preprocessing": find("scratch:small_cnn").card.preprocessing,
        "parameters": 1,
        "features": 1,
        "flops": 1.0,
    }
    return SourceCard(**(base | changes))


@pytest.mark.parametrize(
    ("needs", "changes", "words"),
    [
        (Needs(), {}, ""),
        (Needs(), {"modality": "text"}, "needs image, and timm:x is text"),
        (Needs(), {"preprocessing": None}, "needs a network, and timm:x has none"),
        (Needs(network=False), {}, "uses no network, so it goes with the source 'scratch', not timm:x"),
        (Needs(pretrained=True), {"pretraining": ""}, "needs a pretrained source, and timm:x is not"),
        (Needs(known_classes=True), {}, "needs a source that knows classes by name, and timm:x does not"),
        (Needs(known_classes=True), {"known": "ImageNet-1k"}, ""),
        (Needs(pretrained=False), {}, "starts from random weights, and timm:x is pretrained"),
    ],
)
def test_what_is_lacking_is_said_in_words(needs, changes, words):
    assert needs.lacking(card(**changes)) == words


@pytest.mark.parametrize(
    ("name", "source", "fits"),
    [
        ("probe", "efficientnet_lite0", True),
        ("probe", "scratch", False),
        ("probe", "scratch:small_cnn", False),
        ("prototypes", "scratch", False),
        ("probe", "efficientnet_lite0+efficientnet_lite1", False),
        ("ensemble", "efficientnet_lite0+efficientnet_lite1", True),
        ("ensemble", "efficientnet_lite0", False),
        ("ensemble", "scratch", False),
        ("finetune", "scratch:small_cnn", False),
        ("zero-shot", "efficientnet_lite0", True),
        ("zero-shot", "minilm_l6", True),
        ("zero-shot", "scratch", False),
        ("majority", "scratch", True),
        ("majority", "efficientnet_lite0", False),
        ("classical", "scratch:small_cnn", False),
        ("scratch", "scratch:small_cnn", True),
        ("scratch", "scratch", False),
        ("scratch", "efficientnet_lite0", False),
    ],
)
def test_who_goes_with_whom(name, source, fits):
    assert (STRATEGIES[name].needs.lacking(find(source).card) == "") is fits


def test_unknown_strategies_suggest_the_spelling():
    with pytest.raises(OptionError, match="did you mean 'finetune'"):
        make("fintune", {})


def test_majority_by_hand():
    pixels, _ = striped(7)
    examples = Examples(ArrayInputs(pixels), np.array([0, 0, 0, 0, 2, 2, 0]))
    v = TrainView(examples, ("a", "b", "c"), "accuracy")
    p = make("majority", {})(find("scratch"), v, budget=Budget(), seed=0).predict_proba(pixels[:2])
    np.testing.assert_allclose(p, [[6 / 10, 1 / 10, 3 / 10]] * 2, atol=1e-6)


@pytest.mark.parametrize("features", ["pixels", "hog"])
@pytest.mark.parametrize("machine", ["svm", "ridge"])
def test_classical_learns_what_can_be_seen(features, machine):
    predictor = make("classical", {"features": features, "machine": machine, "size": 16})(
        find("scratch"), view(60), budget=Budget(), seed=0
    )
    new, truth = striped(60, seed=5)
    assert (predictor.predict_proba(new).argmax(1) == truth).mean() > 0.95


def test_a_kernel_that_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr(classical, "KERNEL_LIMIT", 20)
    with pytest.raises(TrialError, match="would not fit in memory"):
        make("classical", {"features": "pixels", "size": 8})(find("scratch"), view(24), budget=Budget(), seed=0)


def test_the_probe_is_the_machine_on_the_source_s_features(tiny, tmp_path):
    from headstart.features import NetworkBody, extract
    from headstart.strategy import linear

    v = view()
    predictor = make("probe", {"head": "ridge"})(tiny, v, budget=Budget(), seed=0, bench=Bench(store=tmp_path))
    X = extract(NetworkBody.of(tiny), v.examples.inputs, store=tmp_path)
    expected = linear.ridge(X, v.examples.labels, 3).as_logits(v.examples.labels)
    np.testing.assert_array_equal(predictor.head.weight, expected.weight)
    assert predictor.body.revision == tiny.revision()


def test_features_are_shared_between_strategies_and_seeds(tiny, tmp_path):
    for number, settings in enumerate(({"head": "ridge"}, {"head": "logistic", "C": 0.1})):
        bench = Bench(store=tmp_path)
        make("probe", settings)(tiny, view(), budget=Budget(), seed=number, bench=bench)
        assert (bench.tally.computed, bench.tally.recalled) == ((24, 0) if number == 0 else (0, 24))


def test_finetune_starts_at_the_probe(tiny, tmp_path):
    """With a rate of next to nothing nothing moves: the predictor is the probe, in labels and in probabilities."""
    bench, v = Bench(store=tmp_path), view()
    probe = make("probe", {"head": "ridge"})(tiny, v, budget=Budget(), seed=0, bench=bench)
    tuned = make("finetune", {"epochs": 1, "rate": 1e-9})(tiny, v, budget=Budget(), seed=0, bench=bench)
    new, _ = striped(9, seed=3)
    np.testing.assert_allclose(tuned.predict_proba(new), probe.predict_proba(new), atol=1e-4)
    moved = make("finetune", {"epochs": 2, "rate": 1e-2})(tiny, v, budget=Budget(), seed=0, bench=bench)
    assert np.abs(moved.predict_proba(new) - probe.predict_proba(new)).max() > 1e-2


def test_finetune_lowers_the_training_loss_and_keeps_the_statistics(tiny, tmp_path, monkeypatch):
    from headstart.strategy import network

    histories = []
    real = network.train

    def train(*args, **kwargs):
        histories.append(real(*args, **kwargs))
        return histories[-1]

    monkeypatch.setattr(network, "train", train)
    # Without augmentation every epoch's loss is on the same pictures.
    monkeypatch.setattr(finetune, "Augmentation", lambda **strengths: Augmentation())
    strategy = make("finetune", {"epochs": 4, "rate": 1e-3, "trunk": 0.1, "batch": 12})
    tuned = strategy(tiny, view(24), budget=Budget(), seed=0, bench=Bench(store=tmp_path))
    [history] = histories
    assert len(history.losses) == 4
    assert history.losses[-1] < history.losses[0]
    before, after = tiny.module().state_dict(), tuned.body.tensors()
    for key in before:
        moved = not np.array_equal(before[key].numpy(), after[key])
        assert moved == ("running" not in key and "num_batches" not in key), key
    assert tuned.body.revision is None, "the trunk is another now: its vectors are not the source's"


def test_finetune_stops_early_where_there_are_enough_examples_and_scratch_never(monkeypatch, tiny):
    from headstart.strategy import network

    seen = []

    def train(module, task, epoch, steps, plan, trainable, **more):
        seen.append((sum(len(y) for _, y in epoch(0)), steps, more["evaluate"]))
        return History()

    monkeypatch.setattr(network, "train", train)
    monkeypatch.setattr(network, "STOPPING_MINIMUM", 40)
    for n in (39, 40):
        make("finetune", {})(tiny, view(n), budget=Budget(), seed=0)
    make("scratch", {"size": 16, "batch": 16})(find("scratch:small_cnn"), view(40), budget=Budget(), seed=0)
    (small, small_steps, nothing), (large, large_steps, evaluate), scratch = seen
    assert (small, small_steps, nothing) == (39, 3, None)
    assert (large, large_steps) == (34, 3)
    assert scratch == (40, 3, None)
    with torch.inference_mode():
        assert np.isfinite(evaluate())


def test_scratch_learns_what_can_be_seen():
    strategy = make("scratch", {"epochs": 8, "size": 16, "batch": 16, "crop": 0.9, "flip": False})
    predictor = strategy(find("scratch:small_cnn"), view(60), budget=Budget(), seed=0)
    new, truth = striped(60, seed=5)
    assert (predictor.predict_proba(new).argmax(1) == truth).mean() > 0.8


def test_the_last_stages_are_tuned_from_the_cut(tiny, tmp_path):
    """The prefix runs once for each view, the rest of the network stays the source's, and the saved model is whole."""
    from headstart.predictor import load

    card = tiny.card
    assert len(card.stages) >= 3
    strategy = make("finetune", {"epochs": 4, "rate": 3e-3, "last": 1, "views": 2, "batch": 12})
    v = view(24)
    bench = Bench(store=tmp_path / "store")
    tuned = strategy(tiny, v, budget=Budget(), seed=0, bench=bench)
    assert bench.tally.computed == 24 * (1 + 2 + 1), "pooled features, two views and the plain pictures"
    again = Bench(store=tmp_path / "store")
    strategy(tiny, v, budget=Budget(), seed=1, bench=again)
    assert again.tally.computed == 0, "another seed takes the same views"
    before, after = tiny.module().state_dict(), tuned.body.tensors()
    moved = {key for key in before if not np.array_equal(before[key].numpy(), after[key])}
    assert moved
    last = card.stages[-1].name
    assert any(key.startswith(f"{last}.") for key in moved), "the last stage was not trained"
    frozen = [stage.name for stage in card.stages[:-1]]
    assert not any(key.startswith(f"{stage}.") for key in moved for stage in frozen), "a frozen stage moved"
    inputs = v.examples.inputs
    mine = tuned.log_probabilities(again.features(tuned.body, inputs, ""))
    tuned.save(tmp_path / "model", check=inputs)
    theirs = load(tmp_path / "model").predict_proba(inputs)
    np.testing.assert_allclose(np.exp(mine), theirs, atol=5e-3)
    assert tuned.provenance["training"]["cut"] == card.stages[-2].name
    with pytest.raises(TrialError, match="cannot be trained"):
        make("finetune", {"last": 99})(tiny, v, budget=Budget(), seed=0, bench=bench)
