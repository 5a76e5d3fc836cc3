"""Every member of every extension point keeps its contract, and the suites see it when one does not."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from headstart import source as sources
from headstart.errors import SourceError
from headstart.source import architecture
from headstart.source.scratch import NothingSource, ScratchSource
from headstart.strategy import STRATEGIES
from headstart.strategy.adapt.classical import Classical
from headstart.strategy.adapt.contrast import Contrast
from headstart.strategy.adapt.ensemble import Ensemble
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.lora import Lora
from headstart.strategy.adapt.majority import Majority
from headstart.strategy.adapt.probe import Probe
from headstart.strategy.adapt.prototypes import Prototypes
from headstart.strategy.adapt.scratch import Scratch
from headstart.strategy.adapt.zero_shot import ZeroShot
from headstart.target import READERS
from headstart.target.readers import Reader
from headstart.testing import ToySource, check_adapt, check_all, check_reader, check_source, registered
from headstart.testing import texts as _texts  # noqa: F401 - registers toy_text:words

# Settings that are quick, and a source for each: a strategy without a row here fails the test below.
QUICK = {
    "probe": (Probe("logistic", 0.1), "toy:detail"),
    "prototypes": (Prototypes(), "toy:detail"),
    "ensemble": (Ensemble(), "toy:detail+toy:pixels"),
    "contrast": (Contrast(steps=2), "toy_text:words"),
    "finetune": (Finetune(epochs=1), "toy:detail"),
    "lora": (Lora(layers="all", epochs=1), "toy_text:words"),
    "majority": (Majority(), "scratch"),
    "classical": (Classical("pixels", 16, "svm"), "scratch"),
    "scratch": (Scratch(epochs=1, size=32), "scratch:small_cnn"),
    "zero-shot": (ZeroShot(), "toy_text:words"),
}
NETWORK_CHECKS, PLAIN_CHECKS = 11, 3


@pytest.mark.fast
def test_sources_keep_their_contract():
    names = ("efficientnet_lite0", "scratch", "scratch:small_cnn", "toy:detail", "toy:pixels")
    checks = check_all(check_source, map(sources.find, names), expected=5)
    assert checks == 4 * NETWORK_CHECKS + PLAIN_CHECKS


@pytest.mark.fast
@pytest.mark.parametrize("name", ["small_cnn", "tf_efficientnet_lite0"])
def test_what_is_written_down_is_what_is_measured(name):
    card = ScratchSource(name).card
    assert card.preprocessing == architecture.preprocessing(name)
    assert (card.parameters, card.features, card.flops) == architecture.measure(name, card.preprocessing.size)


@pytest.mark.slow
def test_bundled_and_large_sources_keep_their_contract():
    names = [*sources.BUNDLED, "scratch:tf_efficientnet_lite0", "scratch:resnet18"]
    assert check_all(check_source, map(sources.find, names), expected=7) == 7 * NETWORK_CHECKS


@pytest.mark.fast
def test_strategies_keep_their_contract():
    assert QUICK.keys() == STRATEGIES.keys()
    checks = check_all(
        lambda name: check_adapt(QUICK[name][0], sources.find(QUICK[name][1])), sorted(STRATEGIES), expected=len(QUICK)
    )
    assert checks == len(QUICK) * 10


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def _pair():
    return np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8), ["a", "b"] * 4


@pytest.mark.fast
def test_readers_keep_their_contract(folder):
    data = {"embedded data": "embedded:digits", "a folder or table": folder, "a pair (X, y)": _pair()}
    members = [reader for reader in READERS if reader.name in data]
    assert {r.name for r in READERS} - data.keys() == {"a Hugging Face Dataset or DatasetDict"}  # in the slow lane
    assert check_all(lambda reader: check_reader(reader, data[reader.name]), members, expected=3) == 3 * 7

    table = folder.parent / "table.csv"
    rows = [f"photos/{p.parent.name}/{p.name},{p.parent.name}" for p in sorted(folder.rglob("*.png"))]
    table.write_text("\n".join(["path,label", *rows]))
    assert check_reader(next(r for r in members if r.name == "a folder or table"), str(table)) == 7


@pytest.mark.slow
def test_the_reader_of_datasets_keeps_its_contract():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(8)]
    data = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1] * 4}, features=features)
    assert check_all(lambda reader: check_reader(reader, data), [READERS[-1]], expected=1) == 7


# -- the suites themselves: what breaks a contract is seen, and named --------------------------------------------


def _broken(**changes):
    source = ToySource("detail")
    source.card = replace(source.card, **changes)
    return source


@pytest.mark.fast
@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"licence": ""}, "its card is complete"),
        ({"parameters": 7}, "as many parameters as its card says"),
        ({"features": 9}, "as many features as its card says"),
        ({"architecture": "toy_pixels"}, "can be built again"),
    ],
)
def test_a_source_that_breaks_its_contract_is_named(changes, check):
    if "architecture" in changes:  # its module must still be its own
        source = _broken()
        module = source.module
        source.card = replace(source.card, **changes)
        source.module = lambda seed=0: ToySource("detail").module(seed)
        assert module is not source.module
    else:
        source = _broken(**changes)
    with pytest.raises(AssertionError, match="toy:detail") as caught:
        check_source(source)
    assert check in str(caught.value)


@pytest.mark.fast
def test_a_source_whose_weights_change_is_named():
    source = ToySource("detail")
    once = source.module()
    source.module = lambda seed=0: once
    with pytest.raises(AssertionError, match="fresh each time"):
        check_source(source)


@dataclass(frozen=True)
class _Unsteady(Majority):
    def __call__(self, source, view, *, budget, seed, bench=None):
        np.random.rand()  # noqa: NPY002 - what must not be done
        return super().__call__(source, view, budget=budget, seed=seed)


@dataclass(frozen=True)
class _Greedy(Majority):
    def __call__(self, source, view, *, budget, seed, bench=None):
        view.examples.labels[:] = 0
        return super().__call__(source, view, budget=budget, seed=seed)


@dataclass(frozen=True)
class _Cheap(Majority):
    def seconds(self, card, examples, classes, rate):
        return 1.0 / examples


@pytest.mark.fast
@pytest.mark.parametrize(
    ("strategy", "words"), [(_Unsteady(), "numpy's"), (_Greedy(), "read-only"), (_Cheap(), "never cost less")]
)
def test_a_strategy_that_breaks_its_contract_is_named(strategy, words):
    with pytest.raises(AssertionError, match=f"strategy 'majority'.*{words}"):
        check_adapt(strategy, NothingSource())


@pytest.mark.fast
def test_a_baseline_on_a_pretrained_source_and_a_transfer_from_nothing_are_refused():
    with pytest.raises(AssertionError, match="serves the source"):
        check_adapt(Probe(), ScratchSource("small_cnn"))
    with pytest.raises(AssertionError, match="serves the source"):
        check_adapt(Scratch(), ToySource("detail"))


@pytest.mark.fast
def test_a_reader_that_breaks_its_contract_is_named():
    pair = next(reader for reader in READERS if reader.name == "a pair (X, y)")
    greedy = Reader("greedy", lambda data: True, pair.read)
    with pytest.raises(AssertionError, match="'greedy': it claims its own data and nothing else"):
        check_reader(greedy, _pair())
    careless = Reader("careless", pair.claims, lambda data, columns: pair.read(data, type(columns)()))
    with pytest.raises(AssertionError, match="'careless': a column that is not there"):
        check_reader(careless, _pair())


@pytest.mark.fast
def test_members_are_counted():
    with pytest.raises(AssertionError, match="1 members were visited, expected 2"):
        check_all(lambda member: 1, ["a"], expected=2)
    with pytest.raises(AssertionError, match="visited by no check"):
        check_all(lambda member: 0, ["a"], expected=1)


@pytest.mark.fast
def test_sources_of_your_own_are_found_while_they_are_registered():
    mine = _broken(name="mine:eye")
    with registered(mine):
        assert sources.find("mine:eye") is mine
        with pytest.raises(SourceError, match=r"unknown source 'mine:eie' \(did you mean 'mine:eye'\?\)"):
            sources.find("mine:eie")
        with registered(_broken(name="mine:ear")):
            assert sources.find("mine:eye") is mine
            assert sources.find("mine:ear").card.name == "mine:ear"
    with pytest.raises(SourceError, match="unknown kind of source 'mine'"):
        sources.find("mine:eye")
    for kind in ("timm", "bundled", "scratch", "hf", "static", "", "a:b"):
        with pytest.raises(ValueError, match="cannot be a kind"):
            sources.register(kind, ToySource)
    with pytest.raises(SourceError, match="did you mean 'detail'"):
        sources.find("toy:detial")
