"""Penalties: what keeps a network near the source it began as. Each is added to the loss of a task.

A penalty is called after the task's forward pass, and knows what layers computed in it from :func:`watched`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from headstart.train.task import Batch, Task, as_probabilities


class Penalty(Protocol):
    """What is added to a loss."""

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """A scalar, after the forward pass of `module` on `batch`."""
        ...


@dataclass(frozen=True)
class Penalised:
    """A task, and `strength` times a penalty.

    Args:
        task: gives the loss.
        penalty: is added to it.
        strength: its factor.
    """

    task: Task
    penalty: Penalty
    strength: float

    def __call__(self, module: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        """What the task gives, with the penalty in its loss."""
        found = self.task(module, batch)
        return found | {"loss": found["loss"] + self.strength * self.penalty(module, batch)}


@dataclass
class Seen:
    """What a layer was given and what it computed in the last forward pass."""

    given: torch.Tensor | None = None
    computed: torch.Tensor | None = None

    def see(self, layer: nn.Module, given: tuple[Any, ...], computed: Any) -> None:
        """A forward hook."""
        self.given, self.computed = given[0], computed


@contextmanager
def watched(layers: Sequence[nn.Module]) -> Iterator[list[Seen]]:
    """What each of some layers was given and computed, forward pass by forward pass, until the end of the block."""
    seen = [Seen() for _ in layers]
    handles = [layer.register_forward_hook(one.see) for layer, one in zip(layers, seen, strict=True)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class L2SP:
    """The distance to the start: `1/2 |w - w0|^2` (Li, Grandvalet & Davoine 2018, equation 2).

    There, a new head is drawn to 0. Here the head begins as a fitted one, and is held to that like all the rest.

    Args:
        module: as it is before training.
    """

    def __init__(self, module: nn.Module) -> None:
        self.start = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Half the squared distance of what is trained."""
        terms = [(p - self.start[name]).square().sum() for name, p in module.named_parameters() if p.requires_grad]
        return 0.5 * torch.stack(terms).sum()


class Delta:
    """The distance of what layers compute to what the source's computed there (DELTA, Li et al. 2019, equation 5).

    The mean over examples and positions of `sum_c a_c (F_c - F0_c)^2`, and over the layers, where F is a layer's
    output, F0 the source's for the same input, and c its channel. The attention a is a softmax over the channels of how
    much the loss rises when a channel is removed (equation 6). That rise is taken to first order, `-<dL/dF_c, F_c>`
    (Molchanov et al. 2017), which costs one backward pass instead of a forward pass for every channel.

    Args:
        module: as it is before training, with a head that was fitted.
        layers: names of the layers.
        seen: what they compute, from :func:`watched`.
        task: whose loss says which channels matter.
        batches: by which they are weighed.
    """

    def __init__(
        self, module: nn.Module, layers: Sequence[str], seen: Sequence[Seen], task: Task, batches: Iterable[Batch]
    ) -> None:
        self.seen, self.layers = seen, layers
        self.channels = [_channel(module.get_submodule(name)) for name in layers]
        self.source = copy.deepcopy(module).eval().requires_grad_(False)
        for child in self.source.modules():
            child._forward_hooks.clear()
        self.attention = self._attention(module, task, batches)

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """The weighted mean squared distance."""
        with torch.no_grad(), watched([self.source.get_submodule(name) for name in self.layers]) as before:
            self.source(batch[0])
        terms = []
        for now, then, attention, channel in zip(self.seen, before, self.attention, self.channels, strict=True):
            assert now.computed is not None
            assert then.computed is not None
            square = (now.computed - then.computed).square()
            terms.append((square.transpose(0, channel).flatten(1).mean(dim=1) * attention).sum())
        return torch.stack(terms).mean()

    def _attention(self, module: nn.Module, task: Task, batches: Iterable[Batch]) -> list[torch.Tensor]:
        """(channels,) for each layer, adding up to 1."""
        modes = {name: child.training for name, child in module.named_modules()}
        module.eval()
        rises: list[torch.Tensor] = [torch.zeros(()) for _ in self.seen]
        count = 0
        for batch in batches:
            loss = task(module, batch)["loss"] * len(batch[1])
            maps = [one.computed for one in self.seen if one.computed is not None]
            for k, (f, g) in enumerate(zip(maps, torch.autograd.grad(loss, maps), strict=True)):
                rises[k] = rises[k].to(f) - (g * f).detach().transpose(0, self.channels[k]).flatten(1).sum(dim=1)
            count += len(batch[1])
        for name, child in module.named_modules():
            child.training = modes[name]
        return [functional.softmax(rise / count, dim=0) for rise in rises]


def _channel(layer: nn.Module) -> int:
    """The dimension of a layer's channels: the last where it works on vectors, the second where it works on maps."""
    return -1 if type(layer) in (nn.Linear, nn.LayerNorm) else 1


class BSS:
    """Batch spectral shrinkage (Chen et al. 2019, equation 4): the k smallest squared singular values of the features.

    Directions in which the features of a batch hardly vary are those that transfer least well.

    Args:
        seen: of the head, which is given the features (B, D).
        k: how many.
    """

    def __init__(self, seen: Seen, k: int = 1) -> None:
        self.seen, self.k = seen, k

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """The sum of the k smallest squared singular values."""
        features = self.seen.given
        assert features is not None
        features = features.float() if features.dtype == torch.bfloat16 else features  # of autocast
        # Squared singular values are eigenvalues of the smaller of the two Gram matrices, in rising order.
        gram = features @ features.T if len(features) <= features.shape[1] else features.T @ features
        values: torch.Tensor = torch.linalg.eigvalsh(gram)
        return values[: self.k].sum()


class CoTuning:
    """Co-Tuning (You et al. 2020, equation 1): the source's own head is trained too, on what its classes say of ours.

    The mean cross-entropy of the source's head to `p(source class | label)`, see :func:`relationship`.

    Args:
        seen: of the head, which is given the features (B, D).
        known: the source's head, from features to K logits.
        table: (C, K) float32, `p(source class | label)`.
    """

    def __init__(self, seen: Seen, known: nn.Module, table: NDArray[np.float32]) -> None:
        self.seen, self.known = seen, known
        self.table = torch.from_numpy(table)

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """The mean cross-entropy."""
        logits = self.known(self.seen.given)
        table = self.table.to(logits)
        return functional.cross_entropy(logits, as_probabilities(batch[1], len(table)).to(table) @ table)


def relationship(P: NDArray[np.float32], y: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """`p(source class | label)`, the reverse way of Co-Tuning (section 3.2): Bayes' rule on a fitted p(label | source).

    A logistic regression is fitted from the source's probabilities to the labels, and asked what it makes of each pure
    source class; `p(k | c)` is proportional to `p(c | k) p(k)`, with `p(k)` the mean of the source's probabilities.

    Args:
        P: (N, K) float32, the source's probabilities for the target's examples.
        y: (N,) int64.
        classes: C; one without examples gets `p(k)`.

    Returns:
        (C, K) float32; rows add up to 1.
    """
    from sklearn.linear_model import LogisticRegression

    prior = P.mean(axis=0, dtype=np.float64)
    table = np.tile(prior / prior.sum(), (classes, 1))
    if len(np.unique(y)) > 1:
        model = LogisticRegression(C=10.0, max_iter=1_000).fit(P, y)
        joint = model.predict_proba(np.eye(P.shape[1])).T * prior
        table[model.classes_] = joint / joint.sum(axis=1, keepdims=True)
    return table.astype(np.float32)
