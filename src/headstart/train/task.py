"""Tasks: a method is its forward pass and its loss. The loop never learns what the method is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import nn
from torch.nn import functional

from headstart.errors import TrialError

Batch = tuple[torch.Tensor, torch.Tensor]


class Task(Protocol):
    """Turns a batch into `{"loss": scalar tensor, "output": tensor}`."""

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Forward and loss."""
        ...


@dataclass(frozen=True)
class Classification:
    """Cross-entropy, and what is made of it where classes are skewed or examples unequally hard.

    The mean over the batch of `- sum_c t_c w_c (1 - p_c)^gamma log p_c`, where t is the target, spread over all classes
    by label smoothing (Szegedy et al. 2016), and `p = softmax(logits + shift)`. Without the last three arguments that
    is cross-entropy.

    Args:
        smoothing: probability mass spread over all classes.
        gamma: focal loss (Lin et al. 2017, equation 4): what is predicted well counts less.
        weights: (C,) of the classes; see :func:`effective_weights`. None: all are 1.
        shift: (C,) added to the logits while training only; with the log of the class frequencies this is logit
            adjustment (Menon et al. 2021, equation 10), whose logits fit balanced classes. None: nothing.
    """

    smoothing: float = 0.0
    gamma: float = 0.0
    weights: tuple[float, ...] | None = None
    shift: tuple[float, ...] | None = None

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Inputs and labels, (B,) or as probabilities (B, C), to the mean loss and logits (B, C)."""
        inputs, labels = batch
        output = module(inputs)
        return {"loss": self.loss(output, labels), "output": output}

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss of logits (B, C) and labels (B,) or (B, C)."""
        if self.shift is not None:
            logits = logits + logits.new_tensor(self.shift)
        if not self.gamma and self.weights is None:
            return functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        classes = logits.shape[1]
        targets = as_probabilities(labels, classes).to(logits.dtype) * (1 - self.smoothing) + self.smoothing / classes
        log_p = functional.log_softmax(logits, dim=1)
        terms = -targets * log_p
        if self.gamma:
            terms = terms * (1 - log_p.exp()).clamp(min=0) ** self.gamma
        if self.weights is not None:
            terms = terms * logits.new_tensor(self.weights)
        return terms.sum(dim=1).mean()


def as_probabilities(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Labels (B,) as (B, C) float of zeros and ones; what is (B, C) already stays."""
    return labels if labels.ndim == 2 else functional.one_hot(labels, classes).float()


def effective_weights(counts: tuple[int, ...], beta: float = 0.999) -> tuple[float, ...]:
    """Class weights by the effective number of examples (Cui et al. 2019, equation 4): `(1 - beta) / (1 - beta^n)`.

    Args:
        counts: n, examples of each class; a class without any weighs nothing.
        beta: 0: all classes weigh the same; towards 1: by the inverse of their frequency.

    Returns:
        (C,), which add up to the number of classes that have examples.
    """
    raw = [(1 - beta) / (1 - beta**n) if n else 0.0 for n in counts]
    return tuple(weight * sum(n > 0 for n in counts) / sum(raw) for weight in raw)


def log_frequencies(counts: tuple[int, ...]) -> tuple[float, ...]:
    """The log of the share of each class (C,); 0 for a class without examples, which is thereby left as it is."""
    total = sum(counts)
    return tuple(math.log(n / total) if n else 0.0 for n in counts)


@dataclass(frozen=True)
class Mixed:
    """Trains on mixtures of two examples of a batch, with their labels mixed in the same proportion.

    `mixup` (Zhang et al. 2018): `l x + (1 - l) x'`, l drawn from Beta(alpha, alpha). `cutmix` (Yun et al. 2019): a
    rectangle of x' is put into x, and l is the share of x that is left. Inputs may be pictures, or values at a cut of
    a network (Verma et al. 2019).

    Args:
        task: what is done with the mixtures; it must take labels as probabilities.
        classes: C.
        how: `mixup` or `cutmix`.
        alpha: of the Beta distribution.
    """

    task: Task
    classes: int
    how: Literal["mixup", "cutmix"] = "mixup"
    alpha: float = 0.2

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Inputs (B, ...) and labels (B,), mixed by torch's random state, to what the task gives.

        Raises:
            TrialError: the inputs are token numbers, or, for `cutmix`, have no height and width.
        """
        inputs, labels = batch
        if not inputs.is_floating_point() or (self.how == "cutmix" and inputs.ndim != 4):
            raise TrialError(f"{self.how} cannot mix inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}")
        keep = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        order = torch.randperm(len(labels)).to(labels.device)
        if self.how == "mixup":
            mixed = keep * inputs + (1 - keep) * inputs[order]
        else:
            top, bottom, left, right = _box(inputs.shape[2], inputs.shape[3], 1 - keep)
            mixed = inputs.clone()
            mixed[:, :, top:bottom, left:right] = inputs[order][:, :, top:bottom, left:right]
            keep = 1 - (bottom - top) * (right - left) / (inputs.shape[2] * inputs.shape[3])
        targets = as_probabilities(labels, self.classes)
        return self.task(module, (mixed, keep * targets + (1 - keep) * targets[order]))


def _box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """A rectangle of about that share of the area round a point drawn at random, as far as it is inside."""
    y, x = (int(torch.randint(size, ())) for size in (height, width))
    half = math.sqrt(share) / 2
    top, bottom = (min(height, max(0, round(y + side * half * height))) for side in (-1, 1))
    left, right = (min(width, max(0, round(x + side * half * width))) for side in (-1, 1))
    return top, bottom, left, right


@dataclass(frozen=True)
class Contrast:
    """Examples of one class are drawn together, those of different classes apart, by all the pairs in a batch.

    An example is encoded once a step and stands in all its pairs. Without a temperature: the squared error of the
    cosine of each pair, to 1 in one class and to 0 otherwise (the loss of Reimers & Gurevych 2019, with which SetFit,
    Tunstall et al. 2022, trains on drawn pairs); the pairs of one class and the others have equal weight, however few
    there are. With one: the supervised contrastive loss (Khosla et al. 2020, equation 2), the cross-entropy of an
    example's own class under a softmax of its cosines to all others, whose gradient goes to what is confused.

    Args:
        temperature: by which the cosines are divided; None: squared errors.
    """

    temperature: float | None = None

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Inputs whose `module` is (B, D) of length 1, and labels (B,), to the loss and the vectors (B, D)."""
        inputs, labels = batch
        output = module(inputs)
        cosines = output @ output.T
        together = labels[:, None] == labels
        loss = (
            _squared(cosines, together) if self.temperature is None else _softmax(cosines / self.temperature, together)
        )
        return {"loss": loss, "output": output}


def _squared(cosines: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    a, b = torch.triu_indices(len(cosines), len(cosines), 1, device=cosines.device)
    together = together[a, b]
    errors = (cosines[a, b] - together.to(cosines.dtype)).square()
    kinds = [errors[kind].mean() for kind in (together, ~together) if kind.any()]
    return torch.stack(kinds).mean()


def _softmax(scores: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    likely = scores.masked_fill(itself, -torch.inf).log_softmax(1).masked_fill(itself, 0.0)
    partners = together & ~itself
    counts = partners.sum(1)
    # An example whose class has no other in the batch has nothing to be drawn to.
    return -((likely * partners).sum(1) / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
