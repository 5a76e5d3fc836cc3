"""Losses: by hand, against finite differences, and what mixing does to a batch."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from headstart.errors import TrialError
from headstart.train import Classification, Mixed
from headstart.train.data import drawn
from headstart.train.task import as_probabilities, effective_weights, log_frequencies

pytestmark = pytest.mark.fast

LOSSES = {
    "cross-entropy": Classification(0.1),
    "focal": Classification(0.1, gamma=2.0),
    "class-balanced": Classification(weights=(0.5, 1.0, 1.5)),
    "adjusted": Classification(0.1, shift=(math.log(0.7), math.log(0.2), math.log(0.1))),
    "all": Classification(0.05, gamma=1.5, weights=(0.5, 1.0, 1.5), shift=(-0.3, -1.0, -2.0)),
}


def batch(n=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.arange(n) % classes


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("soft", [False, True])
def test_gradients_agree_with_finite_differences(name, soft):
    logits, labels = batch()
    targets = 0.7 * as_probabilities(labels, 3).double() + 0.3 / 3 if soft else labels
    assert torch.autograd.gradcheck(lambda z: LOSSES[name].loss(z, targets), logits.requires_grad_())


def test_every_loss_by_hand():
    """One example, three classes; p is the softmax."""
    z, y = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([1])
    p = [math.exp(v) / sum(map(math.exp, (1, 0, -1))) for v in (1, 0, -1)]

    def of(task):
        return float(task(nn.Identity(), (z, y))["loss"])

    assert of(Classification()) == pytest.approx(-math.log(p[1]), rel=1e-6)
    assert of(Classification(gamma=2.0)) == pytest.approx(-((1 - p[1]) ** 2) * math.log(p[1]), rel=1e-6)
    assert of(Classification(weights=(1.0, 4.0, 1.0))) == pytest.approx(-4 * math.log(p[1]), rel=1e-6)
    prior = (0.5, 0.1, 0.4)
    weighted = [a * b for a, b in zip(prior, p, strict=True)]
    expected = -math.log(weighted[1] / sum(weighted))
    assert of(Classification(shift=tuple(map(math.log, prior)))) == pytest.approx(expected, rel=1e-6)
    smooth = [0.1, 0.8, 0.1]
    focal = -sum(t * (1 - q) ** 2 * math.log(q) for t, q in zip(smooth, p, strict=True))
    assert of(Classification(0.3, gamma=2.0)) == pytest.approx(focal, rel=1e-6)


def test_labels_and_their_probabilities_have_one_loss():
    logits, labels = batch()
    for task in LOSSES.values():
        a, b = (task.loss(logits, t) for t in (labels, as_probabilities(labels, 3).double()))
        torch.testing.assert_close(a, b)


def test_effective_weights_by_hand():
    assert effective_weights((10, 10, 10)) == pytest.approx((1, 1, 1))
    raw = [0.1 / (1 - 0.9**n) for n in (1, 5)]
    assert effective_weights((1, 5), 0.9) == pytest.approx([2 * w / sum(raw) for w in raw])
    assert effective_weights((3, 300), 0.0) == pytest.approx((1, 1))
    rare, frequent = effective_weights((3, 300), 0.999999)
    assert rare / frequent == pytest.approx(100, rel=1e-3)
    assert effective_weights((4, 0, 4)) == pytest.approx((1, 0, 1))


def test_log_frequencies_leave_an_absent_class_alone():
    assert log_frequencies((1, 3, 0)) == pytest.approx((math.log(0.25), math.log(0.75), 0.0))


def test_logit_adjustment_finds_the_balanced_classifier():
    """Two Gaussians one apart, nine of ten examples from one: adjusted, the boundary is halfway between them."""
    rng = np.random.default_rng(0)
    y = (rng.random(20_000) < 0.1).astype(np.int64)
    x = torch.from_numpy(rng.normal(2.0 * y, 1.0)).float()[:, None]
    labels = torch.from_numpy(y)

    def boundary(task):
        line = nn.Linear(1, 2)
        optimiser = torch.optim.LBFGS(line.parameters(), max_iter=100)

        def closure():
            optimiser.zero_grad()
            loss = task(line, (x, labels))["loss"]
            loss.backward()
            return loss

        optimiser.step(closure)
        slope, bias = (line.weight[1] - line.weight[0]).item(), (line.bias[1] - line.bias[0]).item()
        return -bias / slope

    frequencies = log_frequencies(tuple(np.bincount(y).tolist()))
    assert boundary(Classification(shift=frequencies)) == pytest.approx(1.0, abs=0.1)
    # Bayes' rule for these frequencies puts it at 1 + log(9) / 2.
    assert boundary(Classification()) == pytest.approx(1 + math.log(9) / 2, abs=0.15)


class Look:
    """A task that keeps the batch."""

    def __call__(self, module, batch):
        self.inputs, self.targets = batch
        return {"loss": self.inputs.sum(), "output": self.inputs}


def test_mixup_mixes_inputs_and_labels_in_one_proportion():
    x, y, look = torch.eye(4)[:, :, None, None], torch.arange(4), Look()
    torch.manual_seed(0)
    Mixed(look, 4, "mixup", 1.0)(nn.Identity(), (x, y))
    # Each input is the one-hot vector of its own label, so mixtures of inputs are mixtures of labels.
    torch.testing.assert_close(look.inputs[:, :, 0, 0], look.targets)
    assert not torch.equal(look.targets, torch.eye(4))


def test_cutmix_replaces_the_share_that_its_labels_say():
    values = torch.arange(1.0, 9.0)
    x, y, look = values[:, None, None, None].expand(8, 2, 20, 20).clone(), torch.arange(8), Look()
    torch.manual_seed(1)
    shares = []
    for _ in range(20):
        Mixed(look, 8, "cutmix", 1.0)(nn.Identity(), (x, y))
        own = (look.inputs == x).float().mean(dim=(1, 2, 3))
        other = look.targets.argmax(dim=1) != y
        torch.testing.assert_close(look.targets.sum(1), torch.ones(8))
        mixed = look.targets[torch.arange(8), y]
        kept = mixed[mixed < 1]
        if len(kept):
            torch.testing.assert_close(kept, own[mixed < 1])
            shares.append(float(kept[0]))
        assert not other[mixed > 0.5].any()
    assert min(shares) < 0.4 < 0.8 < max(shares)
    assert torch.equal(x[0], torch.ones(2, 20, 20)), "the batch itself stays"


def test_what_cannot_be_mixed_is_refused():
    labels = torch.tensor([0, 1])
    for how, inputs in (("mixup", torch.ones(2, 5, dtype=torch.long)), ("cutmix", torch.ones(2, 7, 16))):
        with pytest.raises(TrialError, match=f"{how} cannot mix"):
            Mixed(Classification(), 2, how)(nn.Identity(), (inputs, labels))


def test_mixed_labels_go_through_every_loss():
    x, y = torch.randn(6, 3), torch.arange(6) % 3
    torch.manual_seed(0)
    for task in LOSSES.values():
        assert torch.isfinite(Mixed(task, 3, "mixup", 0.4)(nn.Identity(), (x, y))["loss"])


def test_even_draws_give_every_class_its_turn():
    y = np.array([0] * 90 + [1] * 9 + [2] * 1)
    rng = np.random.default_rng(0)
    order = drawn(y, True, rng)
    assert len(order) == 100
    counts = np.bincount(y[order])
    assert counts.min() >= 32
    assert counts.max() <= 34
    small = np.bincount(order, minlength=100)[90:99]
    assert small.max() - small.min() <= 2, "each example of a small class as often as the others, but for the cut"
    assert np.bincount(order[y[order] == 0]).max() == 1, "none of a large class twice"
    assert sorted(drawn(y, False, rng)) == list(range(100))


def test_plain_cross_entropy_is_torch_s():
    logits, labels = batch()
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert float(LOSSES["cross-entropy"].loss(logits, labels)) == float(expected)
