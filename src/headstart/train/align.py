"""Losses of domain adaptation: how much two domains differ in what a network makes of them, and how sure it is.

Pure functions of features (B, D) and logits (B, C), differentiable, in the dtype and on the device of what they are
given. `Xs` and `Xt` are of the source and of the target domain, and need not have the same number of rows. What is
computed once on arrays, without a gradient, is in :mod:`headstart.domains`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Of the Gaussian kernels of the multi-kernel MMD, as multiples of the mean squared distance (Long et al. 2015)."""
OF_PREDICTIONS = 1.68
"""Squared width of the kernel on predicted probabilities that JAN uses (Long et al. 2017)."""


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * gradients[0], None


def reversed_gradient(x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """`x` as it is; its gradient comes back times `-strength` (Ganin & Lempitsky 2015, equations 7 and 8)."""
    found: torch.Tensor = _Reversal.apply(x, strength)
    return found


def ramp(progress: float) -> float:
    """How much domains count as training goes on: `2 / (1 + exp(-10 p)) - 1` (Ganin & Lempitsky 2015, section 3.1).

    >>> ramp(0.0), round(ramp(0.5), 3), round(ramp(1.0), 4)
    (0.0, 0.987, 0.9999)

    Args:
        progress: p, the share of training that is done.
    """
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


def told_apart(
    scores: torch.Tensor,
    others: torch.Tensor,
    weights: torch.Tensor | None = None,
    other_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of a critic that tells domains apart: the mean of both domains' means, in nats.

    Log 2 where it cannot (Ganin & Lempitsky 2015, equation 9, with both domains counting alike).

    Args:
        scores: (B,) logits of being of the source domain, of examples that are.
        others: (M,) of examples of the target domain.
        weights: (B,) of the examples; None: all the same.
        other_weights: (M,) likewise.
    """
    sides = ((functional.softplus(-scores), weights), (functional.softplus(others), other_weights))
    means = [loss.mean() if w is None else (w * loss).sum() / w.sum() for loss, w in sides]
    return torch.stack(means).mean()


def certainty(logits: torch.Tensor) -> torch.Tensor:
    """(B, C) to weights (B,) of 1 to 2, without a gradient: `1 + exp(-H(p))` (CDAN+E, Long et al. 2018, equation 8)."""
    return 1.0 + torch.exp(-entropies(logits.detach()))


def multilinear(X: torch.Tensor, P: torch.Tensor) -> torch.Tensor:
    """Features (B, D) and probabilities (B, C) to their products (B, C * D) (CDAN, Long et al. 2018, equation 4)."""
    return (P[:, :, None] * X[:, None, :]).flatten(1)


def randomised(X: torch.Tensor, P: torch.Tensor, of_X: torch.Tensor, of_P: torch.Tensor) -> torch.Tensor:
    """Random products in place of all (CDAN, Long et al. 2018, equation 6): `(X R_x) * (P R_p) / sqrt(K)`, (B, K).

    Their inner products are those of :func:`multilinear` in expectation, where the numbers of both matrices are drawn
    with mean 0 and variance 1.

    Args:
        X: (B, D) features.
        P: (B, C) probabilities.
        of_X: (D, K).
        of_P: (C, K).
    """
    return (X @ of_X) * (P @ of_P) / math.sqrt(of_X.shape[1])


def coral(Xs: torch.Tensor, Xt: torch.Tensor) -> torch.Tensor:
    """Squared distance of the covariances, `|C_s - C_t|_F^2 / (4 D^2)` (DeepCORAL, Sun & Saenko 2016, equation 1)."""
    return (_covariance(Xs) - _covariance(Xt)).square().sum() / (4 * Xs.shape[1] ** 2)


def _covariance(X: torch.Tensor) -> torch.Tensor:
    centred = X - X.mean(dim=0)
    return centred.T @ centred / max(1, len(X) - 1)


def spread(X: torch.Tensor) -> torch.Tensor:
    """The mean squared distance of two of the rows (B, D), without a gradient."""
    return _squared_distances(X.detach()).sum() / max(1, len(X) * (len(X) - 1))


def kernel(X: torch.Tensor, scale: torch.Tensor, widths: Sequence[float] = WIDTHS) -> torch.Tensor:
    """The mean of Gaussian kernels `exp(-|x - x'|^2 / (w s))`.

    Args:
        X: (B, D), of both domains together.
        scale: s, such as their :func:`spread`.
        widths: w.

    Returns:
        (B, B).
    """
    scaled = _squared_distances(X) / scale.clamp(min=1e-12)
    return torch.stack([torch.exp(-scaled / width) for width in widths]).mean(dim=0)


def kernel_of_predictions(P: torch.Tensor) -> torch.Tensor:
    """`exp(-|p - p'|^2 / 1.68)` of probabilities (B, C): (B, B)."""
    return torch.exp(-_squared_distances(P) / OF_PREDICTIONS)


def _squared_distances(X: torch.Tensor) -> torch.Tensor:
    X = X - X.mean(dim=0).detach()  # so that little is lost where distances are small against the values
    squares = X.square().sum(dim=1)
    return (squares[:, None] + squares[None, :] - 2 * X @ X.T).clamp(min=0)


def mmd(K: torch.Tensor, first: int) -> torch.Tensor:
    """Squared maximum mean discrepancy (Gretton et al. 2012, equation 5, the V-statistic): never negative.

    DAN (Long et al. 2015, equation 4) takes it of features; JAN (Long et al. 2017, equation 8) of the product of the
    kernels of features and of predictions, which is the joint MMD.

    Args:
        K: (B, B) kernel of both domains together, the source domain first.
        first: examples of the source domain.
    """
    return K[:first, :first].mean() + K[first:, first:].mean() - 2 * K[:first, first:].mean()


def class_confusion(
    logits: torch.Tensor, temperature: float = 2.5, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Minimum class confusion (Jin et al. 2020, equations 3 to 6): 0 where every prediction is sure, at most 1 - 1/C.

    With `p = softmax(z / T)`, the confusion of classes j and k is `sum_i w_i p_ij p_ik`; its rows are scaled to add up
    to 1, and the mean over classes of what is not on the diagonal is the loss.

    Args:
        logits: (B, C) of the target domain.
        temperature: T.
        weights: w (B,); None: :func:`certainty` at that temperature, which has no gradient.
    """
    P = functional.softmax(logits / temperature, dim=1)
    w = certainty(logits / temperature) if weights is None else weights
    confusion = P.T @ (P * (w / w.mean())[:, None])
    confusion = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return 1.0 - confusion.diagonal().mean()


def discrepancy(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of two classifiers' probabilities (MCD, Saito et al. 2018, equation 6).

    Args:
        logits: (B, C) of the one.
        others: (B, C) of the other, for the same examples.
    """
    return (functional.softmax(logits, dim=1) - functional.softmax(others, dim=1)).abs().mean()


def entropies(logits: torch.Tensor) -> torch.Tensor:
    """(B, C) to the entropy of each prediction (B,), in nats."""
    logs = functional.log_softmax(logits, dim=1)
    return -(logs.exp() * logs).sum(dim=1)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """The mean entropy of predictions, in nats: what TENT lowers (Wang et al. 2021, section 3.2)."""
    return entropies(logits).mean()


def information(logits: torch.Tensor) -> torch.Tensor:
    """Mutual information of examples and predictions, in nats: `H(mean of p) - mean of H(p)`.

    What InfoMax raises (Krause et al. 2010; Shi & Sha 2012), and SHOT (Liang et al. 2020, equations 3 and 4): each
    prediction is sure, and not all are the same. Between 0 and log C.
    """
    mean = functional.softmax(logits, dim=1).mean(dim=0)
    return -(mean * mean.clamp(min=1e-12).log()).sum() - entropy(logits)


@torch.no_grad()
def clustered(X: torch.Tensor, logits: torch.Tensor, rounds: int = 2) -> torch.Tensor:
    """SHOT's pseudo-labels (Liang et al. 2020, equations 5 and 6): of the class whose centre is nearest, by cosine.

    The centres are means of features weighted by probabilities first, and of the classes so found from then on.
    A class that is nobody's most probable one is given to none.

    Args:
        X: (N, D) features.
        logits: (N, C).
        rounds: how often labels are given.

    Returns:
        (N,) int64.
    """
    present = torch.unique(logits.argmax(dim=1))
    unit = functional.normalize(X, dim=1)
    weights = functional.softmax(logits, dim=1)[:, present]
    labels = torch.zeros(len(X), dtype=torch.int64)
    for _ in range(rounds):
        centres = functional.normalize(weights.T @ unit / weights.sum(dim=0).clamp(min=1e-8)[:, None], dim=1)
        labels = (unit @ centres.T).argmax(dim=1)
        weights = functional.one_hot(labels, len(present)).to(unit.dtype)
    found: torch.Tensor = present[labels]
    return found
