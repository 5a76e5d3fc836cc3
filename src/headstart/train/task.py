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
