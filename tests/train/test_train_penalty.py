"""Penalties: equations by hand or by brute force, and gradients against finite differences."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from headstart.train import Classification
from headstart.train.penalty import BSS, L2SP, CoTuning, Delta, Penalised, relationship, watched

pytestmark = pytest.mark.fast


class Net(nn.Module):
    """A map of 2 x 2 positions with 3 channels, pooled to a head; `known` is a second head."""

    def __init__(self, seed=0, known=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Conv2d(2, 3, 1)
            self.act = nn.Tanh()
            self.head = nn.Linear(3, 2)
            if known:
                self.known = nn.Linear(3, known)
        self.double()

    def forward(self, x):
        return self.head(self.act(self.trunk(x)).mean(dim=(2, 3)))


def batch(n=4):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, 2, 2, 2, generator=generator, dtype=torch.float64), torch.arange(n) % 2


def numeric(module, value, eps=1e-6):
    """The gradient of `value()` with respect to every parameter, by central differences."""
    found = {}
    for name, parameter in module.named_parameters():
        flat, slopes = parameter.data.view(-1), []
        for i in range(len(flat)):
            kept = flat[i].item()
            flat[i] = kept + eps
            above = float(value().detach())
            flat[i] = kept - eps
            slopes.append((above - float(value().detach())) / (2 * eps))
            flat[i] = kept
        found[name] = torch.tensor(slopes, dtype=torch.float64).view_as(parameter)
    return found


def same_gradients(module, value):
    module.zero_grad()
    value().backward()
    for name, slope in numeric(module, value).items():
        mine = dict(module.named_parameters())[name].grad
        torch.testing.assert_close(torch.zeros_like(slope) if mine is None else mine, slope, rtol=1e-4, atol=1e-7)


def moved(module, by=0.1):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by)
    return module


def test_l2sp_by_hand():
    module = Net()
    penalty = L2SP(module)
    assert float(penalty(module, batch()).detach()) == 0
    moved(module)
    assert float(penalty(module, batch()).detach()) == pytest.approx(0.5 * 17 * 0.01)
    same_gradients(module, lambda: penalty(module, batch()))
    module.trunk.requires_grad_(False)
    assert float(penalty(module, batch()).detach()) == pytest.approx(0.5 * 8 * 0.01), "what is not trained is not held"


def test_delta_is_the_weighted_distance_of_the_maps():
    module, (x, y) = Net(), batch()
    start = copy.deepcopy(module)
    with watched([module.trunk]) as seen:
        penalty = Delta(module, ["trunk"], seen, Classification(), [(x, y)])
        module(x)
        assert float(penalty(module, (x, y)).detach()) == 0.0, "where nothing moved there is no distance"
        moved(module)

        def value():
            module(x)
            return penalty(module, (x, y))

        square = (module.trunk(x) - start.trunk(x)).square().mean(dim=(0, 2, 3))
        expected = (square * penalty.attention[0]).sum().detach()
        assert float(value().detach()) == pytest.approx(float(expected))
        same_gradients(module, value)
    assert not module.trunk._forward_hooks


def test_delta_attends_to_the_channels_whose_loss_is_felt():
    """Where the loss is linear in the maps the first order is exact: compare with channels removed one by one."""

    class Linear:
        def __call__(self, module, batch):
            output = module(batch[0])
            return {"loss": (output * torch.tensor([1.0, -2.0])).sum(dim=1).mean(), "output": output}

    module, (x, y) = Net(), batch()
    module.act = nn.Identity()
    whole = float(Linear()(module, (x, y))["loss"].detach())
    rises = []
    for channel in range(3):
        without = copy.deepcopy(module)
        with torch.no_grad():
            without.trunk.weight[channel] = 0
            without.trunk.bias[channel] = 0
        rises.append(float(Linear()(without, (x, y))["loss"].detach()) - whole)
    with watched([module.trunk]) as seen:
        halves = [(x[:1], y[:1]), (x[1:], y[1:])]
        attention = Delta(module, ["trunk"], seen, Linear(), halves).attention[0]
    torch.testing.assert_close(attention, functional.softmax(torch.tensor(rises, dtype=torch.float64), dim=0))


@pytest.mark.parametrize("n", [2, 6])
def test_bss_is_the_smallest_singular_values(n):
    """Fewer examples than features, and more."""
    module, (x, y) = Net(), batch(n)
    with watched([module.head]) as [seen]:
        penalty = BSS(seen, k=2)
        module(x)
        features = module.act(module.trunk(x)).mean(dim=(2, 3))
        values = torch.linalg.svdvals(features)[-2:].square().sum()
        assert float(penalty(module, (x, y)).detach()) == pytest.approx(float(values.detach()), rel=1e-6)


def test_bss_gradient():
    module, (x, y) = Net(), batch(3)
    with watched([module.head]) as [seen]:

        def value():
            module(x)
            return BSS(seen)(module, (x, y))

        same_gradients(module, value)


def test_cotuning_by_hand_and_its_gradient():
    module, (x, y) = Net(known=4), batch()
    table = np.array([[0.7, 0.1, 0.1, 0.1], [0.0, 0.0, 0.5, 0.5]], dtype=np.float32)
    with watched([module.head]) as [seen]:
        penalty = CoTuning(seen, module.known, table)

        def value():
            module(x)
            return penalty(module, (x, y))

        log_p = functional.log_softmax(module.known(module.act(module.trunk(x)).mean(dim=(2, 3))), dim=1)
        by_hand = -(torch.from_numpy(table).double()[y] * log_p).sum(dim=1).mean()
        assert float(value().detach()) == pytest.approx(float(by_hand.detach()))
        same_gradients(module, value)


def test_the_relationship_is_found_where_it_was_planted():
    """Source class 0 means label 0, source classes 1 and 2 mean label 1, and 2 is seen three times as often as 1."""
    rng = np.random.default_rng(0)
    source = np.repeat([0, 1, 2], [200, 50, 150])
    P = np.full((400, 4), 0.02)
    P[np.arange(400), source] = 0.94
    P = (P * rng.uniform(0.9, 1.1, P.shape)).astype(np.float32)
    P /= P.sum(axis=1, keepdims=True)
    table = relationship(P, (source > 0).astype(np.int64), 3)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-6)
    assert table[0].argmax() == 0
    assert table[0, 0] > 0.8
    assert table[1, 2] / table[1, 1] == pytest.approx(3, rel=0.15)
    assert table[1, 0] < 0.1
    np.testing.assert_allclose(table[2], P.mean(axis=0), atol=1e-3)


def test_a_penalised_task_adds_and_reports():
    module, pair = Net(), batch()
    task = Penalised(Classification(), lambda module, batch: torch.tensor(3.0), 0.5)
    plain = Classification()(module, pair)
    found = task(module, pair)
    assert float(found["loss"].detach()) == pytest.approx(float(plain["loss"].detach()) + 1.5)
    assert torch.equal(found["output"], plain["output"])
