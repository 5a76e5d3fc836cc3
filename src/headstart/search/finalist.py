"""Finalists: the routes whose final trials are judged, as the ledger has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.judge.evidence import Side
from headstart.judge.intervals import mean_score
from headstart.predictor.calibration import apply_temperature, fit_temperature
from headstart.search.ledger import Ledger
from headstart.trial import Result

Probabilities = NDArray[np.float64]


def validation_score(result: Result, metric: str) -> float:
    """The primary metric on the fold that a search trial was validated on."""
    assert result.log_probabilities is not None
    assert result.labels is not None
    right = result.log_probabilities.argmax(axis=1) == result.labels
    return mean_score(right[None], result.labels, metric)


@dataclass(frozen=True)
class Finalist:
    """One side's finalist in one episode: its search results on all folds, and its final trials.

    Args:
        side: transfer or baseline.
        search: the search results of its setting; those of all few-shot draws, which choose together.
        finals: its final results, one per seed.
    """

    side: Side
    search: list[Result]
    finals: list[Result]

    def temperature(self) -> float:
        """Fitted on its validation predictions, all folds together.

        1 where it was scaled already: by what it says of labelled target examples that it had not learned from. The
        validation examples of an adaptation are the source's.
        """
        if "source_weight" in self.finals[0].said:
            return 1.0
        logits = np.concatenate([r.log_probabilities for r in self.search if r.log_probabilities is not None])
        labels = np.concatenate([r.labels for r in self.search if r.labels is not None])
        return fit_temperature(logits, labels)

    def probabilities(self, temperature: float = 1.0) -> Probabilities:
        """(S, N, C) on the sealed inputs."""
        logs = np.stack([r.log_probabilities for r in self.finals if r.log_probabilities is not None])
        return apply_temperature(np.exp(logs.astype(np.float64)).reshape(-1, logs.shape[2]), temperature).reshape(
            logs.shape
        )


def right_answers(results: Sequence[Result], truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(S, N) bool: which result is right on which sealed example."""
    return np.stack([r.log_probabilities.argmax(axis=1) == truth for r in results if r.log_probabilities is not None])


def finalists(ledger: Ledger, episode: str) -> dict[Side, Finalist]:
    """The finalists of one episode, as far as their final trials went."""
    found: dict[Side, Finalist] = {}
    sides: tuple[Side, Side] = ("transfer", "baseline")
    together = [e["name"] for e in (ledger.first("run") or {}).get("episodes", [])] if drawn(ledger) else [episode]
    able = [r for r in ledger.results.values() if r.status == "ok" and r.spec.episode in together]
    for side in sides:
        finals = [r for r in able if r.spec.phase == "final" and r.side == side]
        if not finals:
            continue
        setting = finals[-1].spec.setting  # a resumed run may have found a better leader
        search = [r for r in able if r.spec.phase == "search" and r.spec.setting == setting]
        if own := [r for r in finals if r.spec.setting == setting and r.spec.episode == episode]:
            found[side] = Finalist(side, search, own)
    return found


def drawn(ledger: Ledger) -> dict[str, Any] | None:
    """How few-shot draws were made; None: there are none."""
    found: dict[str, Any] | None = (ledger.first("run") or {}).get("shots")
    return found
