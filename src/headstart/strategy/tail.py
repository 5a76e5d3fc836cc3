"""Cuts as training meets them: the values there, from the store, and the tail that follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.errors import TrialError
from headstart.features import Augmentation, Body, CutBody, NetworkBody, View
from headstart.features.engine import MAP
from headstart.features.tokens import token_values
from headstart.source import cuts
from headstart.source.card import Preprocessing, Source, SourceCard
from headstart.strategy.contract import Bench
from headstart.target.inputs import Inputs
from headstart.target.view import Examples
from headstart.train import CutTexts, CutValues, Texts

CUT_BYTES = 2**30  # values at a cut held in memory, all views together


class Tail(nn.Module):
    """What follows a cut of a trunk, and a linear head on its pooled output."""

    def __init__(self, tail: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.tail = tail
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Values at the cut (B, C, H, W) to logits (B, C)."""
        logits: torch.Tensor = self.head(self.tail(x))
        return logits


def cut_apart(source: Source, cut: str, classes: int, seed: int, bench: Bench) -> tuple[nn.Module, Tail]:
    """A fresh network, and what follows a cut of it with a random head; the two share their weights.

    Raises:
        TrialError: the network cannot be cut there.
    """
    card = source.card
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = source.module(seed).eval().to(bench.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        traced = cuts.trace(trunk)
        if traced is None or cut not in traced.cuts:
            raise TrialError(f"{card.name} cannot be cut at {cut}")
        return trunk, Tail(traced.after(cut), card.features, classes).to(bench.device)


def cut_body(source: Source, cut: str, trunk: nn.Module, module: Tail, bench: Bench) -> CutBody:
    """The body of a network of which what follows a cut is no longer the source's."""
    card = source.card
    assert isinstance(card.preprocessing, Preprocessing)
    whole = NetworkBody(
        trunk, card.architecture, card.preprocessing, card.features, device=bench.device, stages=card.stages
    )
    return CutBody(NetworkBody.of(source, bench.device, (cut + MAP,)), module.tail, whole)


def room(card: SourceCard, cut: str, count: int, views: int = 0) -> int:
    """How many views beside the plain values of `count` pictures at a cut `CUT_BYTES` hold; `views` at most.

    Raises:
        TrialError: not even the plain ones fit.
    """
    shape = next(stage.shape for stage in card.stages if stage.name == cut)
    views = min(views, int(CUT_BYTES // max(1, count * int(np.prod(shape)) * 2)) - 1)
    if views < 0:
        raise TrialError(f"the values of {count} examples at {cut} do not fit into memory")
    return views


def cut_values(
    source: Source,
    examples: Examples,
    cut: str,
    views: int,
    bench: Bench,
    augmentation: Augmentation | None = None,
    *,
    batch: int,
    even: bool = False,
) -> CutValues:
    """The values of pictures at a cut, from the store, as batches.

    Args:
        source: gives the network.
        examples: N pictures.
        cut: name of the stage.
        views: augmented views of each; beside them they are taken as they are.
        bench: store and device.
        augmentation: of the views.
        batch: examples per batch.
        even: in training, every class comes equally often.
    """
    card, output = source.card, cut + MAP
    shape = next(stage.shape for stage in card.stages if stage.name == cut)

    def values(number: int | None) -> Any:
        changed = None if number is None or augmentation is None else View(augmentation, number)
        body = NetworkBody.of(source, bench.device, (output,), changed)
        return bench.values(body, examples.inputs, f"{card.short} to {cut}")[output]

    drawn, kind = [values(number) for number in range(views)], {"batch": batch, "device": bench.device, "even": even}
    return CutValues(drawn, values(None), shape, examples.labels, **kind)  # type: ignore[arg-type]


def plain_values(source: Source, examples: Examples, cut: str, bench: Bench, *, batch: int) -> CutValues:
    """:func:`cut_values` of pictures as they are, in memory.

    Raises:
        TrialError: they do not fit.
    """
    room(source.card, cut, len(examples))
    return cut_values(source, examples, cut, 0, bench, batch=batch)


def resumable(trunk: Any, *batches: Texts | None) -> bool:
    """Whether a text encoder can be trained from the values at a cut, and memory holds them."""
    tokens = sum(len(row) for texts in batches if texts is not None for row in texts.rows)
    return bool(trunk.resumes) and 2 * tokens * int(trunk.num_features) <= CUT_BYTES


def from_cut(source: Source, texts: Texts, examples: Examples, cut: str, bench: Bench) -> CutTexts:
    """The same batches of texts, as values at a cut, from the store."""

    def values(body: Body, inputs: Inputs) -> dict[str, Any]:
        return bench.values(body, inputs, f"{source.card.short} to {cut}")

    lengths = [len(row) for row in texts.rows]
    return CutTexts(texts, token_values(source, examples.inputs, cut, bench.device, values, lengths))
