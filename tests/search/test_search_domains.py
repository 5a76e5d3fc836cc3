"""Two domains from end to end, on planted pictures: what moved is said, and target labels choose nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart import api
from headstart.budget import Budget
from headstart.errors import OptionError, RunError, TargetError
from headstart.predictor import load
from headstart.report.adaptation import adaptation_html
from headstart.search import Options
from headstart.search.adapt import AdaptOptions, _Adapter, adapt
from headstart.search.ledger import Ledger
from headstart.search.listener import Listener
from headstart.search.shift import shift
from headstart.target.adaptation import as_adaptation, parse_few, without
from headstart.target.domain import Domain, load_domain
from headstart.target.inputs import ArrayInputs
from headstart.testing import null

pytestmark = pytest.mark.fast


def domain(n: int, seed: int, *, labelled: bool = True, brighter: int = 0) -> Domain:
    planted = null(n, 0, seed)
    pictures = np.clip(planted.pictures.astype(np.int64) + brighter, 0, 255).astype(np.uint8)
    names = [f"{seed}-{i}" for i in range(n)]
    return Domain(f"seed {seed}", ArrayInputs(pictures, names), planted.labels if labelled else (None,) * n)


def test_nothing_is_claimed_where_nothing_moved() -> None:
    found = shift(domain(60, 1), domain(60, 2, labelled=False), features="toy:pixels", permutations=99)
    assert found.inputs.p_value > 0.02
    assert found.setting == "transductive"
    assert found.concept is None
    assert any("cannot be claimed: no labels in the target" in sentence for sentence in found.moved)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["labelled"] == [60, 0]


def test_brighter_pictures_are_found_and_shown() -> None:
    source, target = domain(60, 1), domain(60, 2, brighter=60)
    found = shift(source, target, features="toy:pixels", permutations=99)
    assert found.inputs.p_value == pytest.approx(0.01)
    assert found.inputs.low > 0.9
    assert found.moved[0].startswith("P(X) moved")
    assert found.labels is not None
    assert found.labels.known
    assert found.labels.p_value > 0.05
    assert found.concept is not None
    assert found.concept.verdict == "cannot be told"
    from headstart.report import shift_html

    page = shift_html(found, source.inputs, target.inputs)
    assert page.count("<circle") == 60
    assert page.count("data:image") == len(found.extremes)


def test_what_cannot_be_compared_is_refused_at_once() -> None:
    few = domain(10, 1)
    with pytest.raises(TargetError, match="2 problems"):
        shift(few, few, features="toy:pixels")
    with pytest.raises(TargetError, match="2 problems"):
        as_adaptation([domain(30, 1, labelled=False)], few)
    with pytest.raises(TargetError, match="3 problems"):
        as_adaptation([domain(30, 1), domain(30, 1)], few, 9)
    with pytest.raises(TargetError, match=r"2 problems(.|\n)*seed 1 has 10 examples(.|\n)*two domains called seed 1"):
        as_adaptation([domain(30, 1)], domain(30, 2), intermediate=[few])
    with pytest.raises(OptionError, match="how many of each class, or all"):
        parse_few("some")


def test_the_view_of_an_adaptation_holds_no_label_of_the_target() -> None:
    made = as_adaptation([domain(40, 1)], domain(30, 2))
    view = made.target.everything
    assert (made.learned, made.sealed) == (0, 30)
    assert view.few is None
    assert len(view) == 40
    assert view.unlabelled is not None
    assert view.unlabelled.name(0) == "2-0"
    assert not any(view.examples.inputs.name(i).startswith("2-") for i in range(40))


def test_labels_that_were_given_are_not_sealed_and_fewer_are_among_more() -> None:
    source, target = domain(40, 1), domain(60, 2)
    two, three = (as_adaptation([source], target, few, seed=5) for few in (2, 3))
    assert (two.learned, two.sealed) == (4, 56)
    names = [{made.episode.view.few.inputs.name(i) for i in range(made.learned)} for made in (two, three)]
    assert names[0] < names[1]
    sealed = {three.episode.seal.inputs.name(i) for i in range(three.sealed)}
    assert not names[1] & sealed
    assert three.target.digest() != two.target.digest()
    every = as_adaptation([source], target, "all")
    assert (every.learned, every.sealed) == (60, 0)


def test_labels_of_domains_in_between_are_nowhere_in_the_view_and_other_ones_are_another_run() -> None:
    between = [domain(30, 3), domain(25, 4, labelled=False)]
    made = as_adaptation([domain(40, 1)], domain(30, 2), intermediate=between)
    view = made.episode.view
    assert [part.name(0) for part in view.intermediate] == ["3-0", "4-0"]
    assert len(view) == 40
    assert [part.name(0) for part in view.take([0, 1]).intermediate] == ["3-0", "4-0"]
    said = [line for line in made.target.hygiene.warnings if "which were not used" in line]
    assert len(said) == 1
    assert said[0].startswith("seed 3 has labels")
    turned = as_adaptation([domain(40, 1)], domain(30, 2), intermediate=between[::-1])
    assert made.target.digest() != turned.target.digest()
    assert made.target.digest() != as_adaptation([domain(40, 1)], domain(30, 2)).target.digest()


def test_a_view_without_a_source_domain_holds_none_of_it() -> None:
    made = as_adaptation([domain(20, 1), domain(30, 2), domain(25, 3)], domain(40, 4), intermediate=[domain(20, 5)])
    view = made.episode.view
    assert np.bincount(view.examples.origin).tolist() == [20, 30, 25]
    left = without(view, [1])
    assert np.bincount(left.examples.origin).tolist() == [20, 25]
    assert {left.examples.inputs.name(i)[0] for i in range(len(left))} == {"1", "3"}
    assert len(left.intermediate) == 1
    assert without(view, [0, 2]).examples.origin is None


OPTIONS = AdaptOptions(("toy:pixels",), ("coral", "label-shift"), Budget(seconds=600))


def test_the_choice_is_written_before_the_seal_is_opened_and_a_second_run_adds_nothing(tmp_path: Path) -> None:
    source, target = domain(60, 1), domain(50, 2, brighter=20)
    found = adapt([source], target, tmp_path, OPTIONS)
    lines = (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events.index("chosen") < events.index("opened")
    assert found.evidence is not None
    assert found.evidence.baseline.strategy == "source-only"
    assert found.evidence.transfer.strategy in ("coral", "label-shift")
    assert found.choice.target_labels == "sealed"
    assert load(tmp_path).predict(target.inputs)[0] in source.classes
    again = adapt([source], target, tmp_path, OPTIONS)
    assert again.choice.shipped == found.choice.shipped
    assert (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines() == lines


def test_domains_in_between_are_gone_over_and_named_on_the_record(tmp_path: Path) -> None:
    source, target, between = domain(60, 1), domain(50, 2, brighter=40), domain(40, 3, brighter=20)
    options = AdaptOptions(("toy:pixels",), ("coral", "gradual"), Budget(seconds=600))
    found = adapt([source], target, tmp_path, options, intermediate=[between])
    assert found.choice.intermediate == {"seed 3": 40}
    assert {"gradual", "gradual (teacher tri-train)", "coral"} <= set(found.choice.names)
    assert found.choice.said["gradual"]["intermediate"][0]["examples"] == 40
    page = adaptation_html(found.choice)
    assert page.index("In between") < page.index("seed 3, 40 examples") < page.index("seed 2, 50 examples")
    again = api.adapt(
        source, target, intermediate=between, source="toy:pixels", strategy=("gradual",), out=tmp_path / "2"
    )
    assert again.choice.intermediate == {"seed 3": 40}
    with pytest.raises(RunError, match="target differs"):
        adapt([source], target, tmp_path, options, intermediate=[domain(40, 4)])
    with pytest.raises(OptionError, match=r"gradual needs domains between source and target \(--intermediate\)"):
        AdaptOptions(("toy:pixels",), ("gradual",)).settings()


def test_without_target_labels_the_choice_is_the_same_and_nothing_is_claimed(tmp_path: Path) -> None:
    source, target = domain(60, 1), domain(50, 2, brighter=20)
    blind = adapt([source], Domain(target.name, target.inputs, (None,) * 50), tmp_path / "blind", OPTIONS)
    seeing = adapt([source], target, tmp_path / "seeing", OPTIONS)
    assert blind.evidence is None
    assert not (tmp_path / "blind" / "evidence.json").exists()
    assert blind.choice.agreement == seeing.choice.agreement
    assert load(tmp_path / "blind").provenance["verdict"].startswith("unproven")


def test_fit_refuses_ways_of_adaptation_and_says_where_they_belong() -> None:
    with pytest.raises(OptionError, match="headstart adapt"):
        Options(strategies=("coral",)).check()
    with pytest.raises(OptionError, match="unknown strategy"):
        AdaptOptions(strategies=("corral",)).check()
    pinned = AdaptOptions(("toy:pixels",), ("coral(ridge=3)", "tca")).settings()
    assert [s.strategy.ridge for s in pinned if s.strategy.name == "coral"] == [3.0]
    assert {s.strategy.name for s in pinned} == {"source-only", "coral", "tca"}


def test_a_domain_needs_no_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one text", encoding="utf-8")
    (tmp_path / "b.txt").write_text("another", encoding="utf-8")
    flat = load_domain(tmp_path)
    assert flat.modality == "text"
    assert (len(flat), flat.labelled) == (2, 0)
    table = tmp_path / "table.csv"
    table.write_text("text\none two three\nfour five\n", encoding="utf-8")
    assert load_domain(table).labelled == 0
    assert load_domain(["a picture of words", "more of them"]).classes == ()


def test_a_run_that_was_given_target_labels_says_so_everywhere(tmp_path: Path) -> None:
    source, target = domain(60, 1), domain(70, 2, brighter=40)
    options = AdaptOptions(("toy:pixels",), ("joint", "coral"), Budget(seconds=600))
    found = adapt([source], target, tmp_path, options, few=4)
    choice, evidence = found.choice, found.evidence
    assert (choice.target_labels, choice.learned, choice.sealed) == ("learned and sealed", 8, 62)
    assert set(choice.names) >= {"source-only", "target-only", "joint", "coral"}
    assert set(choice.labelled) == set(choice.names)
    assert "8 labelled target examples" in choice.reason
    assert evidence is not None
    assert evidence.adaptation is not None
    assert evidence.adaptation.used == "8 learned from, 62 sealed, for the test alone"
    assert {row.name for row in evidence.adaptation.routes} == set(choice.names)
    assert {(p.route, p.each) for p in evidence.adaptation.curve} >= {
        ("target-only", 1), ("target-only", 2), ("target-only", 4), ("joint", 2), ("source-only", 0),
    }  # fmt: skip
    assert set(evidence.adaptation.over) == {"source-only", "target-only"}
    assert any("8 labels of the target were given" in warning for warning in evidence.warnings)
    assert load(tmp_path).provenance["target_labels"] == evidence.adaptation.used
    from headstart.report import headline, html, markdown, sentence

    assert headline(evidence).endswith("given 8 target labels")
    assert sentence(evidence).startswith("Given 8 labels of the target, ")
    for page in (html(evidence), markdown(evidence)):
        assert "given 8 target labels" in page
    lines = (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    adapt([source], target, tmp_path, options, few=4)
    assert (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").splitlines() == lines


def test_what_every_label_was_learned_from_is_unproven(tmp_path: Path) -> None:
    from headstart.report import adaptation_html

    options = AdaptOptions(("toy:pixels",), ("joint",), Budget(seconds=600))
    found = adapt([domain(40, 1)], domain(30, 2), tmp_path, options, few="all")
    assert found.evidence is None
    assert found.choice.target_labels == "learned"
    assert load(tmp_path).provenance["verdict"] == "unproven: the target has no labels but those learned from"
    page = adaptation_html(found.choice)
    assert "30 labels of the target were given to learn from" in page
    assert "This is not proven" in page


def test_several_sources_are_told_apart_on_the_record(tmp_path: Path) -> None:
    good, bad = domain(60, 1), domain(60, 3)
    wrong = Domain("wrong", bad.inputs, bad.labels)
    options = AdaptOptions(("toy:pixels",), ("weigh",), Budget(seconds=600))
    found = adapt([good, wrong], domain(60, 2), tmp_path, options)
    assert found.choice.domains is not None
    assert set(found.choice.domains["leads"]) == {"seed 1", "wrong"}
    assert found.evidence is not None
    assert found.evidence.adaptation is not None
    assert [d.name for d in found.evidence.adaptation.domains] == ["seed 1", "wrong"]
    events = [json.loads(line)["event"] for line in (tmp_path / "ledger.jsonl").read_text("utf-8").splitlines()]
    assert events.index("domains") < events.index("chosen") < events.index("opened")


def test_deep_ways_come_last_and_only_where_the_budget_holds_them(tmp_path: Path) -> None:
    source, target = domain(60, 1), domain(50, 2, brighter=20)
    asked = AdaptOptions(("efficientnet_lite0",), ("coral", "adabn", "adabn-tri-train", "mcc"), Budget(seconds=600))
    made = as_adaptation([source], target)
    course = _Adapter(made, target, tmp_path, asked, Listener())
    course.ledger = Ledger(tmp_path)
    course.before = 0.0
    able = course._able(made.episode)
    seconds = {s.strategy.name: course._seconds(s, made.episode) for s in reversed(able)}  # of the first settings
    executed = []

    def execute(spec, episode, predicted, until=0.0):
        executed.append((spec.strategy, spec.phase))
        assert predicted >= 0

    course._execute = execute
    # Without time there are still source-only, and the way with the best record, or there were nothing to ship.
    always = {"source-only", "coral"}
    everything = always | {"adabn", "adabn-tri-train", "mcc"}
    for left, expected in ((1e9, everything), (3 * seconds["mcc"] - 1, always), (-5.0, always)):
        executed.clear()
        course._left = lambda left=left: left
        course.options = replace(asked, budget=Budget(seconds=1.0))
        with pytest.raises(RunError, match="source-only failed"):  # nothing was really executed
            course._candidates(made.episode)
        assert {name for name, _ in executed} >= expected
        assert ("mcc" in {name for name, _ in executed}) == (left == 1e9)
        if left < 0:
            assert executed == [(name, phase) for name in ("source-only", "coral") for phase in ("search", "candidate")]
        order = [name for name, phase in executed if phase == "search"]
        assert order[0] == "source-only"
        if left == 1e9:
            assert order[1:4] == ["coral", "coral", "adabn-tri-train"], "the deep way with a record is first"
            deep = [seconds[name] for name in dict.fromkeys(order[4:])]
            assert deep == sorted(deep)
