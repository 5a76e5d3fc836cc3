"""self-train: predict the target, learn from the surest predictions, and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.pair import Pair, Sides, Taught, on_raw
from headstart.strategy.shallow import Shallow


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

    def sides(self, pair: Pair, seed: int) -> Sides:
        """Ridge on the source and the surest targets."""
        T = pair.aligned if self.aligned else pair.unaligned
        head, taught = pair.reference.head, None
        for step in range(1, self.rounds + 1):
            probabilities = pair.calibrated(head.logits(T))
            chosen = _surest(probabilities, step / self.rounds, self.sure)
            if not len(chosen):
                break
            guessed = probabilities[chosen].argmax(axis=1)
            taught = Taught(pair, chosen, guessed, target_weight=self.target_weight, aligned=self.aligned)
            if step < self.rounds:
                head = taught.quick(pair.reference.penalty)
        found = pair.plain if taught is None else taught.head()
        of_source = on_raw(found, *pair.of_source)
        return Sides(on_raw(found, *pair.of_target) if self.aligned else of_source, of_source)


def _surest(probabilities: np.ndarray, share: float, sure: float) -> np.ndarray:
    """Rows: of each predicted class the surest `share`, of probability `sure` at least."""
    guessed, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    chosen = []
    for c in np.unique(guessed):
        rows = np.flatnonzero(guessed == c)
        rows = rows[np.argsort(-confidence[rows], kind="stable")][: max(1, round(share * len(rows)))]
        chosen.append(rows[confidence[rows] >= sure])
    return np.sort(np.concatenate(chosen))
