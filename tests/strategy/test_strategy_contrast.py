"""contrast: its loss by hand, its batches, what it learns, and what it leaves alone."""

import numpy as np
import pytest
import torch
from torch import nn

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features.text import Words
from headstart.source import find
from headstart.source.encoder import BertEncoder
from headstart.strategy import Bench
from headstart.strategy.adapt.contrast import Contrast
from headstart.strategy.adapt.prototypes import Prototypes
from headstart.strategy.embedder import Embedder
from headstart.target.inputs import StringInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import check_adapt
from headstart.testing.texts import word
from headstart.train import Contrast as Pairs
from headstart.train import Texts

pytestmark = pytest.mark.fast


def unit(n, d=4, seed=0):
    return nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_loss_is_that_of_all_pairs_those_of_one_class_weighing_as_much_as_the_others():
    z, y = unit(7), torch.tensor([0, 0, 1, 2, 2, 2, 3])
    same, other = [], []
    for i in range(7):
        for j in range(i):
            cosine = float(z[i] @ z[j])
            (same if y[i] == y[j] else other).append((cosine - (1 if y[i] == y[j] else 0)) ** 2)
    found = Pairs()(nn.Identity(), (z, y))
    assert float(found["loss"]) == pytest.approx((np.mean(same) + np.mean(other)) / 2, rel=1e-5)
    assert found["output"] is z
    assert float(Pairs()(nn.Identity(), (z[:2], y[:2]))["loss"]) == pytest.approx(same[0], rel=1e-5)
    perfect = torch.eye(4)[torch.tensor([0, 0, 1, 2])]
    assert float(Pairs()(nn.Identity(), (perfect, torch.tensor([5, 5, 1, 2])))["loss"]) == 0


def test_with_a_temperature_it_is_the_cross_entropy_of_the_own_class_among_all_others():
    z, y = unit(7), torch.tensor([0, 0, 1, 2, 2, 2, 3])
    losses = []
    for i in range(7):
        others = [j for j in range(7) if j != i]
        total = sum(np.exp(float(z[i] @ z[j]) / 0.2) for j in others)
        if partners := [j for j in others if y[j] == y[i]]:
            losses.append(np.mean([-np.log(np.exp(float(z[i] @ z[j]) / 0.2) / total) for j in partners]))
    assert len(losses) == 5, "the classes 1 and 3 have one example each"
    z.requires_grad_(True)
    found = Pairs(0.2)(nn.Identity(), (z, y))["loss"]
    assert float(found.detach()) == pytest.approx(np.mean(losses), rel=1e-5)
    found.backward()
    assert torch.isfinite(z.grad).all()
    lone = Pairs(0.2)(nn.Identity(), (unit(2), torch.tensor([0, 1])))
    assert float(lone["loss"]) == 0


def test_more_classes_take_more_steps():
    assert [Contrast()._steps(classes, 8 * classes) for classes in (1, 2, 3, 6, 12, 77)] == [5, 5, 8, 15, 30, 30]


def test_more_texts_of_a_class_take_more_steps_up_to_four_times():
    assert [Contrast()._steps(2, texts) for texts in (2, 32, 33, 64, 100, 128, 5_000)] == [5, 5, 5, 10, 16, 20, 20]


def test_texts_are_read_in_parts_and_come_back_in_their_order():
    torch.manual_seed(0)
    trunk = BertEncoder(vocabulary=50, width=16, layers=2, heads=2, inner=32, positions=40).eval()
    x = torch.randint(1, 50, (9, 30), generator=torch.Generator().manual_seed(1))
    for row, length in enumerate((30, 2, 17, 5, 1, 29, 8, 8, 3)):
        x[row, length:] = 0
    with torch.no_grad():
        whole = nn.functional.normalize(trunk.forward_head(trunk.forward_features(x), pre_logits=True), dim=1)
        for parts in (1, 2, 4, 20):
            torch.testing.assert_close(Embedder(trunk, parts)(x), whole, atol=1e-5, rtol=1e-5)


def batches_of(labels, batch):
    source = find("toy_text:words")
    texts = StringInputs([" ".join(word(i + j) for j in range(1 + i % 3)) for i in range(len(labels))])
    words = Words(source.tokenizer(), source.card.preprocessing)
    return Texts(Examples(texts, np.asarray(labels, dtype=np.int64)), words, batch=batch)


def test_few_texts_are_in_every_batch():
    found = list(batches_of([0, 0, 0, 1], 8).balanced(3, seed=0))
    assert [y.tolist() for _, y in found] == [[0, 0, 0, 1]] * 3


def test_batches_of_many_texts_are_balanced_and_reach_every_text():
    batches = batches_of([0] * 30 + [1] * 10 + [3] * 5, 12)
    found = list(batches.balanced(10, seed=0))
    for x, y in found:
        assert np.bincount(y).tolist() == [4, 4, 0, 4]
        assert len({tuple(row) for row in x.tolist()}) == 12
    assert len({row[0] for x, y in found for row in x[y == 0].tolist()}) >= 28
    again = list(batches.balanced(10, seed=0))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(found, again, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(found, batches.balanced(10, seed=1), strict=True))


def test_batches_of_many_classes_hold_pairs_of_some():
    found = list(batches_of(np.arange(60) % 20, 8).balanced(5, seed=0))
    for _, y in found:
        assert sorted(np.unique(y, return_counts=True)[1]) == [2, 2, 2, 2]
    assert len(np.unique(torch.cat([y for _, y in found]))) == 20, "each class in turn"


def planted(n, seed):
    """Texts of three words: one of the six of its topic, and two of thirty that tell nothing. No source knows them."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2).astype(np.int64)
    texts = [
        " ".join([word(int(rng.integers(6)) + 6 * label), *(word(int(w)) for w in rng.integers(100, 130, 2))])
        for label in y
    ]
    return StringInputs(texts), y


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    texts, y = planted(48, 0)
    view = TrainView(Examples(texts, y), ("one", "other"), "accuracy")
    source, bench = find("toy_text:words"), Bench(store=tmp_path_factory.mktemp("store"))
    made = Contrast(steps=60, rate=3e-2)(source, view, budget=Budget(), seed=0, bench=bench)
    return source, view, bench, made


def test_it_learns_what_the_frozen_source_does_not_know(tuned):
    source, view, bench, made = tuned
    held, truth = planted(200, 1)
    frozen = Prototypes("sphere")(source, view, budget=Budget(), seed=0, bench=bench)
    right = {
        name: (p.predict_proba(held).argmax(1) == truth).mean() for name, p in (("tuned", made), ("frozen", frozen))
    }
    assert right["tuned"] > 0.9, right
    assert right["tuned"] > right["frozen"] + 0.1, right
    assert made.provenance["training"] == {"steps": 90, "stopped_by": "epochs"}


def test_only_the_last_stages_are_trained_where_it_says_so(tuned):
    source, view, bench, _ = tuned
    before = source.module().state_dict()
    after = Contrast(steps=3, last=1)(source, view, budget=Budget(), seed=0, bench=bench).body.module.state_dict()
    assert torch.equal(before["words.weight"], after["words.weight"])
    assert not torch.equal(before["mixing.weight"], after["mixing.weight"])
    whole = Contrast(steps=3)(source, view, budget=Budget(), seed=0, bench=bench).body.module.state_dict()
    assert not torch.equal(before["words.weight"], whole["words.weight"])


def test_what_cannot_be_is_said(tuned):
    source, view, bench, _ = tuned
    lone = view.take([int(np.flatnonzero(view.examples.labels == c)[0]) for c in (0, 1)])
    with pytest.raises(TrialError, match="no class has two examples"):
        Contrast()(source, lone, budget=Budget(), seed=0, bench=bench)
    with pytest.raises(TrialError, match="the last 3 of 2 stages of toy_text:words cannot be trained"):
        Contrast(last=3)(source, view, budget=Budget(), seed=0, bench=bench)


def test_without_time_it_stops_after_a_step(tuned):
    source, view, bench, _ = tuned
    made = Contrast(steps=50)(source, view, budget=Budget(1e-9), seed=0, bench=bench)
    assert made.provenance["training"] == {"steps": 1, "stopped_by": "budget"}


def test_contract(tuned):
    assert check_adapt(Contrast(steps=2, last=1), find("toy_text:words")) == 10
