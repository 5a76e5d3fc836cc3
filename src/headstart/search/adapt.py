"""Domain adaptation: every way is tried, validators that see no target label choose, and source-only is the guard.

The loop, the ledger, the judge and the shipping are those of :mod:`headstart.search.run`. The two sides of the evidence
are an adapted route (transfer) and source-only (baseline); the sealed test is the target's labels, where it has any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from headstart import files, profile
from headstart import source as sources
from headstart import strategy as strategies
from headstart.domains.align import directions
from headstart.domains.validate import Agreement, Seen, agreement, guarded
from headstart.domains.weights import discriminator
from headstart.errors import OptionError, Problem, RunError, TargetError, unknown
from headstart.judge.evidence import Evidence
from headstart.search.assemble import finalists
from headstart.search.listener import Listener
from headstart.search.options import Options
from headstart.search.plan import Setting, Speed, settings
from headstart.search.precision import settled
from headstart.search.run import MODEL, Runner
from headstart.strategy import Pinned
from headstart.strategy.adapt.source_only import SourceOnly
from headstart.target.assemble import IMBALANCED
from headstart.target.domain import FEWEST, Domain, shared
from headstart.target.hygiene import Hygiene
from headstart.target.seal import Seal
from headstart.target.target import Episode, Target
from headstart.target.view import Examples, TrainView
from headstart.trial import Result

ADAPTATION = "adaptation.json"
EPISODE = "target"
WIDTH = 128
"""Validators look at so many principal components of both domains at most."""
RESERVE = 0.3
"""Share of the budget kept for validators, finalists and saving."""


@dataclass(frozen=True)
class Choice:
    """What was chosen without a label of the target, and why.

    Args:
        source_domain: its name.
        target_domain: its name.
        examples: labelled source examples, and target examples.
        target_labels: how the target's labels were used: `none`, or `sealed` for the test after the choice.
        shipped: the route, in words.
        reason: why, in a sentence.
        names: route -> (strategy, parameters).
        agreement: what the validators said; see :class:`headstart.domains.validate.Agreement`.
    """

    source_domain: str
    target_domain: str
    examples: tuple[int, int]
    target_labels: str
    shipped: str
    reason: str
    names: dict[str, tuple[str, dict[str, Any]]]
    agreement: Agreement

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: every field."""
        return asdict(self)


@dataclass(frozen=True)
class Adapted:
    """A finished adaptation: the choice, and the evidence where the target had labels to judge it by."""

    choice: Choice
    evidence: Evidence | None
    folder: Path


@dataclass(frozen=True)
class AdaptOptions(Options):
    """What an adaptation may do: as :class:`Options`, with strategies of `ADAPTATIONS`; source-only is always tried."""

    def settings(self, modality: str = "image", wordless: Sequence[str] = ()) -> list[Setting]:
        """Source-only and every adaptation that is allowed, on one pretrained source."""
        if len(self.sources) > 1:
            raise OptionError(Problem(f"{len(self.sources)} sources", "one pretrained source for both domains"))
        cards = sources.cards(self.sources or sources.bundled_names(modality)[:1])
        wrong = [name for name in self.strategies if name not in strategies.ADAPTATIONS]
        if wrong:
            raise OptionError([unknown("way of adaptation", name, strategies.ADAPTATIONS) for name in wrong])
        names = dict.fromkeys((SourceOnly.name, *(self.strategies or strategies.ADAPTATIONS)))
        found = settings(cards, [Pinned(strategies.ADAPTATIONS[name]) for name in names], modality)
        if len(found) < 2:
            raise OptionError(
                Problem(f"nothing to adapt with on {cards[0].name}", "a pretrained source for " + modality)
            )
        return found

    def kinds(self) -> list[Pinned]:
        """The strategies that may be tried."""
        return [Pinned(strategies.ADAPTATIONS[name]) for name in self.strategies or strategies.ADAPTATIONS]

    def left_out(self) -> str:
        """Nothing that a reader must know of."""
        return ""


def adapt(
    source: Domain, target: Domain, folder: Path, options: AdaptOptions, listener: Listener | None = None
) -> Adapted:
    """Adapt from a labelled source domain to a target domain, choose without target labels, and ship what is safe.

    Every route sees the source's labels and the target's inputs. Labels that the target has are sealed: they are opened
    once, after the choice, to judge it. The test is on the very inputs that were adapted to.

    Args:
        source: the domain with labels.
        target: the other one.
        folder: the run's directory; resumed if it holds this run.
        options: what may be done.
        listener: hears what happens.

    Raises:
        TargetError: the source has too few labels, or the two domains do not fit.
        RunError: the folder holds another run, is in use, or cannot be written.
    """
    made, sealed = as_target(source, target)
    return _Adapter(made, sealed, source, target, folder, options, listener or Listener()).adapt()


def as_target(source: Domain, target: Domain) -> tuple[Target, bool]:
    """Both domains as one target: source labels to learn from, target inputs unlabelled, target labels sealed.

    Returns:
        The target, and whether it has labels to judge by. Without, what is sealed is the inputs alone.
    """
    classes = source.classes
    problems = []
    if source.modality != target.modality:
        problems.append(
            Problem(f"{source.name} is {source.modality}, {target.name} is {target.modality}", "one modality")
        )
    codes = source.codes(classes)
    counts = np.bincount(codes[codes >= 0], minlength=len(classes))
    if len(classes) < 2 or (len(counts) and counts.min() < 2):
        problems.append(
            Problem(f"{source.name} has labels of {len(classes)} classes", "two examples of two classes at least")
        )
    if len(target) < FEWEST:
        problems.append(Problem(f"{target.name} has {len(target)} examples", f"at least {FEWEST} to adapt to"))
    if problems:
        raise TargetError(problems)
    rows = np.flatnonzero(codes >= 0)
    metric = "balanced_accuracy" if counts.max() / counts.min() >= IMBALANCED else "accuracy"
    view = TrainView(Examples(source.inputs.take(rows), codes[rows]), classes, metric, unlabelled=target.inputs)
    truth = target.codes(classes)
    known = np.flatnonzero(truth >= 0)
    sealed = len(known) >= FEWEST and len(np.unique(truth[known])) > 1
    seal = Seal(target.inputs.take(known), truth[known]) if sealed else Seal(target.inputs, truth)
    said = []
    strangers = target.labelled - len(known)
    if strangers:
        said.append(
            f"{strangers} target examples are of classes that {source.name} lacks: every route is wrong on them."
        )
    if common := shared(source, target):
        said.append(f"{common} examples stand in both domains: the test is too easy by as many.")
    said.append("Validation scores are on held-out source examples: they chose nothing, the validators did.")
    if sealed:
        said.append("The sealed target examples are those that were adapted to, without their labels.")
    hygiene = Hygiene(
        unreadable=(*source.unreadable, *target.unreadable),
        ignored=(),
        unlabelled=(),
        exact_duplicates=(),
        near_duplicates=(),
        across_splits=(),
        duplicates_were="reported",
        conflicting=(),
        counts={
            name: {"train": int(counts[c]), "validation": 0, "test": int((truth == c).sum()) if sealed else 0}
            for c, name in enumerate(classes)
        },
        imbalance=float(counts.max() / counts.min()),
        warnings=tuple(said),
    )
    name = f"{source.name} to {target.name}"
    episode = Episode(EPISODE, view, seal)
    return Target(name, source.modality, classes, metric, "given", (episode,), view, hygiene), sealed


class _Adapter(Runner):
    def __init__(
        self,
        made: Target,
        sealed: bool,
        source: Domain,
        target: Domain,
        folder: Path,
        options: AdaptOptions,
        listener: Listener,
    ) -> None:
        super().__init__(made, folder, options, listener)
        self.sealed, self.domains = sealed, (source, target)

    def adapt(self) -> Adapted:
        with self._opened() as meter:
            episode = self.target.episodes[0]
            choice = self._choose(episode, self._candidates(episode))
            self._finalists(episode, choice)
            files.write_json(self.folder / ADAPTATION, choice.to_json())
            evidence = None
            if self.sealed:
                evidence, _ = self._judge([episode], meter)
            else:
                self._ship_unproven(choice)
            return Adapted(choice, evidence, self.folder)

    def _candidates(self, episode: Episode) -> dict[str, tuple[Setting, Result, Result]]:
        """Every route's held-out source predictions, and its target predictions, as far as time allows."""
        found: dict[str, tuple[Setting, Result, Result]] = {}
        for setting in sorted(self.settings, key=self._order):
            held, asked = (setting.spec(EPISODE, phase, 0) for phase in ("search", "candidate"))
            predicted = self._seconds(setting)
            # Should it be chosen, it is trained once more.
            kept = max(RESERVE * (self.options.budget.seconds or 0.0), predicted)
            late = self._left() - 2 * predicted < kept
            for spec in (held, asked):
                if spec.key not in self.ledger.results and (setting.side == "baseline" or not late):
                    self._execute(spec, episode, predicted)
            pair = [self.ledger.results.get(spec.key) for spec in (held, asked)]
            if all(result is not None and result.status == "ok" for result in pair):
                found[_called(setting)] = (setting, pair[0], pair[1])  # type: ignore[assignment]
        if SourceOnly.name not in found:
            raise RunError(Problem("source-only failed", "a source model to compare with", "headstart check SOURCE"))
        return found

    def _order(self, setting: Setting) -> tuple[bool, bool, float]:
        """Source-only first, then the shallow ways, each with its first setting; then the deep ones, cheapest first."""
        deep = setting.strategy.needs.cuts
        return setting.side != "baseline", deep, self._seconds(setting) if deep else setting.rank

    def _seconds(self, setting: Setting) -> float:
        """Wall seconds that a trial is predicted to take, with the values at a cut if it is the first to need them."""
        card, counts = setting.card, [len(domain) for domain in self.domains]
        done = list(self.ledger.results.values())
        speed = Speed(done, self.settings, self._rate(), max(counts))
        own = setting.strategy.seconds(card, max(counts), len(self.target.classes), speed.rate)
        frozen = setting.strategy.frozen(card)
        if frozen >= card.flops:
            frozen -= card.flops  # source-only has brought the pooled features
        if any(strategies.find(result.spec.strategy).needs.cuts for result in done):
            frozen = 0.0
        return own * speed.factor(setting.strategy.name) + sum(counts) * frozen / speed.rate

    def _choose(self, episode: Episode, routes: dict[str, tuple[Setting, Result, Result]]) -> Choice:
        """Ask the validators. They see source labels and target inputs, and never a label of the target."""
        card = self.settings[0].card
        precision = settled(self.ledger, card.name, episode, self.options, self.target.metric, self._bench())
        bench = self._bench(precision)
        body = bench.body(sources.find(card.name))
        _, held = episode.view.fold_index(0)
        X, Z = (bench.features(body, part, card.short) for part in (episode.view.examples.inputs, episode.seal.inputs))
        with threadpool_limits(1, user_api="blas"), profile.phase("judge"):
            weights = discriminator(X, Z, seed=self.options.seed)[held]
            Xs, Xt = _narrow(X[held], Z)
            weights = weights / max(float(weights.mean()), 1e-12)
            seen = {}
            for name, (_, one, two) in routes.items():
                assert one.log_probabilities is not None
                assert one.labels is not None
                assert two.log_probabilities is not None
                seen[name] = Seen(one.log_probabilities, one.labels, weights, two.log_probabilities, Xs, Xt)
            said = agreement(seen, SourceOnly.name, seed=self.options.seed)
        shipped, reason = guarded(said, SourceOnly.name)
        choice = Choice(
            self.domains[0].name,
            self.domains[1].name,
            (len(episode.view), len(self.domains[1])),
            "sealed" if self.sealed else "none",
            shipped,
            reason,
            {name: (s.strategy.name, strategies.parameters(s.strategy)) for name, (s, _, _) in routes.items()},
            said,
        )
        if self.ledger.first("chosen") is None:  # written before the seal is opened
            side = "baseline" if shipped == SourceOnly.name else "transfer"
            self.ledger.write("chosen", side=side, route=shipped, reason=reason)
        return choice

    def _finalists(self, episode: Episode, choice: Choice) -> None:
        """One final trial of source-only, and of the adaptation that the validators rank best."""
        best = min(
            (n for n in choice.names if n != SourceOnly.name), key=lambda n: choice.agreement.rank[n], default=None
        )
        by_name = {_called(s): s for s in self.settings}
        for name in (SourceOnly.name, best):
            if name is None:
                raise RunError(Problem("no way of adaptation worked", "at least one", "see the ledger for why"))
            spec = by_name[name].spec(EPISODE, "final", 0)
            if spec.key not in self.ledger.results:
                self._execute(spec, episode, 0.0)

    def _ship_unproven(self, choice: Choice) -> None:
        """Save the chosen route where there is no label to prove it by."""
        strategy, parameters = choice.names[choice.shipped]
        side = "baseline" if strategy == SourceOnly.name else "transfer"
        chosen = finalists(self.ledger, EPISODE)[side]  # type: ignore[index]
        spec = chosen.finals[0].spec
        predictor = self._shipped(spec, side)  # type: ignore[arg-type]
        predictor.temperature = chosen.temperature()
        predictor.provenance = {
            "target": self.target.name,
            "side": side,
            "source": spec.source,
            "licence": sources.find(spec.source).card.licence,
            "strategy": strategy,
            "parameters": parameters,
            "verdict": "unproven: the target has no labels",
            "reason": choice.reason,
        }
        predictor.save(self.folder / MODEL)


def _called(setting: Setting) -> str:
    """A route's name: the strategy, and, where it is not its first setting, what differs."""
    mine = strategies.parameters(setting.strategy)
    usual = strategies.parameters(type(setting.strategy).grid(setting.card)[0])
    rest = ", ".join(f"{key} {value}" for key, value in mine.items() if value != usual[key])
    return f"{setting.strategy.name} ({rest})" if rest else setting.strategy.name


def _narrow(X: NDArray[np.float32], Z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both on the principal components of both."""
    both = np.concatenate([X, Z]).astype(np.float64)
    onto = directions(both[:: max(1, len(both) // 2000)], WIDTH)
    return (X @ onto).astype(np.float32), (Z @ onto).astype(np.float32)
