"""Strategies on texts: the contract suite, planted answers, and what a report says of them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy import sparse as scipy_sparse
from sklearn.naive_bayes import ComplementNB

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation
from headstart.features.text import Words, padded
from headstart.predictor import load
from headstart.report.telling import suspects, telling_words
from headstart.source import Tokens, architecture, find
from headstart.source.card import Stage
from headstart.source.encoder import BertEncoder
from headstart.strategy import Bench, contract, network, sparse, tail
from headstart.strategy.adapt.classical import Classical
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.lora import Lora
from headstart.strategy.adapt.majority import Majority
from headstart.strategy.adapt.probe import Probe
from headstart.strategy.adapt.prototypes import Prototypes
from headstart.strategy.adapt.scratch import Scratch
from headstart.strategy.objective import Objective
from headstart.target.inputs import StringInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import check_adapt, check_all, check_source
from headstart.testing.texts import CLASSES, WORDS, planted_texts, word
from headstart.train import Plan, Trainable, train

pytestmark = pytest.mark.fast

MEMBERS = [
    (Probe("logistic", 0.1), "toy_text:words"),
    (Probe("ridge", None, "mixed", "learned", 0.5), "toy_text:words"),
    (Prototypes("sphere"), "toy_text:words"),
    (Finetune(epochs=1, decay=0.5, unfreeze=True, schedule="slanted"), "toy_text:words"),
    (Finetune(epochs=2, last=1), "toy_text:words"),
    (Lora(layers="all", epochs=1), "toy_text:words"),
    (Scratch(epochs=2, crop=1.0, flip=False, rate=3e-3, drop=0.1), "scratch:text_cnn"),
]


def test_they_keep_their_contract():
    assert check_all(lambda member: check_adapt(member[0], find(member[1])), MEMBERS, expected=7) == 70
    assert check_all(check_source, map(find, ["toy_text:words", "scratch:text_cnn"]), expected=2) == 22


def view(train=60):
    raw = planted_texts(train, 120)
    y = np.array([CLASSES.index(label) for label in raw.labels])
    rows = list(range(train))
    held = list(range(train, train + 120))
    return TrainView(Examples(raw.inputs.take(rows), y[:train]), CLASSES, "accuracy"), raw.inputs.take(held), y[train:]


@pytest.mark.parametrize("machine", ["svm", "ridge", "logistic", "bayes"])
@pytest.mark.parametrize("features", ["words", "words+characters"])
def test_ngrams_learn_what_words_can_tell(machine, features, tmp_path):
    seen, held, truth = view(400)
    made = Classical(features, None, machine, 1.0)(find("scratch"), seen, budget=Budget(), seed=0)
    right = (made.predict_proba(held).argmax(axis=1) == truth).mean()
    assert right > 0.8, "with 2,000 words seen of 4,000, nearly all texts of the test have known ones"
    made.save(tmp_path / "model", check=held)  # raises unless it comes back identical
    few, held, truth = view(20)
    made = Classical(features, None, machine, 1.0)(find("scratch"), few, budget=Budget(), seed=0)
    assert (made.predict_proba(held).argmax(axis=1) == truth).mean() < 0.75


def test_the_vocabulary_is_of_the_view_alone():
    seen, held, _ = view(60)
    made = Classical("words", None)(find("scratch"), seen, budget=Budget(), seed=0)
    known = set(made.body.vocabulary["words"])
    texts = [seen.examples.inputs.text(i) for i in range(60)]
    assert {term for term in known if " " not in term} == {word for text in texts for word in text.split()}
    assert any(word not in known for word in held.text(0).split())


def test_linear_machines_agree_with_scikit_learn_and_know_absent_classes():
    rng = np.random.default_rng(0)
    X = scipy_sparse.csr_matrix(rng.random((40, 6)).astype(np.float32))
    y = rng.integers(0, 2, 40) * 2  # of class 1 there is none
    head = sparse.linear(X, y, 4, "bayes", 0.3)
    scores = head.logits(X)
    np.testing.assert_array_equal(scores.argmax(axis=1), ComplementNB(alpha=0.3).fit(X, y).predict(X))
    assert (scores[:, [1, 3]] < -1000).all()
    alone = sparse.linear(X, np.full(40, 3, dtype=np.int64), 4, "svm", 1.0).logits(X)
    assert (alone.argmax(axis=1) == 3).all()


def test_majority_remembers_that_it_is_for_texts(tmp_path):
    seen, held, _ = view()
    made = Majority()(find("scratch"), seen, budget=Budget(), seed=0)
    made.save(tmp_path / "model", check=held)
    assert made.modality.name == "text"
    assert made.predict("just a text") == made.predict(["another text"])


def test_a_probe_on_earlier_stages_is_refused_where_there_are_none(tmp_path):
    seen, _, _ = view()
    with pytest.raises(TrialError, match="has no stages that a probe"):
        Probe(layers="shallow")(find("toy_text:words"), seen, budget=Budget(), seed=0, bench=Bench(store=tmp_path))


def test_telling_words():
    texts = ["the sun is hot"] * 4 + ["the rain is wet"] * 4 + ["the hot rain", "a wet sun"]
    labels = np.array([0] * 4 + [1] * 4 + [0, 1])
    found = telling_words(texts, labels, 3)
    assert "hot" in " ".join(found[0])
    assert "wet" in " ".join(found[1])
    assert found[2] == []
    assert telling_words(["a b", "c d"], np.array([0, 1]), 2) == [[], []]


def test_labels_that_are_confidently_contradicted_are_found():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    given = truth.copy()
    wrong = rng.permutation(300)[:12]
    given[wrong] = (truth[wrong] + 1) % 3
    probabilities = np.full((300, 3), 0.02)
    probabilities[np.arange(300), truth] = 0.96
    assert set(suspects(probabilities, given, 50)) == set(wrong.tolist())
    assert len(suspects(probabilities, given, 5)) == 5
    timid = np.full((300, 3), 0.3)
    timid[np.arange(300), truth] = 0.4
    assert suspects(timid, given, 50) == []
    assert suspects(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 5) == []


def test_the_text_network_learns_from_random_weights(tmp_path):
    rng = np.random.default_rng(0)
    hot, cold = ["fire sun lava", "sun sand fire"], ["snow ice wind", "ice frost snow"]
    texts = [f"{rng.choice(hot if i % 2 else cold)} {rng.choice(['and so', 'but then', 'or'])} {i}" for i in range(80)]
    y = np.arange(80) % 2
    seen = TrainView(Examples(StringInputs(texts[:60]), y[:60]), ("cold", "hot"), "accuracy")
    strategy = Scratch(epochs=6, rate=3e-3, crop=1.0, flip=False, drop=0.1)
    made = strategy(find("scratch:text_cnn"), seen, budget=Budget(), seed=0)
    assert (made.predict_proba(texts[60:]).argmax(axis=1) == y[60:]).all()
    made.save(tmp_path / "model", check=StringInputs(texts[60:]))


@dataclass
class TinyBert:
    """Our encoder with random weights and a length of one for its vectors, named for the whole of this module."""

    normalise: bool = True

    @property
    def card(self):
        return replace(
            find("toy_text:words").card,
            name="tiny:bert",
            architecture="tiny_bert",
            preprocessing=Tokens(length=16, normalise=self.normalise),
            parameters=sum(p.numel() for p in self.module().parameters()),
            features=32,
            stages=tuple(Stage(f"encoder.layer.{k}", (32,), float(2 - k)) for k in range(2)),
        )

    def revision(self):
        return "tiny"

    def tokenizer(self):
        return find("toy_text:words").tokenizer()

    def module(self, seed=0):
        return architecture.build("tiny_bert", 5)


architecture.register("tiny_bert", lambda: BertEncoder(WORDS + 2, 32, 2, 4, 64, 16))


def logits(network, made, texts):
    """Through torch alone, without a body: what training saw."""
    numbers = [row for (row,) in Words(find("toy_text:words").tokenizer(), Tokens(length=16)).windows(texts)]
    with torch.inference_mode():
        x = torch.from_numpy(padded(numbers, 16).astype(np.int64))
        pooled = torch.nn.functional.normalize(network.pool(network.read(x)[-1]), dim=1)
    return pooled.numpy() @ made.head.weight.T + made.head.bias


@pytest.mark.parametrize(
    "strategy",
    [Finetune(epochs=2, last=1), Lora(epochs=2), Lora(rank=2, layers="all", epochs=1)],
    ids=["last stage", "attention", "all layers"],
)
def test_what_was_tuned_is_saved_and_comes_back_bit_for_bit(strategy, tmp_path):
    seen, held, _ = view(60)
    held = held.take(range(20))  # few enough for both to go through torch
    made = strategy(TinyBert(), seen, budget=Budget(), seed=0, bench=Bench(store=tmp_path / "store"))
    before, after = TinyBert().module().state_dict(), made.body.module.state_dict()
    assert before.keys() == after.keys()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    if isinstance(strategy, Finetune):
        assert moved == {key for key in before if key.startswith("encoder.layer.1.")}
    elif strategy.layers == "attention":
        assert moved == {
            f"encoder.layer.{k}.attention.self.{part}.weight" for k in (0, 1) for part in ("query", "value")
        }
    else:
        assert len(moved) == 12
    texts = [held.text(i) for i in range(8)]
    expected = logits(made.body.module, made, texts)
    np.testing.assert_allclose(made.head.logits(made.body.compute(held, np.arange(8)).vectors), expected, atol=1e-5)
    made.save(tmp_path / "model", check=held)
    again = load(tmp_path / "model")
    assert all(np.array_equal(value, again.body.tensors()[key]) for key, value in made.body.tensors().items())
    assert np.array_equal(made.head.weight, again.head.weight)
    assert np.array_equal(made.predict_proba(held), again.predict_proba(held))


def of_many_lengths(n):
    rng = np.random.default_rng(3)
    texts = [" ".join(word(int(w)) for w in rng.integers(0, 40, 1 + i % 12)) for i in range(n)]
    return TrainView(Examples(StringInputs(texts), np.arange(n, dtype=np.int64) % 2), CLASSES, "accuracy")


@pytest.fixture
def trained(monkeypatch):
    """Trains the last stage on texts of many lengths: the losses of all epochs and on held-out texts, the predictor."""

    def run(seen, bench, from_cut):
        histories = []

        def remembered(*arguments, **options):
            histories.append(train(*arguments, **options))
            return histories[-1]

        with monkeypatch.context() as patch:
            patch.setattr(network, "train", remembered)
            if not from_cut:
                patch.setattr(tail, "resumable", lambda *_: False)
            made = Finetune(epochs=4, last=1, rate=1e-2, trunk=1.0)(
                TinyBert(), seen, budget=Budget(), seed=0, bench=bench
            )
        return [*histories[0].losses, *histories[0].evaluations], made

    return run


def test_from_the_values_at_a_cut_training_takes_the_same_path(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "STOPPING_MINIMUM", 40)  # what is held out goes the same way
    seen = of_many_lengths(72)
    whole, by_itself = trained(seen, Bench(store=tmp_path / "a"), from_cut=False)
    cut, made = trained(seen, Bench(store=tmp_path / "b"), from_cut=True)
    assert len(whole) == 8
    assert max(whole) - min(whole) > 0.05, "there is a path"
    np.testing.assert_allclose(cut, whole, rtol=2e-3)  # half precision at the cut
    held = StringInputs([word(3), f"{word(7)} {word(9)} {word(1)}"])
    np.testing.assert_allclose(made.predict_proba(held), by_itself.predict_proba(held), atol=5e-3)
    state, before = made.body.module.state_dict(), TinyBert().module().state_dict()
    frozen = [name for name in before if not name.startswith("encoder.layer.1.")]
    assert all(torch.equal(state[name], before[name]) for name in frozen)


def test_what_precedes_a_cut_is_computed_once_and_kept(trained, tmp_path, monkeypatch):
    read, resumed = [], []
    to, on = BertEncoder.read_to, BertEncoder.resume
    monkeypatch.setattr(BertEncoder, "read_to", lambda self, x, stage: read.append(x.shape) or to(self, x, stage))
    monkeypatch.setattr(BertEncoder, "resume", lambda self, r, stage: resumed.append(1) or on(self, r, stage))
    seen = of_many_lengths(72)
    first, _ = trained(seen, Bench(store=tmp_path), from_cut=True)
    assert sum(rows for rows, _ in read) == 72
    assert {length for _, length in read} == {8, 16}
    assert len(resumed) >= 4 * 4
    read.clear()
    bench = Bench(store=tmp_path)
    again, _ = trained(seen, bench, from_cut=True)
    assert (again, read) == (first, [])
    assert bench.tally.computed == 0


def test_values_that_memory_does_not_hold_are_not_kept(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(tail, "CUT_BYTES", 1000)
    monkeypatch.setattr(BertEncoder, "resume", None)
    losses, _ = trained(of_many_lengths(48), Bench(store=tmp_path), from_cut=True)
    assert np.isfinite(losses).all()


def test_lora_says_what_it_lacks(monkeypatch):
    seen, _, _ = view()
    with pytest.raises(TrialError, match="no linear layers of the kind"):
        Lora()(find("toy_text:words"), seen, budget=Budget(), seed=0)
    assert "stages" in Lora.needs.lacking(replace(TinyBert().card, stages=()))
    monkeypatch.setattr(contract, "find_spec", lambda name: None)
    assert "pip install 'headstart[hf]'" in Lora.needs.lacking(TinyBert().card)


def test_an_adapter_that_changes_what_is_computed_when_merged_is_refused():
    def careless(trunk):
        return lambda: trunk.mixing.weight.data.mul_(2)

    seen, _, _ = view()
    source = find("toy_text:words")
    recipe = network.Recipe(Plan(1, 1e-3), Trainable(), Augmentation(), Objective(0.0), 16, False)
    kind = {"preprocessing": source.card.preprocessing, "budget": Budget(), "bench": Bench(), "words": "careless"}
    with pytest.raises(TrialError, match="merged"):
        network.fit(source, seen, recipe, adapter=careless, **kind)
