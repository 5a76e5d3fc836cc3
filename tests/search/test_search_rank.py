"""Ranking sources: the planted order, stability, agreement, and that nothing sealed is looked at."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import headstart as hs
from headstart.errors import InputError, OptionError, RunError, SourceError
from headstart.features import body_of, extract
from headstart.score import SCORES, leep, nce
from headstart.search import rank as ranking
from headstart.source.card import Classifier
from headstart.target.seal import Seal
from headstart.testing import ToySource, negative, positive, registered, text_target

pytestmark = pytest.mark.fast

TOYS = ("toy:pixels", "toy:detail")


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)


def test_the_source_that_sees_the_label_is_first():
    detail = hs.rank(positive().target(), TOYS, resamples=10)
    assert detail.best == "toy:detail"
    assert [each.first for each in detail.sources] == [1.0, 0.0]
    assert detail.sources[0].scores["linear"] > 0.9
    assert detail.sources[1].scores["linear"] < 0.7
    layout = hs.rank(negative().target(), TOYS, resamples=10)
    assert layout.best == "toy:pixels"
    assert layout.sources[0].first == 1.0


def test_what_a_ranking_says():
    found = hs.rank(positive().target(), TOYS, resamples=5)
    assert (found.target, found.modality, found.by, found.classes) == ("positive", "image", "linear", 2)
    assert found.examples == 80  # of the 240, the training part
    assert (found.resamples, found.resampled) == (5, 51)  # 63.2 %
    best, other = found.sources
    # toy:pixels gives 256 features of 80 examples, where the H-score is the same for all; toy:detail gives 8.
    assert set(SCORES) - set(best.scores) == {"leep", "nce"} == set(best.skipped)
    assert set(other.skipped) == {"leep", "nce", "h_score"}
    assert "own classifier" in other.skipped["leep"]
    assert set(found.agreement) == set(other.scores) - {"linear"}
    assert found.agreement["logme"] == 1.0
    assert -1 <= found.concordance <= 1
    assert set(found.score_seconds) == set(best.scores)
    assert json.loads(json.dumps(found.to_json()))["sources"][0]["source"] == "toy:detail"
    assert other.short == "pixels"


class Knowing(ToySource):
    """toy:detail, which knows three classes: one for a large first feature, one for a small one, one for neither."""

    loaded = 0

    def __init__(self):
        super().__init__("detail")
        self.card = dataclasses.replace(self.card, name="knowing:detail", known="made-up classes")

    def names(self):
        return ("large", "small", "neither")

    def classifier(self):
        Knowing.loaded += 1
        weight = np.zeros((3, self.card.features), dtype=np.float32)
        weight[0, 0], weight[1, 0] = 2.0, -2.0
        return Classifier(self.names(), weight, np.array([0.0, 0.0, 0.5], dtype=np.float32))


def test_scores_that_need_the_classes_that_the_source_knows():
    target = positive().target()
    Knowing.loaded = 0
    with registered(Knowing()):
        one = hs.rank(target, ["knowing:detail"], resamples=0)
        two = hs.rank(target, ["knowing:detail", "toy:detail"], resamples=0)
        assert Knowing.loaded == 1  # the store has it then
        assert not {"leep", "nce"} & set(one.sources[0].skipped)
        assert {each.source: "leep" in each.scores for each in two.sources} == {
            "knowing:detail": True,
            "toy:detail": False,
        }
        assert hs.rank(target, ["knowing:detail"], by="nce", resamples=2).by == "nce"
        with pytest.raises(OptionError, match="a source without one"):
            hs.rank(target, ["knowing:detail", "toy:detail"], by="leep")
        view = target.everything.training()
        X = extract(body_of(ToySource("detail")), view.examples.inputs)
    logits = np.stack([2.0 * X[:, 0], -2.0 * X[:, 0], np.full(len(X), 0.5)], axis=1).astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert one.sources[0].scores["leep"] == pytest.approx(leep(X, view.examples.labels, p), abs=1e-5)
    assert one.sources[0].scores["nce"] == pytest.approx(nce(X, view.examples.labels, p), abs=1e-5)


def test_it_is_the_same_every_time_and_features_are_recalled():
    target = positive().target()
    one, two = (hs.rank(target, TOYS, resamples=8) for _ in range(2))
    assert all(each.recalled == 80 for each in two.sources)
    assert [(e.source, e.scores, e.first) for e in one.sources] == [(e.source, e.scores, e.first) for e in two.sources]


def test_nothing_sealed_and_no_given_validation_example_is_looked_at(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the seal was opened")

    monkeypatch.setattr(Seal, "open", refuse)
    looked = []
    extract = ranking.extract

    def watched(body, inputs, **options):
        looked.extend(inputs.name(i) for i in range(len(inputs)))
        return extract(body, inputs, **options)

    monkeypatch.setattr(ranking, "extract", watched)
    target = positive().target()
    view = dataclasses.replace(target.everything, validation=np.arange(80) >= 60)
    given = dataclasses.replace(target, everything=view)
    assert hs.rank(given, TOYS, resamples=0).examples == 60
    inputs = target.everything.examples.inputs
    assert set(looked) == {inputs.name(i) for i in range(60)}
    sealed = target.episodes[0].seal.inputs
    assert not set(looked) & {sealed.name(i) for i in range(len(sealed))}


def test_texts():
    found = hs.rank(text_target(), ["toy_text:words"])
    assert found.modality == "text"
    assert found.sources[0].scores["linear"] > 0.9
    assert found.sources[0].first is None
    assert found.resamples == 0
    assert found.concordance is None
    assert any("one source" in note for note in found.notes)


def test_small_targets_say_that_all_labels_were_seen():
    found = hs.rank(positive(80, 0).target(), TOYS, resamples=0)
    assert found.examples == 80
    assert any("would be too kind" in note for note in found.notes)


def test_large_targets_are_sampled(monkeypatch):
    monkeypatch.setattr(ranking, "MOST_CLOSED", 50)
    monkeypatch.setattr(ranking, "MOST_FITTED", 30)
    monkeypatch.setattr(ranking, "MOST_RESAMPLED", 20)
    found = hs.rank(positive().target(), TOYS, resamples=3)
    assert (found.examples, found.resampled) == (50, 20)
    assert "Of 80 training examples 50 were looked at." in found.notes


def test_a_leader_that_resamples_do_not_confirm_is_doubted(monkeypatch):
    target = positive().target()
    first = {"toy:detail": 0.3, "toy:pixels": 0.7}
    monkeypatch.setattr(ranking, "_stability", lambda *_: first)
    found = hs.rank(target, TOYS, resamples=10)
    assert found.best == "toy:detail"
    assert "On resamples pixels is first more often than detail: these examples do not tell the two apart." in (
        found.notes
    )
    first.update({"toy:detail": 0.7, "toy:pixels": 0.3})
    assert not any("more often" in note for note in hs.rank(target, TOYS, resamples=10).notes)


def test_another_score_can_rank():
    found = hs.rank(positive().target(), TOYS, by="logme", resamples=3)
    assert found.by == "logme"
    assert found.sources[0].scores["logme"] >= found.sources[1].scores["logme"]
    assert "linear" in found.agreement


def test_mistakes():
    target = positive().target()
    with pytest.raises(OptionError, match=r"unknown score 'logmee' .*logme"):
        hs.rank(target, TOYS, by="logmee")
    with pytest.raises(OptionError, match="own classifier"):
        hs.rank(target, TOYS, by="leep")
    with pytest.raises(OptionError, match="the same for all features where 80 examples"):
        hs.rank(target, by="h_score", sources=["toy:pixels"])
    with pytest.raises(OptionError, match="-1 resamples"):
        hs.rank(target, TOYS, resamples=-1)
    with pytest.raises(SourceError, match="efficientnet_lite0"):
        hs.rank(target, ["efficientnet_lit0"])
    with pytest.raises(RunError) as raised:
        hs.rank(target, ["toy_text:words", "scratch:small_cnn"])
    assert "it takes text, and the target is image" in str(raised.value)
    assert "needs a pretrained source" in str(raised.value)
    assert isinstance(raised.value, InputError)


def test_kendall_by_counting_pairs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, (2, 7))
        pairs = list(itertools.combinations(range(7), 2))
        left = np.array([np.sign(a[i] - a[j]) for i, j in pairs])
        right = np.array([np.sign(b[i] - b[j]) for i, j in pairs])
        expected = (left * right).sum() / np.sqrt((left != 0).sum() * (right != 0).sum())
        assert ranking.kendall(a.tolist(), b.tolist()) == pytest.approx(expected, abs=1e-12)
    assert ranking.kendall([1.0, 1.0], [1.0, 2.0]) is None
    assert ranking.kendall([1.0], [2.0]) is None
