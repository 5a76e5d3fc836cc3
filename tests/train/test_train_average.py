"""Averages of weights, and the learning-rate range test."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from headstart.budget import Budget
from headstart.train import Classification, Plan, Trainable, chosen_rate, range_test, robust, soup, train
from headstart.train.average import joined

pytestmark = pytest.mark.fast


def line(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def data(n=32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator)
    return x, (x[:, 0] > 0).long()


def epoch(seed):
    x, y = data()
    for rows in torch.randperm(32, generator=torch.Generator().manual_seed(seed)).split(8):
        yield x[rows], y[rows]


def run(module, plan, **more):
    return train(module, Classification(), epoch, 4, plan, Trainable(), budget=Budget(), **more)


def test_wise_ft_goes_as_far_as_the_held_out_loss_wants():
    """One weight, from 0 to 1, and a loss with its minimum at 0.3."""
    module = nn.Linear(1, 1, bias=False)
    start = {"weight": torch.zeros(1, 1)}
    nn.init.ones_(module.weight)
    assert robust(module, start, lambda: float((module.weight - 0.3).square())) == 0.3
    assert float(module.weight.detach()) == pytest.approx(0.3)
    nn.init.ones_(module.weight)
    assert robust(module, start, lambda: 1.0) == 0.0, "on a tie it stays with the source"
    nn.init.ones_(module.weight)
    assert robust(module, start, None) == 0.5
    assert float(module.weight.detach()) == 0.5


def test_joined_is_the_mean():
    states = [{"w": torch.tensor([float(k)]), "n": torch.tensor(k)} for k in (1, 2, 6)]
    mean = None
    for count, state in enumerate(states):
        mean = joined(mean, count, state)
    assert float(mean["w"]) == pytest.approx(3.0)
    assert int(mean["n"]) == 6, "a count is not averaged"
    assert float(states[0]["w"]) == 1.0, "and nothing given was changed"


def weights(*values):
    return [{"weight": torch.full((1, 1), value)} for value in values]


def test_a_uniform_soup_of_linear_models_predicts_their_mean():
    generator = torch.Generator().manual_seed(0)
    models = [nn.Linear(5, 3) for _ in range(4)]
    for model in models:
        for parameter in model.parameters():
            nn.init.normal_(parameter, generator=generator)
    x, module = torch.randn(7, 5, generator=generator), nn.Linear(5, 3)
    assert soup(module, [model.state_dict() for model in models], None, greedy=False) == (0, 1, 2, 3)
    expected = torch.stack([model(x) for model in models]).mean(dim=0)
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)


def test_a_greedy_soup_takes_what_helps():
    """One weight, and a loss with its minimum at 0.3: 0.5 and 0.0 meet at 0.25, and 10.0 would spoil that."""
    module = nn.Linear(1, 1, bias=False)

    def loss():
        return float((module.weight.detach() - 0.3).square())

    assert soup(module, weights(10.0, 0.0, 0.5), loss, greedy=True) == (2, 1)
    assert float(module.weight.detach()) == pytest.approx(0.25)
    assert soup(module, weights(0.3, 0.2), loss, greedy=True) == (0,), "the best alone, where nothing helps"
    assert soup(module, weights(1.0, 1.0), loss, greedy=True) == (0, 1), "no worse is good enough, as in the paper"
    assert soup(module, weights(10.0, 0.0), None, greedy=True) == (0, 1), "nothing to be greedy by"
    assert soup(module, weights(10.0, 0.0, 0.5), loss, greedy=False) == (0, 1, 2)


def test_a_greedy_soup_is_never_worse_than_any_of_its_members():
    rng = np.random.default_rng(0)
    module = nn.Linear(4, 1, bias=False)
    for _ in range(50):
        goal = torch.tensor(rng.normal(size=(1, 4)))
        states = [{"weight": torch.tensor(rng.normal(size=(1, 4)), dtype=torch.float32)} for _ in range(5)]

        def loss(goal=goal):
            return float((module.weight.detach() - goal).square().sum())

        alone = []
        for state in states:
            module.load_state_dict(state)
            alone.append(loss())
        taken = soup(module, states, loss, greedy=True)
        assert loss() <= min(alone) + 1e-6
        assert taken[0] == int(np.argmin(alone))
        # Every prefix of what was taken was no worse than the one before.
        losses = []
        for count in range(1, len(taken) + 1):
            soup(module, [states[i] for i in taken[:count]], None, greedy=False)
            losses.append(loss())
        assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(losses))


def test_swa_keeps_the_mean_of_the_second_half():
    ends, module = [], line()

    def evaluate():
        ends.append({name: value.clone() for name, value in module.state_dict().items()})
        return 1.0

    history = run(module, Plan(6, 0.05, schedule="constant", average=True), evaluate=evaluate)
    assert history.averaged == 3
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            expected = torch.stack([end[name] for end in ends[3:6]]).mean(dim=0)
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_swa_gives_way_to_a_better_epoch():
    module, values = line(), iter([5.0, 4.0, 1.0, 3.0, 2.0])
    kept = []

    def evaluate():
        kept.append({name: value.clone() for name, value in module.state_dict().items()})
        return next(values)

    history = run(module, Plan(4, 0.05, schedule="constant", average=True), evaluate=evaluate)
    assert (history.averaged, history.best_epoch) == (0, 2)
    assert all(torch.equal(value, kept[2][name]) for name, value in module.state_dict().items())


class Killed(Exception):  # noqa: N818 - what happened
    pass


def test_a_resumed_average_is_the_uninterrupted_one(tmp_path):
    plan = Plan(6, 0.05, schedule="constant", average=True)
    whole, again = line(), line()
    run(whole, plan)
    calls = []

    def dying(seed):
        calls.append(seed)
        if len(calls) == 6:
            raise Killed
        yield from epoch(seed)

    with pytest.raises(Killed):
        train(again, Classification(), dying, 4, plan, Trainable(), budget=Budget(), checkpoint=tmp_path / "check")
    other = line(9)
    history = run(other, plan, checkpoint=tmp_path / "check")
    assert (history.resumed, history.averaged) == (5, 3)
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], rtol=0, atol=1e-6)


def test_a_range_test_finds_the_slope_and_leaves_everything_as_it_was():
    module = line()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    module.eval()
    curve = range_test(module, Classification(), epoch, Trainable(), low=1e-5, high=100.0, steps=60)
    rates, losses = (np.array(part) for part in zip(*curve, strict=True))
    ratios = rates[1:] / rates[:-1]
    assert ratios == pytest.approx(np.full(len(ratios), (1e7) ** (1 / 59)), rel=1e-6)
    assert losses.min() < 0.6 * losses[0], "on the way it learns"
    assert len(curve) < 60, "and it ends where it diverges"
    rate = chosen_rate(curve)
    assert rate == pytest.approx(rates[losses.argmin()] / 10)
    assert 1e-4 < rate < 1
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not module.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert curve == range_test(module, Classification(), epoch, Trainable(), low=1e-5, high=100.0, steps=60)


def test_the_first_losses_of_a_range_test_by_hand():
    module = nn.Linear(2, 2)
    module.load_state_dict({"weight": torch.tensor([[1.0, -0.5], [0.2, 0.7]]), "bias": torch.tensor([0.1, -0.3])})
    curve = range_test(module, Classification(), epoch, Trainable(), low=1e-9, high=1e-8, steps=6)
    batches = [batch for number in range(2) for batch in epoch(number)][:6]
    with torch.no_grad():
        raw = [float(functional.cross_entropy(module(x), y)) for x, y in batches]  # nothing moves at such rates
    assert curve[0][1] == pytest.approx(raw[0], rel=1e-5)
    weights = [0.8 ** (5 - k) for k in range(6)]
    mean = sum(w * v for w, v in zip(weights, raw, strict=True)) / sum(weights)
    assert curve[-1] == (pytest.approx(1e-8), pytest.approx(mean, rel=1e-4))


def test_a_loss_that_is_never_finite_has_no_rate():
    def broken(module, batch):
        return {"loss": module(batch[0]).sum() * math.nan, "output": batch[0]}

    with pytest.raises(ValueError, match="no rate"):
        chosen_rate(range_test(line(), broken, epoch, Trainable()))
