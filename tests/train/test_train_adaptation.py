"""Training on two domains: what is in a batch, what a task makes of it, and what becomes of batch norm."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from headstart.budget import Budget
from headstart.train import UNLABELLED, Classification, CutValues, Plan, Trainable, TwoDomains, align, train
from headstart.train.adaptation import Aligned, Informed, Sure, joined, renormalise, said, surest
from headstart.train.penalty import watched

pytestmark = pytest.mark.fast


def values(n, batch=4, labels=None, start=0):
    x = np.arange(start, start + n, dtype=np.float16)[:, None] * np.ones(2, np.float16)
    y = np.full(n, UNLABELLED) if labels is None else np.asarray(labels)
    return CutValues([], x, (2, 1, 1), y, batch=batch)


def of(batches):
    batches = list(batches)
    x = torch.cat([inputs[:, 0, 0, 0] for inputs, _ in batches]).int().tolist()
    y = torch.cat([labels for _, labels in batches]).tolist()
    return [a for a, b in zip(x, y, strict=True) if b >= 0], [a for a, b in zip(x, y, strict=True) if b < 0]


def test_an_epoch_sees_the_larger_domain_once_and_the_smaller_again():
    both = TwoDomains(values(6, labels=[0, 1] * 3), values(16, start=100))
    assert (both.steps(), len(both)) == (4, 6)
    epoch = list(both.training(3))
    assert len(epoch) == 4
    mine, theirs = of(epoch)
    assert sorted(theirs) == list(range(100, 116))
    assert set(mine) == set(range(6))
    assert sorted(mine[:6]) == list(range(6)), "all of it before any again"
    assert of(both.training(3)) == (mine, theirs)
    assert of(both.training(4)) != (mine, theirs)
    assert sorted(of(both.evaluation())[0]) == list(range(6))


def test_labels_are_given_at_the_beginning_of_an_epoch():
    both = TwoDomains(values(4, labels=[0, 1] * 2), values(4, start=100))
    both.relabel = lambda: np.array([1, UNLABELLED, 0, UNLABELLED])
    (inputs, labels), *_ = both.training(0)
    given = dict(zip(inputs[:, 0, 0, 0].int().tolist(), labels.tolist(), strict=True))
    assert given == {0: 0, 1: 1, 2: 0, 3: 1, 100: -2 - 1, 101: UNLABELLED, 102: -2 - 0, 103: UNLABELLED}


def test_texts_of_two_lengths_are_padded_with_what_means_nothing():
    y = torch.zeros(2, dtype=torch.int64)
    numbers, _ = joined((torch.ones(2, 3, dtype=torch.int64), y), (torch.ones(2, 5, dtype=torch.int64), y))
    assert numbers[0].tolist() == [1, 1, 1, 0, 0]
    at_tokens, labels = joined((torch.ones(2, 5, 7), y), (torch.ones(2, 3, 7), y + 1))
    assert at_tokens.shape == (4, 5, 7)
    assert at_tokens[3].isnan()[:, 0].tolist() == [False] * 3 + [True] * 2
    assert labels.tolist() == [0, 0, -3, -3], "guessed"


class Net(nn.Module):
    def __init__(self, norm=False):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3) if norm else nn.Identity())
            self.head = nn.Linear(3, 2)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        return self.head(self.body(x.flatten(1)))


def test_the_discrepancy_is_of_the_right_rows_and_counts_more_as_training_goes_on():
    net, task, seen_of = Net(), Classification(0.1), []

    def discrepancy(module, both):
        seen_of.append(both)
        return both.Xt.sum() - both.Xs.sum()

    x, y = torch.arange(10.0).view(5, 2), torch.tensor([0, 1, UNLABELLED, UNLABELLED, 1])
    with watched([net.head]) as (seen,):
        aligned = Aligned(task, discrepancy, seen, total=4)
        for step in range(4):
            loss = float(aligned(net.train(), (x, y))["loss"].detach())
            known = torch.tensor([0, 1, 4])
            logits, features = net(x), net.body(x)
            assert torch.equal(seen_of[-1].Xt, features[[2, 3]])
            assert torch.equal(seen_of[-1].Zs, logits[known])
            assert seen_of[-1].ys.tolist() == [0, 1, 1]
            assert seen_of[-1].progress == step / 4
            expected = task.loss(logits[known], y[known])
            expected = expected + align.ramp(step / 4) * (features[[2, 3]].sum() - features[known].sum())
            assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
        assert float(aligned(net.eval(), (x, y))["loss"].detach())
        assert int(net.taken) == 4, "evaluation takes no step"
        guessed = torch.tensor([0, 1, -2 - 1, UNLABELLED, 1])
        net.taken.zero_()
        loss = aligned(net.train(), (x, guessed))["loss"]
        four = torch.tensor([0, 1, 4, 2])
        assert float(loss.detach()) == pytest.approx(
            float(task.loss(net(x)[four], torch.tensor([0, 1, 1, 1])).detach())
        )


def test_a_resumed_training_goes_on_with_the_schedule(tmp_path):
    both, progress = TwoDomains(values(8, labels=[0, 1] * 4), values(8, start=5)), []

    def run(epochs, net, checkpoint=None, stop=None):
        def epoch(seed):
            for number, batch in enumerate(both.training(seed)):
                if stop is not None and int(net.taken) == stop and number == 0:
                    raise KeyboardInterrupt
                yield batch

        def discrepancy(module, domains):
            progress.append(domains.progress)
            return domains.Xt.sum() * 0

        with watched([net.head]) as (seen,):
            task = Aligned(Classification(), discrepancy, seen, epochs * both.steps())
            plan = Plan(epochs, 1e-3, seed=1)
            train(net, task, epoch, both.steps(), plan, Trainable(), budget=Budget(), checkpoint=checkpoint)
        return net

    whole = run(3, Net())
    straight = progress.copy()
    progress.clear()
    with pytest.raises(KeyboardInterrupt):
        run(3, Net(), tmp_path / "c.pt", stop=4)
    resumed = run(3, Net(), tmp_path / "c.pt")
    assert progress == straight
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_of_each_class_the_surest_are_labelled():
    logits = torch.tensor([[3.0, 0], [2, 0], [1, 0], [0.5, 0], [0, 0.2], [0, 0.1]])
    assert surest(logits, 0.5).tolist() == [0, 0, -1, -1, 1, -1]
    assert surest(logits, 0.0).tolist() == [0, -1, -1, -1, 1, -1]
    assert surest(logits, 1.0).tolist() == [0, 0, 0, 0, 1, 1]


def test_batch_norm_takes_over_a_domain_and_another_network_stays_as_it_is():
    net = Net(norm=True)
    batches = values(12, batch=12)
    renormalise(net, batches)
    x = next(iter(batches.evaluation()))[0].flatten(1)
    before = net.body[0](x).detach()
    assert torch.allclose(net.body[1].running_mean, before.mean(0), atol=1e-5)
    assert torch.allclose(net.body[1].running_var, before.var(0), atol=1e-4)
    assert net.training, "the mode is as it was"
    plain = Net()
    kept = copy.deepcopy(plain.state_dict())
    renormalise(plain, batches)
    assert all(torch.equal(value, kept[name]) for name, value in plain.state_dict().items())


def test_what_is_said_of_a_domain_leaves_the_modes_alone():
    net = Net(norm=True).train()
    net.body[0].eval()
    features, logits = said(net, values(10))
    assert (features.shape, logits.shape) == ((10, 3), (10, 2))
    assert net.training
    assert not net.body[0].training
    net.eval()
    x = torch.cat([inputs for inputs, _ in values(10).evaluation()])
    assert torch.allclose(logits, net(x))
    assert torch.allclose(net.head(features), logits)


def test_source_free_tasks_lower_what_they_say():
    net, x = Net(), torch.arange(8.0).view(4, 2) / 8
    y = torch.tensor([0, 1, 0, 1])
    logits = net(x)
    assert torch.equal(Sure()(net, (x, y))["loss"], align.entropy(logits))
    expected = 0.3 * nn.functional.cross_entropy(logits, y) - align.information(logits)
    assert torch.equal(Informed(0.3)(net, (x, y))["loss"], expected)


def test_batch_norm_that_sees_domains_apart_scales_each_by_itself():
    net, at = Net(norm=True).train(), []
    x = torch.cat([torch.randn(8, 2, generator=torch.Generator().manual_seed(0)) for _ in range(2)])
    x[8:] += 5
    y = torch.tensor([0, 1] * 4 + [UNLABELLED] * 8)

    def discrepancy(module, both):
        at.append((both.Xs.mean(0), both.Xt.mean(0)))
        return both.Xt.sum() * 0

    for apart in (False, True):
        with watched([net.head]) as (seen,):
            Aligned(Classification(), discrepancy, seen, 1, apart)(net, (x, y))
    assert torch.allclose(at[1][0], torch.zeros(3), atol=1e-5)
    assert torch.allclose(at[1][1], torch.zeros(3), atol=1e-5)
    assert (at[0][0] - at[0][1]).abs().max() > 1


def test_in_half_precision_the_discrepancy_is_still_exact():
    net, x = Net().train(), torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    batch = torch.cat([x, x]), torch.tensor([0, 1] * 4 + [UNLABELLED] * 8)

    def discrepancy(module, both):
        K = align.kernel(torch.cat([both.Xs, both.Xt]), align.spread(torch.cat([both.Xs, both.Xt])))
        assert K.dtype == torch.float32
        return 1e6 * align.mmd(K, 8)

    with watched([net.head]) as (seen,), torch.autocast("cpu", dtype=torch.bfloat16):
        net.taken.fill_(1)
        loss = Aligned(Classification(), discrepancy, seen, 1)(net, batch)["loss"]
    assert float(loss.detach()) < 2, "the domains are the same"
