"""What training lowers: the loss on the labels, whether examples are mixed, and what holds a network to its source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headstart.errors import TrialError
from headstart.features.known import known_classes, probabilities
from headstart.source.card import NamingSource, Source, SourceCard
from headstart.strategy.contract import Bench
from headstart.target.view import Examples

if TYPE_CHECKING:
    from torch import nn

    from headstart.train import Batches, Task

Loss = Literal["cross-entropy", "focal", "class-balanced", "adjusted"]
Mix = Literal["none", "mixup", "cutmix"]
Penalty = Literal["none", "l2sp", "delta", "bss", "cotuning"]

GAMMA = 2.0  # of the focal loss: Lin et al.'s choice
ALPHAS = {"mixup": 0.2, "cutmix": 1.0}  # of the Beta distribution: each paper's choice
STRENGTHS = {"l2sp": 0.01, "delta": 0.1, "bss": 1e-3, "cotuning": 1.0}
WEIGHED = 8  # batches by which DELTA weighs channels


@dataclass(frozen=True)
class Objective:
    """What training lowers.

    Args:
        smoothing: of the labels.
        loss: `cross-entropy`; `focal`: what is easy counts less (Lin et al. 2017); `class-balanced`: rare classes count
            more (Cui et al. 2019); `adjusted`: logits are fitted as if classes were balanced (Menon et al. 2021).
        mix: `mixup` or `cutmix`: mixtures of two examples are trained on.
        penalty: what holds the network to its source: `l2sp`: its weights; `delta`: what its layers compute; `bss`: no
            direction of its features may all but vanish; `cotuning`: the source's own classes are learned beside ours.
        strength: factor of the penalty; None: the usual one.
    """

    smoothing: float = 0.1
    loss: Loss = "cross-entropy"
    mix: Mix = "none"
    penalty: Penalty = "none"
    strength: float | None = None

    def refused(self, card: SourceCard) -> list[str]:
        """Why it cannot be had with a source, in words."""
        found = []
        if self.penalty == "cotuning" and not card.known:
            found.append(f"penalty=cotuning needs a source that knows classes by name, and {card.name} does not")
        if self.penalty == "delta" and not card.stages:
            found.append(f"penalty=delta needs a network with stages, and {card.name} has none")
        if self.mix != "none" and card.modality == "text":
            found.append(f"mix={self.mix} mixes pictures, and {card.name} takes texts")
        return found

    def extend(self, module: Any, source: Source, bench: Bench) -> None:
        """Give `module` the parameters besides trunk and head that are trained: with `cotuning`, the source's head."""
        if self.penalty != "cotuning":
            return
        import torch
        from torch import nn

        assert isinstance(source, NamingSource)
        last = known_classes(source, bench.store)
        with torch.random.fork_rng(devices=[]):
            module.known = nn.Linear(last.weight.shape[1], len(last.weight))
        with torch.no_grad():
            module.known.weight.copy_(torch.from_numpy(last.weight))
            module.known.bias.copy_(torch.from_numpy(last.bias))
        module.known.to(bench.device)

    @contextmanager
    def task(
        self, module: Any, source: Source, examples: Examples, classes: int, batches: Batches, bench: Bench
    ) -> Iterator[Task]:
        """The task, for the length of a training.

        Args:
            module: with a `head`, as it is before training.
            source: what it was made from.
            examples: what is trained on.
            classes: C.
            batches: the examples as batches.
            bench: gives features.
        """
        from headstart.train import Mixed
        from headstart.train.penalty import Penalised, watched

        counts = tuple(np.bincount(examples.labels, minlength=classes).tolist())
        task: Task = self._plain(counts)
        layers = self._layers(module, source.card)
        with watched([module.get_submodule(name) for name in layers]) as seen:
            if self.penalty != "none":
                penalty = self._penalty(module, source, examples, classes, batches, bench, task, layers, seen)
                task = Penalised(task, penalty, STRENGTHS[self.penalty] if self.strength is None else self.strength)
            yield task if self.mix == "none" else Mixed(task, classes, self.mix, ALPHAS[self.mix])

    def _plain(self, counts: tuple[int, ...]) -> Task:
        """The loss on the labels."""
        from headstart.train.task import Classification, effective_weights, log_frequencies

        if self.loss == "focal":
            return Classification(self.smoothing, gamma=GAMMA)
        if self.loss == "class-balanced":
            return Classification(self.smoothing, weights=effective_weights(counts))
        if self.loss == "adjusted":
            return Classification(self.smoothing, shift=log_frequencies(counts))
        return Classification(self.smoothing)

    def _layers(self, module: Any, card: SourceCard) -> list[str]:
        """Which layers a penalty looks at."""
        if self.penalty in ("bss", "cotuning"):
            return ["head"]
        return _ends(module, card) if self.penalty == "delta" else []

    def _penalty(
        self,
        module: Any,
        source: Source,
        examples: Examples,
        classes: int,
        batches: Batches,
        bench: Bench,
        task: Task,
        layers: list[str],
        seen: list[Any],
    ) -> Any:
        from itertools import islice

        from headstart.train import penalty

        if self.penalty == "l2sp":
            return penalty.L2SP(module)
        if self.penalty == "bss":
            return penalty.BSS(seen[0])
        if self.penalty == "delta":
            return penalty.Delta(module, layers, seen, task, islice(batches.evaluation(), WEIGHED))
        # In the precision in which the store has them already.
        P = probabilities(source, bench.features(bench.body(source), examples.inputs, source.card.short), bench.store)
        assert P is not None  # it was refused otherwise
        return penalty.CoTuning(seen[0], module.known, penalty.relationship(P, examples.labels, classes))


def _ends(module: nn.Module, card: SourceCard) -> list[str]:
    """The last layer with parameters of each stage of which a module has layers, by name.

    Raises:
        TrialError: it has none of them.
    """
    found: list[str] = []
    for stage in card.stages:
        inside = re.compile(rf"(trunk|tail\.trunk)\.{re.escape(stage.name)}\.")
        layers = [
            name
            for name, child in module.named_modules()
            if inside.match(f"{name}.") and any(True for _ in child.parameters(recurse=False))
        ]
        found.extend(layers[-1:])
    if not found:
        raise TrialError(f"penalty=delta compares stages, and none of those of {card.name} is trained")
    return found
