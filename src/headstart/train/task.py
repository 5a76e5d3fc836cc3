"""Tasks: a method is its forward pass and its loss. The loop never learns what the method is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

Batch = tuple[torch.Tensor, torch.Tensor]


class Task(Protocol):
    """Turns a batch into `{"loss": scalar tensor, "output": tensor}`."""

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Forward and loss."""
        ...


@dataclass(frozen=True)
class Classification:
    """Cross-entropy with label smoothing (Szegedy et al. 2016).

    Args:
        smoothing: probability mass spread over all classes.
    """

    smoothing: float = 0.0

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Images (B, 3, S, S) and labels (B,) to the mean loss and logits (B, C)."""
        inputs, labels = batch
        output = module(inputs)
        return {"loss": functional.cross_entropy(output, labels, label_smoothing=self.smoothing), "output": output}


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
