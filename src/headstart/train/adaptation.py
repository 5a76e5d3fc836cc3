"""Training on two domains: batches of both, and tasks that look at both.

A batch of two domains is one batch. What is of the target domain has the label `UNLABELLED`, or, where a label c was
guessed, `-2 - c`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from headstart.train import align
from headstart.train.data import Batches
from headstart.train.penalty import Seen, watched
from headstart.train.task import Batch, Classification

UNLABELLED = -1

Labels = NDArray[np.int64]


class Relabelled(Batches, Protocol):
    """Batches whose labels can be replaced."""

    labels: Labels


class TwoDomains:
    """Batches of a labelled domain, each together with one of an unlabelled domain.

    An epoch goes through the larger domain once; the smaller one is gone through again, in another order.

    Args:
        labelled: of the source domain.
        unlabelled: of the target domain, with labels `UNLABELLED`.
    """

    def __init__(self, labelled: Batches, unlabelled: Relabelled) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled
        self.relabel: Callable[[], Labels] | None = None
        """Gives the target domain's labels at the beginning of an epoch; None: they stay as they are."""

    def __len__(self) -> int:
        return len(self.labelled)

    def steps(self) -> int:
        """Batches of one epoch."""
        return max(self.labelled.steps(), self.unlabelled.steps())

    def training(self, seed: int) -> Iterator[Batch]:
        """One epoch, both domains' batches drawn from `seed`."""
        if self.relabel is not None:
            self.unlabelled.labels = self.relabel()
        pairs = zip(_again(self.labelled, seed), _again(self.unlabelled, seed), strict=True)
        yield from (joined(one, other) for one, other in itertools.islice(pairs, self.steps()))

    def evaluation(self) -> Iterator[Batch]:
        """The labelled domain in order, as it is."""
        return self.labelled.evaluation()


def _again(batches: Batches, seed: int) -> Iterator[Batch]:
    """Epoch after epoch, without end; the first is that of `seed`."""
    draws = (seed if k == 0 else 100_003 * seed + k for k in itertools.count())
    return itertools.chain.from_iterable(batches.training(draw) for draw in draws)


def joined(one: Batch, other: Batch) -> Batch:
    """Two domains' batches as one. Texts are padded to the longer: numbers with 0, values at tokens with NaN."""
    inputs = [one[0], other[0]]
    if inputs[0].ndim < 4:
        longest = max(x.shape[1] for x in inputs)
        empty = float("nan") if inputs[0].is_floating_point() else 0
        inputs = [functional.pad(x, (0,) * (2 * (x.ndim - 2)) + (0, longest - x.shape[1]), value=empty) for x in inputs]
    return torch.cat(inputs), torch.cat([one[1], torch.where(other[1] < 0, other[1], -2 - other[1])])


@dataclass(frozen=True)
class Both:
    """What a network makes of a batch of two domains.

    Args:
        Xs: (B, D) pooled features of the source domain.
        Xt: (M, D) of the target domain.
        Zs: (B, C) logits of the source domain.
        Zt: (M, C) of the target domain.
        ys: (B,) labels of the source domain.
        progress: share of the training that is done, 0 to 1.
    """

    Xs: torch.Tensor
    Xt: torch.Tensor
    Zs: torch.Tensor
    Zt: torch.Tensor
    ys: torch.Tensor
    progress: float


class Discrepancy(Protocol):
    """What is lowered besides the loss on the labels."""

    def __call__(self, module: nn.Module, both: Both) -> torch.Tensor:
        """A scalar."""
        ...


@dataclass(frozen=True)
class Aligned:
    """Cross-entropy on what has a label, and a discrepancy of the domains, which counts more as training goes on.

    Args:
        task: gives the loss on labels.
        discrepancy: of the domains; its factor is :func:`headstart.train.align.ramp` of the progress.
        seen: of the module's head, from :func:`headstart.train.penalty.watched`.
        apart: one domain goes through the network after the other, so that batch norm sees them one by one.
        total: steps of the training; the module counts those taken in its buffer `taken`, so that a training that is
            resumed goes on where it was.
    """

    task: Classification
    discrepancy: Discrepancy
    seen: Seen
    total: int
    apart: bool = False

    def __call__(self, module: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Inputs and labels of both domains (B + M,) to the loss and logits (B + M, C), the source domain's first."""
        inputs, labels = batch
        mine = labels >= 0
        if self.apart:
            Xs, Zs = self._through(module, inputs[mine])
            Xt, Zt = self._through(module, inputs[~mine])
        else:
            X, Z = self._through(module, inputs)
            Xs, Zs, Xt, Zt = X[mine], Z[mine], X[~mine], Z[~mine]
        guessed = -2 - labels[~mine]
        known = torch.cat([Zs, Zt[guessed >= 0]]), torch.cat([labels[mine], guessed[guessed >= 0]])
        both = Both(Xs, Xt, Zs, Zt, labels[mine], float(module.taken) / max(1, self.total))
        with torch.autocast(inputs.device.type, enabled=False):  # distances of near equals need every digit
            loss = self.task.loss(*known) + align.ramp(both.progress) * self.discrepancy(module, both)
        if module.training:
            module.taken += 1
        return {"loss": loss, "output": torch.cat([Zs, Zt])}

    def _through(self, module: Any, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = module(inputs)
        X = self.seen.given
        assert X is not None
        return (X.float(), logits.float()) if logits.dtype == torch.bfloat16 else (X, logits)


@dataclass(frozen=True)
class Informed:
    """SHOT (Liang et al. 2020, equation 7): minus the mutual information, and `trust` times the pseudo-labels' loss.

    Args:
        trust: in the labels.
    """

    trust: float = 0.3

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Target inputs and pseudo-labels (B,) to the loss and logits (B, C)."""
        output = module(batch[0])
        loss = self.trust * functional.cross_entropy(output, batch[1]) - align.information(output)
        return {"loss": loss, "output": output}


@dataclass(frozen=True)
class Sure:
    """TENT (Wang et al. 2021): the mean entropy of predictions."""

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """Target inputs to the loss and logits (B, C); labels are not looked at."""
        output = module(batch[0])
        return {"loss": align.entropy(output), "output": output}


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Whatever the modes of the layers become, they are as before afterwards."""
    modes = {name: child.training for name, child in module.named_modules()}
    try:
        yield
    finally:
        for name, child in module.named_modules():
            child.training = modes[name]


def said(module: Any, batches: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, D) and logits (N, C) of everything in order, in evaluation mode; the modes stay as they are.

    Args:
        module: with a `head`.
        batches: N examples.
    """
    features, logits = [], []
    with modes_kept(module), watched([module.head]) as (seen,), torch.inference_mode():
        module.eval()
        for inputs, _ in batches.evaluation():
            logits.append(module(inputs).float().cpu())
            assert seen.given is not None
            features.append(seen.given.float().cpu())
    return torch.cat(features), torch.cat(logits)


def surest(logits: torch.Tensor, share: float) -> Labels:
    """Of each predicted class the surest `share` are given it as their label, one at least; others `UNLABELLED`.

    Args:
        logits: (N, C).
        share: 0 to 1.

    Returns:
        (N,) int64.
    """
    sure, guessed = functional.softmax(logits, dim=1).max(dim=1)
    labels = np.full(len(logits), UNLABELLED, dtype=np.int64)
    for c in torch.unique(guessed).tolist():
        rows = torch.nonzero(guessed == c)[:, 0]
        order = torch.argsort(sure[rows], descending=True, stable=True)
        labels[rows[order][: max(1, round(share * len(rows)))].numpy()] = c
    return labels


def renormalise(module: nn.Module, batches: Batches) -> None:
    """Give batch norm the statistics of a domain (AdaBN, Li et al. 2018): the means over its batches.

    Layers see batches that the layers before them scaled by the batch's own statistics. A network without batch norm
    stays as it is, and so do the modes.

    Args:
        module: in place.
        batches: of the domain; drawn always the same.
    """
    from torch.optim.swa_utils import update_bn

    with modes_kept(module), torch.no_grad():
        update_bn([inputs for inputs, _ in batches.training(0)], module)
