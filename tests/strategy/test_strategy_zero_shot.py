"""Zero-shot: planted names whose answers are known, the closed forms, and the real sources in the slow lane."""

from dataclasses import replace

import numpy as np
import pytest

import headstart as hs
from headstart.budget import Budget
from headstart.errors import InputError, OptionError, TrialError
from headstart.estimators import TransferClassifier
from headstart.predictor import ConvexHead, CosineHead, LinearHead
from headstart.predictor.heads import convex, unit
from headstart.search import Options
from headstart.search import run as search
from headstart.source import Classifier, find, imagenet
from headstart.strategy import Bench, semantic
from headstart.strategy.adapt.zero_shot import ZeroShot
from headstart.target.describe import describe
from headstart.target.inputs import ArrayInputs, StringInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import ToySource
from headstart.testing.texts import CLASSES, kinds, planted_texts, text_target, word

fast = pytest.mark.fast

# Five words of each kind, as a user would describe what cold and warm texts say.
SAID = {
    name: [" ".join(word(int(w)) for w in np.flatnonzero(kinds() == kind)[5 * k : 5 * k + 5]) for k in range(3)]
    for kind, name in enumerate(CLASSES)
}


# -- texts ---------------------------------------------------------------------------------------------------------


def texts(train=60):
    raw = planted_texts(train, 120)
    y = np.array([CLASSES.index(label) for label in raw.labels])
    seen = Examples(raw.inputs.take(list(range(train))), y[:train])
    view = TrainView(seen, CLASSES, "accuracy", descriptions=describe(CLASSES, SAID))
    return view, raw.inputs.take(list(range(train, train + 120))), y[train:]


@fast
@pytest.mark.parametrize("centre", [True, False])
def test_descriptions_tell_planted_texts_apart_without_a_label(centre, tmp_path):
    view, held, truth = texts()
    nobody = replace(view, examples=replace(view.examples, labels=np.zeros(60, dtype=np.int64)))
    made = ZeroShot(centre=centre)(find("toy_text:words"), nobody, budget=Budget(), seed=0, bench=Bench(store=tmp_path))
    assert (made.predict_proba(held).argmax(axis=1) == truth).mean() > 0.97
    made.save(tmp_path / "model", check=held)
    assert isinstance(hs.load(tmp_path / "model").head, CosineHead)


@fast
def test_centring_gives_the_mean_text_the_same_score_in_every_class(tmp_path):
    view, _, _ = texts()
    made = ZeroShot()(find("toy_text:words"), view, budget=Budget(), seed=0, bench=Bench(store=tmp_path))
    vectors = made.body.compute(view.examples.inputs, np.arange(60)).vectors
    np.testing.assert_allclose(made.head.logits(vectors).mean(axis=0), 0, atol=1e-4)


@fast
def test_names_without_words_are_refused_and_described_ones_are_not(tmp_path):
    view, held, truth = texts()
    bare = replace(view, classes=("0", "1"), descriptions=())
    with pytest.raises(TrialError, match=r"classes 0, 1 have no names in words; describe"):
        ZeroShot()(find("toy_text:words"), bare, budget=Budget(), seed=0)
    named = replace(view, classes=("0", "1"), descriptions=describe(("0", "1"), dict(enumerate(SAID.values()))))
    made = ZeroShot()(find("toy_text:words"), named, budget=Budget(), seed=0, bench=Bench(store=tmp_path))
    assert (made.predict_proba(held).argmax(axis=1) == truth).mean() > 0.97


@fast
def test_from_python_without_any_example(tmp_path):
    _, held, truth = texts()
    made = hs.zero_shot(SAID, "toy_text:words")
    strings = [held.text(i) for i in range(len(held))]
    assert np.mean([made.classes.index(name) == y for name, y in zip(made.predict(strings), truth, strict=True)]) > 0.97
    made.save(tmp_path / "model", check=held)
    centred = hs.zero_shot(SAID, "toy_text:words", inputs=strings)
    assert abs(float(centred.head.bias @ centred.head.bias)) > 0 == float(np.abs(made.head.bias).sum())


@fast
def test_mistakes_from_python_are_said_together():
    with pytest.raises(InputError) as caught:
        hs.zero_shot(["dog"], "scratch")
    assert "1 classes" in str(caught.value)
    assert "needs a network" in str(caught.value)
    with pytest.raises(OptionError, match="'dog' twice"):
        hs.zero_shot(["dog", "cat", "dog"], "toy_text:words")
    with pytest.raises(OptionError, match="without a name in words: 1, 2"):
        hs.zero_shot(["1", "2"], "toy_text:words")


@fast
def test_the_estimator_takes_descriptions():
    view, held, truth = texts()
    strings = [view.examples.inputs.text(i) for i in range(60)]
    model = TransferClassifier("toy_text:words", "zero-shot", describe={0: SAID["cold"], 1: SAID["warm"]})
    model.fit(strings, view.examples.labels)
    assert (model.predict([held.text(i) for i in range(120)]) == truth).mean() > 0.97
    with pytest.raises(OptionError, match="labels that are no words"):
        TransferClassifier("toy_text:words", "zero-shot").fit(strings, view.examples.labels)


@pytest.mark.slow
def test_it_joins_a_run_as_a_transfer_route(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    target = text_target().described(SAID)
    assert target.digest() != text_target().digest()
    options = Options(("toy_text:words",), ("zero-shot",), Budget(trials=4))
    found = search(target, tmp_path / "run", options).evidence
    assert (found.transfer.strategy, found.verdict) == ("zero-shot", "helped")
    assert found.transfer.score > 0.97


@pytest.mark.slow
def test_a_run_says_that_it_has_no_names_to_go_by(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    raw = planted_texts()
    raw.labels[:] = [str(CLASSES.index(label)) for label in raw.labels]
    from headstart.target.assemble import assemble

    target = assemble(raw, test_fraction=0.25, seed=0)
    found = search(target, tmp_path / "run", Options(("toy_text:words",), (), Budget(trials=6))).evidence
    row = next(row for row in found.leaderboard if row.strategy == "zero-shot")
    assert row.status == "skipped"
    assert "--describe" in row.note


# -- what the classes mean -------------------------------------------------------------------------------------------


@fast
def test_descriptions_are_read_as_text_whatever_they_look_like(tmp_path):
    file = tmp_path / "classes.yaml"
    file.write_text("0: bad\nyes:\n  - good\n  - fine\n", encoding="utf-8")
    assert describe(("0", "yes", "other"), file) == (("bad",), ("good", "fine"), ())
    (tmp_path / "c.json").write_text('{"0": ["bad"]}', encoding="utf-8")
    assert describe(("0",), str(tmp_path / "c.json")) == (("bad",),)
    assert describe(("0",), None) == ()


@fast
def test_everything_wrong_with_descriptions_is_said_at_once(tmp_path):
    with pytest.raises(OptionError) as caught:
        describe(("spam", "ham"), {"spma": "an advertisement", "ham": [], "spam": 3})
    for words in ("did you mean 'spam'", "description of class 'ham'", "description of class 'spam'"):
        assert words in str(caught.value)
    for content, words in (("- a\n- b\n", "holds no descriptions"), ("a: [", "cannot be read")):
        (tmp_path / "x.yaml").write_text(content, encoding="utf-8")
        with pytest.raises(OptionError, match=words):
            describe(("a", "b"), tmp_path / "x.yaml")
    with pytest.raises(OptionError, match="no descriptions in"):
        describe(("a", "b"), tmp_path / "absent.yaml")


# -- pictures --------------------------------------------------------------------------------------------------------


def planted(K=300, C=5, E=6, D=20, seed=0):
    """Classifiers that are a linear function of names, but for a little noise."""
    rng = np.random.default_rng(seed)
    form = rng.normal(size=(E, D))
    names = unit(rng.normal(size=(K + C, E)).astype(np.float32))
    weight = (names @ form + 0.01 * rng.normal(size=(K + C, D))).astype(np.float32)
    return names[:K], weight[:K], names[K:], weight[K:]


@fast
def test_bilinear_finds_the_classifiers_of_unseen_classes():
    known, weight, wanted, truth = planted()
    found = semantic.bilinear(known, weight, wanted, 1e-3)
    np.testing.assert_allclose(found, truth - weight.mean(axis=0), atol=0.05)
    assert np.abs(semantic.bilinear(known, weight, wanted, 1e9)).max() < 1e-3


@fast
def test_moments_leave_classes_out_exactly():
    known, weight, wanted, _ = planted()
    rest = semantic._Moments.of(known, weight) - semantic._Moments.of(known[200:], weight[200:])
    for penalty, scores in rest.scores(weight[200:], wanted):
        expected = weight[200:] @ semantic.bilinear(known[:200], weight[:200], wanted, penalty).T
        np.testing.assert_allclose(scores, expected, atol=1e-4)


@fast
def test_leaving_classes_out_tells_a_relation_from_none():
    known, weight, _, _ = planted()
    choice = semantic.leave_classes_out(known, weight)
    assert choice.method == "bilinear"
    assert choice.right > 0.5
    assert len(choice.others) == len(semantic.PENALTIES) + len(semantic.TOPS) - 1
    noise = np.random.default_rng(1).normal(size=weight.shape).astype(np.float32)
    assert semantic.leave_classes_out(known, noise).right < 0.1, "chance is one in thirty"
    assert semantic.leave_classes_out(known, weight, ("conse",)).method == "conse"


@fast
def test_conse_is_the_mean_of_names_weighted_by_probability():
    known = unit(np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32))
    logits = np.log(np.array([[0.6, 0.3, 0.1]], dtype=np.float32))
    np.testing.assert_allclose(convex(logits, known, 1), [[1, 0]], atol=1e-6)
    expected = np.array([[0.5, 0.3]]) / np.hypot(0.5, 0.3)
    np.testing.assert_allclose(convex(logits, known, 3), expected, atol=1e-6)
    np.testing.assert_allclose(convex(logits, known, 2), [[2, 1] / np.sqrt(5)], atol=1e-6)
    head = ConvexHead(known, np.zeros(3, np.float32), known, known[:2], np.array(2, np.float32))
    assert head.logits(known[:2]).argmax(axis=1).tolist() == [0, 1]


class Naming(ToySource):
    """The toy source, with a made-up classifier: the first 20 words are cold, and look to its first feature."""

    loaded = 0

    def __init__(self):
        super().__init__("detail")
        self.card = replace(self.card, known="made-up words")

    def names(self):
        return tuple(word(int(w)) for kind in (0, 1) for w in np.flatnonzero(kinds() == kind)[:20])

    def classifier(self):
        Naming.loaded += 1
        weight = np.zeros((40, self.card.features), dtype=np.float32)
        weight[:20, 0], weight[20:, 0] = -1, 1
        return Classifier(self.names(), weight, np.zeros(40, np.float32))


@fast
@pytest.mark.parametrize(("method", "head"), [("bilinear", LinearHead), ("conse", ConvexHead), (None, LinearHead)])
def test_pictures_go_by_the_names_that_their_source_knows(method, head, tmp_path):
    pictures = ArrayInputs(np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8))
    view = TrainView(
        Examples(pictures, np.zeros(30, np.int64)), CLASSES, "accuracy", descriptions=describe(CLASSES, SAID)
    )
    strategy, bench = ZeroShot(method, encoder="toy_text:words"), Bench(store=tmp_path / "store")
    made = strategy(Naming(), view, budget=Budget(), seed=0, bench=bench)
    assert method is None or isinstance(made.head, head)
    X = made.body.compute(pictures, np.arange(30)).vectors
    np.testing.assert_array_equal(made.head.logits(X).argmax(axis=1), (X[:, 0] > X[:, 0].mean()).astype(int))
    made.save(tmp_path / "model", check=pictures)
    before = Naming.loaded
    strategy(Naming(), view, budget=Budget(), seed=0, bench=bench)
    assert Naming.loaded == before, "what it knows is in the store"
    with pytest.raises(TrialError, match="names need a source for texts"):
        ZeroShot(encoder="toy:detail")(Naming(), view, budget=Budget(), seed=0, bench=bench)


@fast
def test_the_names_of_imagenet_are_there():
    names = imagenet.names()
    assert len(names) == 1_000
    assert (names[0], names[309], names[999].split(",")[0]) == ("tench, Tinca tinca", "bee", "toilet tissue")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_bundled_classifiers_are_those_of_their_networks(name):
    import torch

    source = find(name)
    known = source.classifier()
    whole, backbone = source._whole().eval(), source.module().eval()
    x = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        pooled = backbone.forward_head(backbone.forward_features(x), pre_logits=True).numpy()
        np.testing.assert_allclose(pooled @ known.weight.T + known.bias, whole(x).numpy(), atol=1e-3)


@pytest.mark.slow
def test_real_names_beat_chance(tmp_path):
    from headstart.target import load_target

    view = load_target("embedded:pictograms", seed=0).everything
    bench = Bench(store=tmp_path)
    made = ZeroShot()(find("efficientnet_lite0"), view, budget=Budget(), seed=0, bench=bench)
    found = bench.features(made.body, view.examples.inputs, "")
    right = (made.log_probabilities(found).argmax(axis=1) == view.examples.labels).mean()
    assert right > 2 / 12, "one in twelve is chance"
    said = hs.zero_shot({"bad": "a negative movie review", "good": "a positive movie review"})
    assert said.predict(["what a terrible waste of time", "a wonderful, moving film"]) == ["bad", "good"]
    texts = StringInputs(["it was great"])
    assert said.predict_proba(texts).shape == (1, 2)
