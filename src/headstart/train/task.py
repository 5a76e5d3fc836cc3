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

    The squared error of the cosine of each pair, to 1 in one class and to 0 otherwise (the loss of Reimers & Gurevych
    2019, with which SetFit, Tunstall et al. 2022, trains on drawn pairs). Here an example is encoded once a step and
    stands in all its pairs. The pairs of one class and the others have equal weight, however few there are.
    """

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Inputs whose `module` is (B, D) of length 1, and labels (B,), to the loss and the vectors (B, D)."""
        inputs, labels = batch
        output = module(inputs)
        a, b = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        together = labels[a] == labels[b]
        errors = ((output @ output.T)[a, b] - together.to(output.dtype)).square()
        kinds = [errors[kind].mean() for kind in (together, ~together) if kind.any()]
        return {"loss": torch.stack(kinds).mean(), "output": output}
