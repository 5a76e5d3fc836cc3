"""Toy sources: small networks with planted knowledge. Importing this makes `toy:detail` and `toy:pixels` findable."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart import source as sources
from headstart.budget import Budget
from headstart.errors import SourceError, TrialError, unknown
from headstart.predictor import Predictor
from headstart.source import Preprocessing, Source, SourceCard, architecture, weights
from headstart.source.network import Network
from headstart.strategy import Adapt, Bench, Needs, Side
from headstart.strategy.contract import PLAIN
from headstart.target.view import TrainView
from headstart.testing.planted import SIDE, pattern

WIDTHS = {"detail": 8, "pixels": 256}


class ToyNetwork(Network):
    """One convolution as large as the picture: (B, 3, 32, 32) to (B, D, 1, 1). It keeps timm's contract."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, width, SIDE, bias=False)
        self.num_features = self.head_hidden_size = width
        self.reset_classifier(0)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32) to (B, D, 1, 1)."""
        features: torch.Tensor = self.filters(x)
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """(B, D, 1, 1) to (B, D), and, unless `pre_logits`, to logits."""
        pooled = x.flatten(1)
        return pooled if pre_logits else self.classifier(pooled)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """One group."""
        return {"stem": r"^filters"}


class ToySource:
    """A source that was given its knowledge; see :mod:`headstart.testing.planted` for what it is good for.

    Args:
        sees: `detail`: the secret detail pattern and seven others like it; `pixels`: means of 2 x 2 pixels.

    Raises:
        SourceError: there is no such toy.
    """

    def __init__(self, sees: str = "detail") -> None:
        if sees not in WIDTHS:
            raise SourceError(unknown("toy", sees, WIDTHS))
        self.sees, width = sees, WIDTHS[sees]
        self.card = SourceCard(
            name=f"toy:{sees}",
            modality="image",
            architecture=f"toy_{sees}",
            pretraining="planted by hand",
            licence="Apache-2.0",
            origin="made in memory",
            preprocessing=Preprocessing(size=SIDE, squash=True, interpolation="bilinear"),
            parameters=width * 3 * SIDE**2,
            features=width,
            flops=2.0 * width * 3 * SIDE**2,
        )

    def revision(self) -> str:
        """Digest of the weights."""
        return _revision(self.sees)

    def module(self, seed: int = 0) -> nn.Module:
        """A fresh network with the planted filters."""
        network = architecture.build(self.card.architecture, seed)
        if self.sees == "detail":
            rng = np.random.default_rng(1)
            true = pattern("detail")
            # Moved by whole blocks, the pattern is a pattern of the same kind that nothing was planted along.
            moved = [np.roll(true, 2 * rng.integers(1, SIDE // 2, 2), axis=(0, 1)) for _ in range(WIDTHS["detail"] - 1)]
            filters = np.stack([true, *moved]) / SIDE
        else:
            filters = np.kron(np.eye(256).reshape(256, 16, 16), np.ones((1, 2, 2))) / 4
        network.load_state_dict({"filters.weight": torch.tensor(filters[:, None].repeat(3, axis=1) / 3).float()})
        return network


@functools.cache
def _revision(sees: str) -> str:
    return weights.digest(ToySource(sees).module().state_dict())


@dataclass(frozen=True)
class Failing:
    """A transfer strategy that always fails, for tests of what a run does then.

    Args:
        words: of the :class:`~headstart.errors.TrialError`.
    """

    name: ClassVar[str] = "failing"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True)

    words: str = "planted failure"

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Itself."""
        return [cls()]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """The cheapest of all, so that it is tried first."""
        return 1e-3

    def frozen(self, card: SourceCard) -> float:
        """None."""
        return 0.0

    def __call__(
        self,
        source: Source,
        view: TrainView,
        *,
        budget: Budget,
        seed: int,
        bench: Bench = PLAIN,
    ) -> Predictor:
        """Fails."""
        raise TrialError(self.words)


@contextmanager
def registered(source: Source) -> Iterator[Source]:
    """`source` findable under its card's name while the context lasts.

    Raises:
        ValueError: the kind in its name is one of headstart's own.
    """
    kind, _, rest = source.card.name.partition(":")

    def make(name: str) -> Source:
        if name == rest:
            return source
        if before is not None:
            return before(name)
        raise SourceError(unknown("source", f"{kind}:{name}", [source.card.name]))

    before = sources.register(kind, make)
    try:
        yield source
    finally:
        sources.register(kind, before)


sources.register("toy", ToySource)
for _name, _width in WIDTHS.items():
    architecture.register(f"toy_{_name}", lambda width=_width: ToyNetwork(width))  # type: ignore[misc]
