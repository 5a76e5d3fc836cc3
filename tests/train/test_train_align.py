"""Losses of domain adaptation: known answers, equations by brute force, and gradients against finite differences."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from headstart.train import align

pytestmark = pytest.mark.fast


def drawn(*shape, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


SURE = 1e4 * torch.eye(3, dtype=torch.float64)[[0, 1, 2, 2]]


# -- gradients ---------------------------------------------------------------------------------------------------------

X, T, Z, V = drawn(5, 3, seed=1), drawn(4, 3, seed=2), drawn(5, 3, seed=3), drawn(4, 3, seed=4)
W, U = drawn(5, seed=5).exp(), drawn(4, seed=6).exp()


def joint(x, t, z, v):
    features, logits = torch.cat([x, t]), torch.cat([z, v])
    K = align.kernel(features, torch.tensor(7.0, dtype=torch.float64))
    return align.mmd(K * align.kernel_of_predictions(logits.softmax(1)), len(x))


@pytest.mark.parametrize(
    ("loss", "arguments"),
    [
        (align.coral, (X, T)),
        (lambda x, t: align.mmd(align.kernel(torch.cat([x, t]), torch.tensor(5.0)), len(x)), (X, T)),
        (joint, (X, T, Z, V)),
        (lambda z: align.class_confusion(z, 2.5, W), (Z,)),
        (align.discrepancy, (X, Z)),
        (align.entropy, (Z,)),
        (align.information, (Z,)),
        (lambda z, v: align.told_apart(z[:, 0], v[:, 0], W, U), (Z, V)),
        (lambda x, z: align.multilinear(x, z.softmax(1)), (X, Z)),
        (lambda x, z: align.randomised(x, z.softmax(1), drawn(3, 6, seed=7), drawn(3, 6, seed=8)), (X, Z)),
    ],
    ids=["coral", "mmd", "jmmd", "mcc", "mcd", "entropy", "information", "critic", "multilinear", "randomised"],
)
def test_gradients_are_those_of_finite_differences(loss, arguments):
    assert gradcheck(loss, tuple(a.clone().requires_grad_() for a in arguments))


def test_the_reversals_gradient_is_minus_strength_times_the_gradient():
    def loss(x):
        return (x**3).sum()

    x = drawn(4, 2, grad=True)
    turned = align.reversed_gradient(x, 0.3)
    assert torch.equal(turned, x)
    (mine,) = torch.autograd.grad(loss(turned), x)
    step = 1e-5
    for at in np.ndindex(4, 2):
        moved = torch.zeros(4, 2, dtype=torch.float64)
        moved[at] = step
        slope = float((loss(x + moved) - loss(x - moved)).detach()) / (2 * step)
        assert float(mine[at]) == pytest.approx(-0.3 * slope, rel=1e-6)


def test_the_spread_and_the_certainty_have_no_gradient():
    x = drawn(4, 2, grad=True)
    assert not align.spread(x).requires_grad
    assert not align.certainty(x).requires_grad


# -- known answers -----------------------------------------------------------------------------------------------------


def test_coral_is_0_for_equal_covariances_wherever_the_domains_are():
    x = drawn(50, 4)
    assert float(align.coral(x, x + 5)) == pytest.approx(0, abs=1e-20)
    C = np.cov(x.numpy(), rowvar=False)
    assert float(align.coral(x, 2 * x)) == pytest.approx(((3 * C) ** 2).sum() / (4 * 16))


def test_mmd_is_0_for_the_same_sample_and_else_as_its_definition_says():
    x, t = drawn(6, 3), drawn(5, 3, seed=9) + 1
    both, scale = torch.cat([x, t]), align.spread(torch.cat([x, t]))
    pairs = [(a, b) for i, a in enumerate(both) for j, b in enumerate(both) if i != j]
    assert float(scale) == pytest.approx(np.mean([float(((a - b) ** 2).sum()) for a, b in pairs]))
    same = torch.cat([x, x.flip(0)])
    assert float(align.mmd(align.kernel(same, align.spread(same)), 6)) == pytest.approx(0, abs=1e-14)

    def k(a, b):
        return np.mean([math.exp(-float(((a - b) ** 2).sum()) / (w * float(scale))) for w in align.WIDTHS])

    expected = np.mean([[k(a, b) for b in x] for a in x]) + np.mean([[k(a, b) for b in t] for a in t])
    expected -= 2 * np.mean([[k(a, b) for b in t] for a in x])
    assert float(align.mmd(align.kernel(both, scale), 6)) == pytest.approx(expected)
    assert expected > 0


def test_joint_mmd_sees_classes_that_changed_places_and_mmd_does_not():
    x = drawn(40, 2)
    z = torch.stack([x[:, 0], -x[:, 0]], 1) * 9
    K = align.kernel(torch.cat([x, x]), align.spread(torch.cat([x, x])))
    P = align.kernel_of_predictions(torch.cat([z, -z]).softmax(1))
    assert float(align.mmd(K, 40)) == pytest.approx(0, abs=1e-14)
    assert float(align.mmd(K * P, 40)) > 0.05


def test_class_confusion_is_0_for_sure_predictions_and_largest_for_even_ones():
    assert float(align.class_confusion(SURE)) == pytest.approx(0, abs=1e-12)
    assert float(align.class_confusion(torch.zeros(4, 3))) == pytest.approx(2 / 3)
    # Class 0 is confused with 1 alone: each is given half of the other's row.
    halves = torch.tensor([[50.0, 50.0, -1e4], [-1e4, -1e4, 50.0]])
    assert float(align.class_confusion(halves)) == pytest.approx(1 / 3)


def test_discrepancy_of_equal_and_of_opposite_classifiers():
    assert float(align.discrepancy(SURE, SURE)) == 0
    assert float(align.discrepancy(SURE, SURE.roll(1, dims=1))) == pytest.approx(2 / 3)


def test_entropy_and_information():
    flat = torch.zeros(6, 3)
    even = SURE[:3]
    assert float(align.entropy(flat)) == pytest.approx(math.log(3))
    assert float(align.entropy(SURE)) == pytest.approx(0, abs=1e-12)
    assert float(align.information(even)) == pytest.approx(math.log(3))
    assert float(align.information(flat)) == pytest.approx(0, abs=1e-6)
    assert float(align.information(even[[0, 0, 0]])) == pytest.approx(0, abs=1e-9), "sure, but always the same"


def test_a_critic_that_cannot_tell_loses_log_2_and_one_that_can_nothing():
    assert float(align.told_apart(torch.zeros(3), torch.zeros(5))) == pytest.approx(math.log(2))
    assert float(align.told_apart(torch.full((3,), 40.0), torch.full((5,), -40.0))) == pytest.approx(0, abs=1e-12)
    mixed = torch.tensor([0.0, 40.0])
    assert float(align.told_apart(mixed, -mixed, torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))) < 1e-12
    assert align.certainty(SURE).tolist() == pytest.approx([2.0] * 4)
    assert align.certainty(torch.zeros(1, 4)).tolist() == pytest.approx([1.25])


def test_products_of_features_and_probabilities_and_random_ones_in_their_place():
    x, p = drawn(2, 3), drawn(2, 4, seed=1).softmax(1)
    full = align.multilinear(x, p)
    assert full[1].tolist() == pytest.approx(np.outer(p[1], x[1]).ravel().tolist())
    K = 200_000
    some = align.randomised(x, p, drawn(3, K, seed=2), drawn(4, K, seed=3))
    assert torch.allclose(some @ some.T, full @ full.T, atol=0.03)


def test_clusters_correct_labels_and_absent_classes_are_given_to_none():
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    features = torch.tensor(np.array([[3.0, 0.5], [0.5, 3.0]])[y] + generator.normal(0, 0.3, (60, 2)))
    logits = torch.zeros(60, 3, dtype=torch.float64)
    logits[np.arange(60), y] = 2.0
    logits[:20] = logits[:20].roll(1, 0)  # a third is predicted as its neighbour
    found = align.clustered(features, logits)
    assert found.tolist() == y.tolist()
