"""Runs that begin from an earlier run: lineage, and examples that the earlier run had learned from."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from headstart import source as sources
from headstart.budget import Budget
from headstart.errors import SourceError, TargetError
from headstart.predictor import load
from headstart.search import Options, run
from headstart.search.rank import rank
from headstart.search.seen import apart
from headstart.source.run import SEEN, Seen
from headstart.target.assemble import assemble
from headstart.target.inputs import ArrayInputs
from headstart.target.raw import Raw
from headstart.testing import positive

pytestmark = pytest.mark.fast


def mixed(old, new, tested):
    """A target that learns from `new` and is tested on it and on `tested` examples of `old`."""
    pictures = np.concatenate([new.pictures, old.pictures[tested]])
    labels = [*new.labels, *(old.labels[i] for i in tested)]
    sides = ["train" if i < new.train else "test" for i in range(len(labels))]
    return assemble(Raw("mixed", ArrayInputs(pictures), labels, sides), test_fraction=0.25, seed=0)


@pytest.fixture(scope="module")
def before(tmp_path_factory, options_of):
    """A finished run that shipped a probe on toy:detail, and the planted target it was of."""
    folder, planted = tmp_path_factory.mktemp("before") / "run", positive(40, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
        run(planted.target(), folder, options_of(planted, trials=2))
    return folder, planted


def test_a_run_writes_what_it_has_seen(before):
    folder, planted = before
    episode = planted.target().episodes[0]
    seen = sources.find(f"run:{folder}").seen()
    assert seen.learned == frozenset(episode.view.examples.inputs.digests())
    assert seen.sealed == frozenset(episode.seal.inputs.digests())
    assert not (folder / "model" / SEEN).exists(), "what is handed on does not tell"


def test_examples_that_the_source_learned_from_do_not_judge_it(before, tmp_path):
    folder, old = before
    name, new = f"run:{folder}", positive(60, 60, seed=5)
    target = mixed(old, new, [*range(8), 41, 42, 43])
    assert len(target.episodes[0].seal) == 71
    options = Options((name,), ("probe",), Budget(trials=2))
    found = run(target, tmp_path / "run", options)
    assert found.evidence.n_test == 63
    said = found.evidence.warnings
    assert f"8 of 71 sealed examples are among those that {name} learned from: they were taken out of the test." in said
    assert any(line.startswith("3 sealed examples had judged") for line in said)
    assert any(
        line.startswith(f"{name} shipped a head on toy:detail, whose network it left as it was") for line in said
    )
    # The same again is the same run.
    assert run(target, tmp_path / "run", options).evidence.n_test == 63
    # Where a model comes from is told along the chain, and so is what was learned from on the way.
    model = load(tmp_path / "run")
    assert model.provenance["source"] == name
    assert [each["source"] for each in model.provenance["earlier"]] == ["toy:detail"]
    seen, mine = sources.find(f"run:{tmp_path / 'run'}").seen(), sources.find(name).seen()
    assert mine.learned < seen.learned


def test_examples_to_learn_from_stay_and_are_counted(before):
    folder, old = before
    name, target = f"run:{folder}", old.target()
    kept, said = apart(target, [name])
    assert kept.digest() == target.digest()
    assert [line.split(" examples")[0] for line in said] == ["20 sealed", "40 of 40"]
    assert apart(target, ["toy:detail"]) == (target, [])
    # As a part of several, too.
    assert apart(target, [f"toy:pixels+{name}"])[1] == said
    found = rank(target, ("toy:detail", name), resamples=0)
    assert f"{name} learned from 40 of these 40 examples: what is said of it is too good." in found.notes
    assert any("is the network of toy:detail with a head on it" in note for note in found.notes)
    scores = {each.source: each.scores for each in found.sources}
    assert scores[name]["linear"] == scores["toy:detail"]["linear"]
    assert "leep" in scores[name]
    assert "leep" not in scores["toy:detail"]


def test_a_test_of_nothing_new_is_refused(before):
    folder, old = before
    name = f"run:{folder}"
    turned = replace(old, train=20, pictures=old.pictures[::-1].copy(), labels=old.labels[::-1])
    with pytest.raises(TargetError, match=r"learned from so many(.|\n)*leave the source out"):
        apart(turned.target(), [name])


def test_a_model_alone_does_not_tell_what_it_has_seen(before, tmp_path):
    folder, old = before
    shutil.copytree(folder / "model", tmp_path / "alone")
    _, said = apart(old.target(), [f"run:{tmp_path / 'alone'}"])
    assert len(said) == 1
    assert "is not on record beside its model" in said[0]


def test_a_damaged_record_ends_the_run_before_it_begins(before, tmp_path):
    folder, old = before
    shutil.copytree(folder, tmp_path / "damaged")
    (tmp_path / "damaged" / SEEN).write_text(json.dumps({"format": 1}))
    with pytest.raises(SourceError, match="'learned'"):
        run(old.target(), tmp_path / "new", Options((f"run:{tmp_path / 'damaged'}",), ("probe",), Budget(trials=2)))
    assert not (tmp_path / "new").exists()


def test_cross_fitted_seals_lose_what_was_seen_too(before, tmp_path):
    folder, _ = before
    small = positive(100, 0, seed=9).target()
    assert small.split == "cross-fit"
    known = small.everything.examples.inputs.digests()[:10]
    shutil.copytree(folder, tmp_path / "old")
    Seen(frozenset(known), frozenset()).write(tmp_path / "old")
    kept, said = apart(small, [f"run:{tmp_path / 'old'}"])
    assert sum(len(episode.seal) for episode in kept.episodes) == 2 * 90
    assert said[0].startswith("10 of 100 sealed examples")


def test_beside_its_network_only_what_uses_the_head_is_tried_on_a_run(before):
    folder, _ = before
    name = f"run:{folder}"
    alone = {s.strategy.name for s in Options((name,)).settings() if s.card.name == name}
    beside = {s.strategy.name for s in Options(("toy:detail", name)).settings() if s.card.name == name}
    assert {"probe", "finetune", "zero-shot"} <= alone
    assert beside == {"zero-shot"}
    pinned = Options(("toy:detail", name), ("finetune(penalty=cotuning)",)).settings()
    assert {s.card.name for s in pinned if s.side == "transfer"} == {name, "toy:detail"}
    own = Options(("toy:detail", name), ("probe(own=true)",)).settings()
    assert {s.card.name for s in own if s.side == "transfer"} == {name, "toy:detail"}
    joined = [s for s in Options(("toy:detail", "toy:pixels", name)).settings() if s.card.parts]
    assert {s.card.name for s in joined} == {"toy:detail+toy:pixels"}
