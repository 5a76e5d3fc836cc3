"""Earlier runs as sources: the network they shipped, its head, where it comes from, and what is no source."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from headstart import source as sources
from headstart.budget import Budget
from headstart.errors import SourceError, TrialError
from headstart.features import body_of
from headstart.features.known import probabilities
from headstart.predictor import load
from headstart.score import SCORES
from headstart.source.run import Seen
from headstart.strategy import Bench
from headstart.strategy.adapt.classical import Classical
from headstart.strategy.adapt.ensemble import Ensemble
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.probe import Probe
from headstart.strategy.adapt.scratch import Scratch
from headstart.strategy.adapt.zero_shot import ZeroShot
from headstart.testing import check_source, positive, text_target

pytestmark = pytest.mark.fast

NETWORK_CHECKS = 11
WHERE = {"pretraining": "planted by hand", "licence": "Apache-2.0"}


@pytest.fixture(autouse=True)
def _without_compiling(monkeypatch):
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)


def ship(folder, view, strategy, source, **changes):
    """What a run leaves behind: `folder`/model, with what a run writes into it."""
    found = sources.find(source)
    bench = Bench(store=folder.parent / "features")
    made = strategy(found, view, budget=Budget(), seed=0, bench=bench)
    told = {"name": "before", "train": len(view), "classes": list(view.classes)}
    made.temperature = 1.7
    made.provenance = {"target": told, "source": source, "strategy": strategy.name, **WHERE, **changes}
    made.save(folder / "model", check=view.examples.inputs.take([0, 1, 2]))
    return made


@pytest.fixture(scope="module")
def pictures():
    return positive(40, 20).target().episodes[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pictures):
    """Folders of runs by what they shipped."""
    folder = tmp_path_factory.mktemp("runs")
    texts = text_target(40, 40).episodes[0].view
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
        tuned = ship(folder / "tuned", pictures.view, Finetune(epochs=1, rate=1e-2, trunk=1.0), "toy:detail")
        probed = ship(folder / "probed", pictures.view, Probe(), "toy:detail")
        ship(folder / "scratch", pictures.view, Scratch(epochs=1, size=32), "scratch:small_cnn", pretraining="")
        ship(folder / "classical", pictures.view, Classical("pixels", 16, "ridge"), "scratch", pretraining="")
        ship(folder / "ensemble", pictures.view, Ensemble(), "toy:detail+toy:pixels")
        told = ship(folder / "texts", texts, Finetune(epochs=1, rate=1e-2), "toy_text:words")
        ship(folder / "words", texts, Scratch(epochs=1), "scratch:text_cnn", pretraining="")
    return folder, {"tuned": tuned, "probed": probed, "texts": told, "view": texts}


def test_every_kind_keeps_the_contract_of_sources(runs):
    folder, _ = runs
    checks = [check_source(sources.find(f"run:{folder / name}")) for name in ("tuned", "probed", "scratch", "texts")]
    assert checks == [NETWORK_CHECKS] * 4


def test_a_tuned_network_is_what_the_run_shipped(runs, pictures):
    folder, made = runs
    source, inputs = sources.find(f"run:{folder / 'tuned'}"), pictures.seal.inputs
    whole = np.arange(len(inputs))
    mine = body_of(source).compute(inputs, whole).vectors
    theirs = made["tuned"].body.compute(inputs, whole).vectors
    plain = body_of(sources.find("toy:detail")).compute(inputs, whole).vectors
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert np.abs(mine - plain).max() > 1e-3, "and no longer what its source computed"
    # Its head, with its temperature, is what the source knows by name.
    expected = made["tuned"].predict_proba(inputs)
    np.testing.assert_allclose(probabilities(source, mine), expected, atol=1e-5)
    assert source.names() == ("minus", "plus")
    # Also from the model's own folder.
    assert sources.find(f"run:{folder / 'tuned' / 'model'}").revision() == source.revision()


def test_a_card_tells_where_it_comes_from(runs):
    folder, _ = runs
    card = sources.find(f"run:{folder / 'tuned'}").card
    assert card.pretraining == "before, 40 examples of 2 classes, after planted by hand"
    assert (card.licence, card.unchanged) == ("Apache-2.0", "")
    assert card.origin == f"run {folder / 'tuned'}: finetune on toy:detail"
    plain = sources.find("toy:detail").card
    assert replace(plain, bytes=0).parameters == card.parameters
    assert (card.features, card.flops, card.preprocessing) == (plain.features, plain.flops, plain.preprocessing)
    # A network that was trained from random weights knows what it was trained on, and nothing before.
    scratch = sources.find(f"run:{folder / 'scratch'}").card
    assert scratch.pretraining == "before, 40 examples of 2 classes"
    assert [stage.name for stage in scratch.stages] == ["blocks.0", "blocks.1", "blocks.2"]
    assert scratch.preprocessing.size == 32


def test_a_network_that_was_left_as_it_was_says_so(runs, pictures):
    folder, made = runs
    source, plain = sources.find(f"run:{folder / 'probed'}"), sources.find("toy:detail")
    assert source.card.unchanged == "toy:detail"
    assert source.revision() == plain.revision(), "the store has its features already"
    assert source.card.pretraining == "planted by hand"
    X = body_of(source).compute(pictures.seal.inputs, np.arange(20)).vectors
    np.testing.assert_allclose(probabilities(source, X), made["probed"].predict_proba(pictures.seal.inputs), atol=1e-5)
    # Two heads on one network are told apart in the store.
    assert source.card.known != sources.find(f"run:{folder / 'tuned'}").card.known


def test_texts(runs):
    folder, made = runs
    source, view = sources.find(f"run:{folder / 'texts'}"), made["view"]
    assert source.card.modality == "text"
    inputs = view.examples.inputs
    mine = body_of(source).compute(inputs, np.arange(len(inputs))).vectors
    np.testing.assert_allclose(probabilities(source, mine), made["texts"].predict_proba(inputs), atol=1e-5)
    # The old head is trained beside the new one, on texts, too.
    both = Finetune(epochs=1, penalty="cotuning")(source, view, budget=Budget(), seed=0)
    assert both.classes == view.classes
    assert both.body.documents() == made["texts"].body.documents()
    # A fitted vocabulary comes with the network, and is not fitted anew.
    words = sources.find(f"run:{folder / 'words'}")
    assert words.card.preprocessing.vocabulary == 0
    assert check_source(words) == NETWORK_CHECKS


def test_routes_on_a_run_ship_without_it(runs, pictures, tmp_path):
    """Probe, fine-tuning and Co-Tuning from a copy of a run that is then removed."""
    folder, _ = runs
    shutil.copytree(folder / "tuned", tmp_path / "tuned")
    source = sources.find(f"run:{tmp_path / 'tuned'}")
    bench = Bench(store=tmp_path / "features")
    routes = (Probe(), Finetune(epochs=1, penalty="cotuning"))
    made = [route(source, pictures.view, budget=Budget(), seed=0, bench=bench) for route in routes]
    expected = [each.predict_proba(pictures.seal.inputs) for each in made]
    for number, each in enumerate(made):
        each.save(tmp_path / f"made{number}")
    shutil.rmtree(tmp_path / "tuned")
    for number, probabilities_ in enumerate(expected):
        found = load(tmp_path / f"made{number}").predict_proba(pictures.seal.inputs)
        np.testing.assert_allclose(found, probabilities_, atol=1e-5)


def test_a_run_of_the_same_classes_needs_no_labels(runs, pictures):
    folder, made = runs
    source = sources.find(f"run:{folder / 'tuned'}")
    bench = Bench(store=folder / "features")
    own = ZeroShot(centre=False)(source, pictures.view, budget=Budget(), seed=0, bench=bench)
    logits = np.log(made["tuned"].predict_proba(pictures.seal.inputs))
    np.testing.assert_allclose(np.log(own.predict_proba(pictures.seal.inputs)), logits, atol=1e-4)
    assert own.provenance["zero_shot"]["method"] == "own"
    # In another order, under other names of the same words.
    turned = replace(pictures.view, classes=("Plus", "Minus"))
    other = ZeroShot(centre=False)(source, turned, budget=Budget(), seed=0, bench=bench)
    np.testing.assert_allclose(
        other.predict_proba(pictures.seal.inputs), own.predict_proba(pictures.seal.inputs)[:, ::-1], atol=1e-6
    )


def test_a_probe_beside_the_old_head_is_their_mean(runs, pictures):
    """Of the two models' probabilities, on one body, with earlier layers and without."""
    folder, made = runs
    bench = Bench(store=folder / "features")
    source, inputs = sources.find(f"run:{folder / 'tuned'}"), pictures.seal.inputs
    fewer = pictures.view.sample(12, 0)
    probe, both = (Probe(own=own)(source, fewer, budget=Budget(), seed=0, bench=bench) for own in (False, True))
    expected = (probe.predict_proba(inputs) + made["tuned"].predict_proba(inputs)) / 2
    np.testing.assert_allclose(both.predict_proba(inputs), expected, atol=1e-5)
    both.save(folder / "both", check=inputs)
    np.testing.assert_allclose(load(folder / "both").predict_proba(inputs), expected, atol=1e-5)
    scratch = sources.find(f"run:{folder / 'scratch'}")
    probe, both, own = (
        route(scratch, fewer, budget=Budget(), seed=0, bench=bench)
        for route in (Probe(layers="mixed"), Probe(layers="mixed", own=True), ZeroShot(centre=False))
    )
    expected = (probe.predict_proba(inputs) + own.predict_proba(inputs)) / 2
    np.testing.assert_allclose(both.predict_proba(inputs), expected, atol=1e-5)
    with pytest.raises(TrialError, match="needs the pooled output"):
        Probe(layers="shallow", own=True)(scratch, fewer, budget=Budget(), seed=0, bench=bench)
    with pytest.raises(TrialError, match="does not know these classes"):
        Probe(own=True)(sources.find("toy:detail"), fewer, budget=Budget(), seed=0, bench=bench)


def test_scores_ask_the_head_of_a_run(runs, pictures):
    """What an earlier run of the same task says of the classes beats what chance says: LEEP and NCE."""
    folder, _ = runs
    source, examples = sources.find(f"run:{folder / 'tuned'}"), pictures.view.examples
    X = body_of(source).compute(examples.inputs, np.arange(len(examples))).vectors
    p = probabilities(source, X)
    for name in ("leep", "nce"):
        score = SCORES[name].function
        assert score(X, examples.labels, p) > score(X, np.roll(examples.labels, 1), p) + 0.2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("classical", r"shipped classical on scratch: there is no network in it(.|\n)*next: +run it again"),
        ("ensemble", r"several networks, each as it was(.|\n)*--source toy:detail,toy:pixels"),
    ],
)
def test_what_is_no_network_is_refused(runs, name, words):
    with pytest.raises(SourceError, match=words):
        sources.cards([f"run:{runs[0] / name}"])


def test_everything_wrong_with_several_is_told_at_once(runs):
    with pytest.raises(SourceError) as caught:
        sources.cards([f"run:{runs[0] / 'classical'}", "run:nowhere", "nobody"])
    assert [bool(p.next) for p in caught.value.problems] == [True] * 3
    assert "no predictor in nowhere" in str(caught.value)


def test_a_damaged_folder_is_refused(runs, tmp_path):
    def refused(words):
        with pytest.raises(SourceError, match=words) as caught:
            sources.cards([f"run:{tmp_path / 'run'}"])
        assert "--out" in str(caught.value)

    def changed(name, data):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(runs[0] / "tuned", tmp_path / "run")
        (tmp_path / "run" / "model" / name).write_bytes(data)

    weights = bytearray((runs[0] / "tuned" / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    changed("model.safetensors", weights)
    refused("is damaged: its SHA-256")
    changed("predictor.json", b"{")
    refused("the folder of a finished run")
    document = json.loads((runs[0] / "tuned" / "model" / "predictor.json").read_text())
    changed("predictor.json", json.dumps(document | {"format": 9}).encode())
    refused("reads format 1")
    changed("predictor.json", json.dumps({k: v for k, v in document.items() if k != "weights"}).encode())
    refused("lacks 'weights'")
    (tmp_path / "run" / "model" / "predictor.json").unlink()
    refused("no predictor in")
    shutil.copytree(runs[0] / "texts", tmp_path / "texts")
    (tmp_path / "texts" / "model" / "tokenizer.json").write_text("{}")
    with pytest.raises(SourceError, match=r"tokenizer.json is damaged"):
        body_of(sources.find(f"run:{tmp_path / 'texts'}"))


def test_what_a_run_has_seen(runs, tmp_path):
    shutil.copytree(runs[0] / "tuned", tmp_path / "run")
    assert sources.find(f"run:{tmp_path / 'run'}").seen() is None
    seen = Seen(frozenset({"a", "b"}), frozenset({"c"}))
    seen.write(tmp_path / "run")
    assert sources.find(f"run:{tmp_path / 'run'}").seen() == seen
    assert sources.find(f"run:{tmp_path / 'run' / 'model'}").seen() == seen
    (tmp_path / "run" / "seen.json").write_text("[]")
    with pytest.raises(SourceError, match="the folder of a finished run"):
        sources.find(f"run:{tmp_path / 'run'}").seen()


def test_few_known_classes_are_no_map_from_names(runs, pictures):
    source = sources.find(f"run:{runs[0] / 'tuned'}")
    other = replace(pictures.view, classes=("dark", "light"))
    with pytest.raises(TrialError, match=r"knows 2 classes, not these; .* takes 20"):
        ZeroShot()(source, other, budget=Budget(), seed=0, bench=Bench(store=runs[0] / "features"))
