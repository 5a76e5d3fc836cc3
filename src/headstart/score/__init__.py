"""Scores: cheap estimates of how well a source will transfer. Pure functions (features, labels) -> float.

In every score a larger value means that the source is expected to transfer better; values of different scores cannot
be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headstart.score.gbc import gbc
from headstart.score.hscore import h_score, regularised_h_score
from headstart.score.leep import leep, n_leep, nce
from headstart.score.logme import logme
from headstart.score.neighbours import knn_accuracy
from headstart.score.pactran import pactran_gaussian
from headstart.score.parc import parc
from headstart.score.ridge import linear_accuracy
from headstart.score.transrate import transrate

__all__ = [
    "SCORES",
    "Score",
    "gbc",
    "h_score",
    "knn_accuracy",
    "leep",
    "linear_accuracy",
    "logme",
    "n_leep",
    "nce",
    "pactran_gaussian",
    "parc",
    "regularised_h_score",
    "transrate",
]


@dataclass(frozen=True)
class Score:
    """A score, and when it can be used.

    Args:
        name: how it is called on the command line.
        function: (features, labels) -> float; (features, labels, probabilities) -> float where it needs those.
        closed: it needs no iterative fit, so its time is known beforehand.
        probabilities: it needs the probabilities that the source's own classifier gives.
        full_rank: it says nothing where there are no more examples than features.
    """

    name: str
    function: Callable[..., float]
    closed: bool = True
    probabilities: bool = False
    full_rank: bool = False

    def lacking(self, examples: int, width: int, *, classifier: bool = False) -> str:
        """Why it cannot be used, in words; "" when it can.

        Args:
            examples: N.
            width: D, the number of features.
            classifier: whether the source's own class probabilities are there.
        """
        if self.probabilities and not classifier:
            return "needs the class probabilities of the source's own classifier, and there is a source without one"
        if self.full_rank and examples - 1 <= width:
            return f"is the same for all features where {examples:,} examples are not more than {width + 1:,}"
        return ""


SCORES = {
    score.name: score
    for score in (
        Score("linear", linear_accuracy),
        Score("knn", knn_accuracy),
        Score("logme", logme),
        Score("h_score", h_score, full_rank=True),
        Score("regularised_h_score", regularised_h_score),
        Score("transrate", transrate),
        Score("gbc", gbc),
        Score("parc", parc),
        Score("n_leep", n_leep, closed=False),
        Score("pactran_gaussian", pactran_gaussian, closed=False),
        Score("leep", leep, probabilities=True),
        Score("nce", nce, probabilities=True),
    )
}
"""All scores by name, the one that `headstart rank` ranks by first."""
