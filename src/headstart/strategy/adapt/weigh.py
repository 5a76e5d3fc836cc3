"""weigh: several source domains, each counting for as much as it should on this target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from headstart.domains import several
from headstart.errors import TrialError
from headstart.score.ridge import one_hot, standardise
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt, Needs
from headstart.strategy.pair import on_raw, weighted
from headstart.strategy.shallow import Domains, Fitted, OnFeatures, corrected_by


@dataclass(frozen=True)
class Weigh(OnFeatures):
    """A weighted ridge over all source domains (Mansour et al. 2009, with one classifier for the mixture).

    Args:
        by: what a domain's weight follows from; see :mod:`headstart.domains.several`. `equal`: small domains count as
            much as large ones, where source-only counts examples.
    """

    name: ClassVar[str] = "weigh"
    needs: ClassVar[Needs] = Needs(pretrained=True, modalities=("image", "text"), unlabelled=True, domains=True)

    by: Literal["equal", "discrepancy", "validators"] = "discrepancy"

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Every way to weigh."""
        return [cls("discrepancy"), cls("validators"), cls("equal")]

    def fit(self, domains: Domains) -> Fitted:
        """The weights, then the ridge.

        Raises:
            TrialError: there is one source domain.
        """
        Xs, ys, Xt, origin = domains.Xs, domains.ys, domains.Xt, domains.origin
        if origin is None:
            raise TrialError(f"{self.name} needs several source domains")
        if self.by == "equal":
            weights = several.equal(origin)
        elif self.by == "discrepancy":
            weights = several.by_discrepancy(Xs, origin, Xt, seed=domains.seed)
        else:
            weights = several.by_validators(Xs, ys, origin, Xt, domains.classes)
        mean, scale = standardise(Xs)
        ratio = several.of_examples(weights, origin)
        found = weighted((Xs - mean) / scale, one_hot(ys, domains.classes), ratio)
        head = on_raw(found.as_logits(ys), mean, scale)
        fitted = Fitted(head) if domains.few is None else corrected_by(head, domains)
        said = {"domain_weights": [round(float(w), 6) for w in weights]}
        return replace(fitted, said=fitted.said | said)
