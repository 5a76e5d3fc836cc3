"""self-train: predict the target, learn from the surest predictions, and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from headstart.domains.labels import calibrate
from headstart.source.card import SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import Adapt
from headstart.strategy.shallow import (
    Features,
    Labels,
    Shallow,
    Sides,
    both,
    each_standardised,
    one_hot,
    quick,
)


@dataclass(frozen=True)
class SelfTrain(Shallow):
    """Class-balanced self-training (Zou et al. 2018) with calibrated confidence.

    In each round a growing share of the target examples predicted to be of a class, the surest of them, and only those
    that are probably right, join the source with their predicted labels.

    Args:
        rounds: in which the share grows from one part to all.
        sure: least calibrated probability of a label that is learned from.
        aligned: both domains are standardised by their own moments first.
        target_weight: what a target example counts against a source example in the last round.
    """

    name: ClassVar[str] = "self-train"

    rounds: int = 5
    sure: float = 0.5
    aligned: bool = True
    target_weight: float = 1.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """With aligned moments and without."""
        return [cls(), cls(aligned=False)]

    def sides(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> Sides:
        """Ridge on the source and the surest targets."""
        pair = each_standardised(Xs, Xt)
        if not self.aligned:
            mean, scale = pair.of_source
            pair = replace(pair, T=((Xt - mean) / scale).astype(np.float64), of_target=pair.of_source)
        S, T = pair.S, pair.T
        reference = linear.ridge(S.astype(np.float32), ys, classes)
        calibrated = calibrate(reference.left_out, ys)
        weight, bias = reference.head.weight.astype(np.float64), reference.head.bias.astype(np.float64)
        taught = None
        for step in range(1, self.rounds + 1):
            probabilities = calibrated(T @ weight.T + bias)
            chosen = _surest(probabilities, step / self.rounds, self.sure)
            if not len(chosen):
                break
            taught = both(pair, ys, chosen, probabilities[chosen].argmax(axis=1), self.target_weight)
            if step < self.rounds:
                weight, bias = quick(taught.Z, one_hot(taught.y, classes), taught.weights, reference.penalty)
        return pair.sides(reference.as_logits(ys) if taught is None else taught.head(classes))


def _surest(probabilities: np.ndarray, share: float, sure: float) -> np.ndarray:
    """Rows: of each predicted class the surest `share`, of probability `sure` at least."""
    guessed, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    chosen = []
    for c in np.unique(guessed):
        rows = np.flatnonzero(guessed == c)
        rows = rows[np.argsort(-confidence[rows], kind="stable")][: max(1, round(share * len(rows)))]
        chosen.append(rows[confidence[rows] >= sure])
    return np.sort(np.concatenate(chosen))
