"""coral: give the source domain the mean and the covariance of the target domain, then classify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.domains.align import coral
from headstart.predictor import LinearHead
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.shallow import Features, Labels, Shallow, classifier, each_standardised, on_raw


@dataclass(frozen=True)
class Coral(Shallow):
    """Correlation alignment (Sun, Feng & Saenko 2016).

    Args:
        ridge: is added to both covariances, in standardised units; None: means and deviations alone are aligned.
    """

    name: ClassVar[str] = "coral"

    ridge: float | None = 1.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The paper's setting, and moments alone."""
        return [cls(1.0), cls(None)]

    def head(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> LinearHead:
        """A classifier of the recoloured source."""
        S, T, mean, scale = each_standardised(Xs, Xt)
        if self.ridge is not None:
            S = S @ coral(S, T, ridge=self.ridge).source
        return on_raw(classifier(S, ys, classes), mean, scale)
