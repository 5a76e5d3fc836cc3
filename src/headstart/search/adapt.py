"""Domain adaptation: every way is tried, validators that see no sealed label choose, and source-only is the guard.

The loop, the ledger, the judge and the shipping are those of :mod:`headstart.search.run`. The two sides of the evidence
are an adapted route (transfer) and source-only (baseline); the sealed test is the target's labels, where it has any.
Where some of the target's labels were given to learn from, target-only is a baseline too, and adaptation must beat
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import files, profile
from headstart import source as sources
from headstart import strategy as strategies
from headstart.domains import several
from headstart.domains.few import settled_by_labels
from headstart.domains.record import Change, decided, leads_of, wanted
from headstart.domains.validate import Agreement, Seen, agreement, common_ground
from headstart.errors import OptionError, Problem, RunError
from headstart.judge.evidence import Evidence
from headstart.machine import one_thread
from headstart.search.finalist import finalists
from headstart.search.listener import Listener
from headstart.search.options import Options
from headstart.search.plan import OVERHEAD
from headstart.search.precision import settled
from headstart.search.run import Runner
from headstart.search.setting import Setting, settings
from headstart.source.saved import MODEL
from headstart.strategy import Bench, Pinned
from headstart.strategy.adapt.joint import Joint
from headstart.strategy.adapt.source_only import SourceOnly
from headstart.strategy.adapt.target_only import TargetOnly
from headstart.target.adaptation import EPISODE, Adaptation, Few, as_adaptation, without
from headstart.target.domain import Domain
from headstart.target.target import Episode
from headstart.trial import Result, encode

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

ADAPTATION = "adaptation.json"
RESERVE = 0.3
"""Share of the budget kept for validators, finalists and saving."""
CURVE_DRAWS = 3
"""Draws of the target's labels at each number of them below all."""


@dataclass(frozen=True)
class Choice:
    """What was chosen without a sealed label of the target, and why.

    Args:
        source_domain: its name; those of several, joined by +.
        target_domain: its name.
        examples: labelled source examples, and target examples.
        target_labels: how the target's labels were used: `none`; `sealed` for the test after the choice; `learned`; or
            `learned and sealed`: some to learn from, the rest for the test.
        learned: target labels that were learned from.
        sealed: target labels that were sealed.
        shipped: the route, in words.
        reason: why, in a sentence.
        names: route -> (strategy, parameters).
        labelled: route -> accuracy on the labelled target examples, each left out in turn; empty without such.
        said: route -> what it found out, such as the weight of the source.
        domains: what leaving each of several source domains out told; None: there is one.
        agreement: what the validators said; see :class:`headstart.domains.validate.Agreement`.
        rival: the adaptation that may be shipped.
        change: what it changes; see :class:`headstart.domains.record.Change`. None where it has no record elsewhere.
        untried: routes that the budget had no room for, or that failed.
        intermediate: name -> examples of each domain between the two, in their order.
    """

    source_domain: str
    target_domain: str
    examples: tuple[int, int]
    target_labels: str
    learned: int
    sealed: int
    shipped: str
    reason: str
    names: dict[str, tuple[str, dict[str, Any]]]
    labelled: dict[str, float]
    said: dict[str, dict[str, Any]]
    domains: dict[str, Any] | None
    agreement: Agreement
    rival: str = ""
    change: Change | None = None
    untried: tuple[str, ...] = ()
    intermediate: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: every field."""
        return asdict(self)

    def used(self) -> str:
        """How the target's labels were used, in words."""
        return Adaptation.words(self.learned, self.sealed)

    def between(self) -> dict[str, str]:
        """Name -> words of each domain between the two: how many examples, and of how many the rival was sure."""
        steps = self.said.get(self.rival, {}).get("intermediate", [{}] * len(self.intermediate))
        sure = [f", {step['learned']:,} learned from by {self.rival}" if step else "" for step in steps]
        counts = self.intermediate.items()
        return {name: f"{count:,} examples{more}" for (name, count), more in zip(counts, sure, strict=True)}


@dataclass(frozen=True)
class Adapted:
    """A finished adaptation: the choice, and the evidence where the target had labels to judge it by."""

    choice: Choice
    evidence: Evidence | None
    folder: Path


@dataclass(frozen=True)
class AdaptOptions(Options):
    """What an adaptation may do: as :class:`Options`, with strategies of `ADAPTATIONS`; baselines are always tried.

    Args:
        few: there are labelled target examples to learn from.
        domains: there are several source domains.
        intermediate: there are domains between source and target.
    """

    few: bool = False
    domains: bool = False
    intermediate: bool = False

    def settings(self, modality: str = "image", wordless: Sequence[str] = ()) -> list[Setting]:
        """Source-only and every adaptation that is allowed, on one pretrained source."""
        if len(self.sources) > 1:
            raise OptionError(Problem(f"{len(self.sources)} sources", "one pretrained source for both domains"))
        cards = sources.cards(self.sources or sources.bundled_names(modality)[:1])
        asked = self.kinds()
        always = [Pinned(kind) for kind in strategies.ADAPTATIONS.values() if kind.side == "baseline"]
        named = {kind.name for kind in asked}
        kinds = [*(kind for kind in always if kind.name not in named), *asked]
        found = settings(cards, [kind for kind in kinds if not self._lacking(kind)], modality)
        if not any(setting.side == "transfer" for setting in found):
            why = [f"{kind.name} {lacking}" for kind in asked if (lacking := self._lacking(kind))]
            raise OptionError(
                Problem(
                    f"nothing to adapt with on {cards[0].name}" + (": " + "; ".join(why) if why else ""),
                    f"a pretrained source of {modality}s, and a way of adaptation that it and the domains allow",
                    "headstart adapt --help",
                )
            )
        return found

    def _lacking(self, kind: Pinned) -> str:
        """What the domains lack that a strategy needs, in words; "" where it can be tried."""
        if kind.needs.few and not self.few:
            return "needs labelled target examples (--target-labels)"
        if kind.needs.intermediate and not self.intermediate:
            return "needs domains between source and target (--intermediate)"
        return "needs several source domains" if kind.needs.domains and not self.domains else ""

    def kinds(self) -> list[Pinned]:
        """The strategies that may be tried."""
        return strategies.asked(self.strategies or tuple(strategies.ADAPTATIONS), strategies.ADAPTATIONS)

    def left_out(self) -> str:
        """Nothing that a reader must know of."""
        return ""


def adapt(
    domains: Sequence[Domain],
    target: Domain,
    folder: Path,
    options: AdaptOptions,
    listener: Listener | None = None,
    *,
    few: Few = None,
    intermediate: Sequence[Domain] = (),
) -> Adapted:
    """Adapt from labelled source domains to a target domain, choose without sealed labels, and ship what is safe.

    Every route sees the sources' labels and the target's inputs. Labels of the target that were not given to learn from
    are sealed: they are opened once, after the choice, to judge it. The test is on the inputs that were adapted to.

    Args:
        domains: the domains with labels. Of several, one that does harm is dropped.
        target: the other one.
        folder: the run's directory; resumed if it holds this run.
        options: what may be done.
        listener: hears what happens.
        few: how many of the target's labels of each class are learned from.
        intermediate: domains between source and target, the one nearest to the source first; no label of them is used.

    Raises:
        TargetError: a source has too few labels, or the domains do not fit.
        RunError: the folder holds another run, is in use, or cannot be written.
    """
    made = as_adaptation(domains, target, few, intermediate=intermediate, seed=options.seed)
    options = replace(options, few=made.learned > 0, domains=len(domains) > 1, intermediate=bool(intermediate))
    return _Adapter(made, target, folder, options, listener or Listener()).adapt()


class _Adapter(Runner):
    def __init__(
        self, made: Adaptation, target: Domain, folder: Path, options: AdaptOptions, listener: Listener
    ) -> None:
        super().__init__(made.target, folder, options, listener)
        self.made, self.other = made, target
        self.leads = leads_of(made.target.modality, intermediate=bool(made.intermediate))
        self.wanted = wanted(map(called, self.settings), leads=self.leads)  # the ways with a record that may be shipped

    def adapt(self) -> Adapted:
        with self._opened() as meter:
            episode = self._screened(self.made.episode)
            routes = self._candidates(episode)
            choice, rivals = self._choose(episode, routes)
            self._finalists(episode, rivals)
            if self.made.sealed:
                self._curve(episode, rivals)
            files.write_json(self.folder / ADAPTATION, choice.to_json())
            evidence = None
            if self.made.sealed:
                evidence, _ = self._judge([episode], meter)
            else:
                self._ship_unproven(choice)
            return Adapted(choice, evidence, self.folder)

    def _limited(self) -> list[Episode]:
        return [self._screened(self.made.episode)]

    # -- several source domains ---------------------------------------------------------------------------------

    def _screened(self, episode: Episode) -> Episode:
        """The episode without the source domains that do harm, on the record."""
        origin = episode.view.examples.origin
        if origin is None:
            return episode
        names = [part.name for part in self.made.sources]
        event = self.ledger.first("domains")
        if event is None:
            X, Z, few, _ = self._features(episode)
            self.listener.progress("source domains", 0, 1)
            with one_thread(), profile.phase("judge"):
                found = several.screened(
                    X,
                    episode.view.examples.labels,
                    origin,
                    Z,
                    names,
                    len(self.target.classes),
                    few,
                    seed=self.options.seed,
                )
            event = asdict(found)
            asked = event.pop("asked")
            if self.made.sealed:  # judge tells what each really gave
                event["asked"] = {name: encode(logs.astype(np.float32)) for name, logs in asked.items()}
            event["names"] = names
            self.ledger.write("domains", **event)
        dropped = [names.index(name) for name in event["dropped"]]
        return replace(episode, view=without(episode.view, dropped))

    def _features(self, episode: Episode) -> tuple[Features, Features, tuple[Features, Labels] | None, Bench]:
        """Of the source examples, of the target examples that are predicted, and of the labelled target examples."""
        card = self.settings[0].card
        precision = settled(self.ledger, card.name, episode, self.options, self.target.metric, self._bench())
        bench = self._bench(precision)
        body = bench.body(sources.find(card.name))
        X, Z = (bench.features(body, part, card.short) for part in (episode.view.examples.inputs, episode.seal.inputs))
        few = episode.view.few
        return X, Z, None if few is None else (bench.features(body, few.inputs, card.short), few.labels), bench

    # -- the routes and the choice ------------------------------------------------------------------------------

    def _candidates(self, episode: Episode) -> dict[str, tuple[Setting, Result, Result]]:
        """Every route's held-out source predictions, and its target predictions, as far as time allows.

        Baselines first, then the shallow ways, each with its first setting; then the deep ones: the one with the best
        record, if any has one, and the others, cheapest first.
        """
        found: dict[str, tuple[Setting, Result, Result]] = {}
        able = self._able(episode)
        deep = [setting for setting in able if setting.strategy.needs.cuts]
        for setting in sorted((s for s in able if s not in deep), key=lambda s: (s.side != "baseline", s.rank)):
            self._candidate(setting, episode, found)
        # Only now is this machine's speed known.
        for setting in sorted(deep, key=lambda s: (called(s) not in self.wanted, self._seconds(s, episode))):
            self._candidate(setting, episode, found)
        if SourceOnly.name not in found:
            raise RunError(Problem("source-only failed", "a source model to compare with", "headstart check SOURCE"))
        return found

    def _candidate(self, setting: Setting, episode: Episode, found: dict[str, tuple[Setting, Result, Result]]) -> None:
        """Try one setting, if there is time, and add it to what was found where it worked."""
        held, asked = (setting.spec(EPISODE, phase, 0) for phase in ("search", "candidate"))
        predicted = self._seconds(setting, episode)
        # Should it be chosen, it is trained once more.
        kept = max(RESERVE * (self.options.budget.seconds or 0.0), predicted)
        late = self._left() - 2 * predicted < kept
        # Without a way with a record there would be nothing to ship; a shallow one takes a second or two.
        needed = setting.side == "baseline" or (called(setting) in self.wanted and not setting.strategy.needs.cuts)
        for spec in (held, asked):
            if spec.key not in self.ledger.results and (needed or not late):
                self._execute(spec, episode, predicted)
        pair = [self.ledger.results.get(spec.key) for spec in (held, asked)]
        if all(result is not None and result.status == "ok" for result in pair):
            found[called(setting)] = (setting, pair[0], pair[1])  # type: ignore[assignment]

    def _seconds(self, setting: Setting, episode: Episode) -> float:
        """Wall seconds that a trial is predicted to take, with the values at a cut if it is the first to need them."""
        return self._plan([episode]).seconds(self._results([episode])[0]).final(setting, episode.name)

    def _able(self, episode: Episode) -> list[Setting]:
        """The settings, without those that weigh source domains where all but one were dropped."""
        one = episode.view.examples.origin is None
        return [s for s in self.settings if not (one and s.strategy.needs.domains)]

    def _choose(
        self, episode: Episode, routes: dict[str, tuple[Setting, Result, Result]]
    ) -> tuple[Choice, tuple[str, str]]:
        """Ask the validators, which see no sealed label; the choice, and the names of the baseline and its rival."""
        said, seen = self._asked(episode, routes)
        ranked = sorted(routes, key=lambda name: said.rank[name])
        adapted = [name for name in ranked if routes[name][0].side == "transfer"]
        if not adapted:
            raise RunError(
                Problem("no way of adaptation worked", "at least one", "a longer --budget, or see the ledger for why")
            )
        found = decided(said, seen, SourceOnly.name, adapted, leads=self.leads)
        baseline, rival, shipped, reason, labelled = SourceOnly.name, found.rival, found.shipped, found.reason, {}
        if (few := episode.view.few) is not None:
            right = {name: _right(two, few.labels) for name, (_, _, two) in routes.items()}
            labelled = {name: float(each.mean()) for name, each in right.items()}
            baselines = [name for name in (SourceOnly.name, TargetOnly.name) if name in routes]
            ordered = [rival, *(name for name in adapted if name != rival)]
            told = settled_by_labels(right, baselines, ordered, agreed=shipped if shipped in adapted else "")
            baseline, rival, shipped, reason = told.baseline, told.rival, told.shipped, told.reason
        used = " and ".join(
            word for word, count in (("learned", self.made.learned), ("sealed", self.made.sealed)) if count
        )
        choice = Choice(
            self._named(episode),
            self.other.name,
            (len(episode.view), len(self.other)),
            used or "none",
            self.made.learned,
            self.made.sealed,
            shipped,
            reason,
            {name: (s.strategy.name, strategies.parameters(s.strategy)) for name, (s, _, _) in routes.items()},
            labelled,
            {name: two.said for name, (_, _, two) in routes.items() if two.said},
            self._domains(),
            said,
            rival,
            found.change,
            tuple(name for name in map(called, self._able(episode)) if name not in routes),
            {part.name: len(part) for part in self.made.intermediate},
        )
        if self.ledger.first("chosen") is None:  # written before the seal is opened
            self.ledger.write(
                "chosen",
                side="baseline" if shipped == baseline else "transfer",
                route=shipped,
                reason=reason,
                learned=self.made.learned,
                each=0 if few is None else int(np.bincount(few.labels).max()),
                used=choice.used(),
                routes={name: two.spec.key for name, (_, _, two) in routes.items()},
                labelled=labelled,
            )
        return choice, (baseline, rival)

    def _asked(
        self, episode: Episode, routes: dict[str, tuple[Setting, Result, Result]]
    ) -> tuple[Agreement, dict[str, Seen]]:
        """What validators say, and what they saw: source labels and target inputs."""
        _, held = episode.view.fold_index(0)
        X, Z, _, _ = self._features(episode)
        with one_thread(), profile.phase("judge"):
            ground = common_ground(X, Z, held, seed=self.options.seed)
            seen = {}
            for name, (_, one, two) in routes.items():
                assert one.log_probabilities is not None
                assert one.labels is not None
                assert two.log_probabilities is not None
                seen[name] = Seen(
                    one.log_probabilities, one.labels, ground.weights, two.log_probabilities, ground.Xs, ground.Xt
                )
            return agreement(seen, SourceOnly.name, apart=ground.apart, seed=self.options.seed), seen

    def _named(self, episode: Episode) -> str:
        event = self.ledger.first("domains")
        dropped = event["dropped"] if event is not None else []
        return " + ".join(part.name for part in self.made.sources if part.name not in dropped)

    def _domains(self) -> dict[str, Any] | None:
        event = self.ledger.first("domains")
        return None if event is None else {k: v for k, v in event.items() if k not in ("event", "asked")}

    def _finalists(self, episode: Episode, rivals: tuple[str, str]) -> None:
        """One final trial of the baseline, and of the adaptation that may be shipped instead."""
        by_name = {called(s): s for s in self.settings}
        for name in rivals:
            spec = by_name[name].spec(EPISODE, "final", 0)
            if spec.key not in self.ledger.results:
                self._execute(spec, episode, None)

    def _curve(self, episode: Episode, rivals: tuple[str, str]) -> None:
        """Fewer target labels: for target labels alone, for the joint, and for the adaptation that may be shipped."""
        if episode.view.few is None:
            return
        most = int(np.bincount(episode.view.few.labels).max())
        numbers = [2**power for power in range(most.bit_length()) if 2**power < most]
        by_name = {called(s): s for s in self.settings}
        names = list(dict.fromkeys((TargetOnly.name, rivals[1], Joint.name)))
        asked = [(0, 0, rivals[1])] if rivals[1] != Joint.name else []
        asked += [(each, draw, name) for draw in range(CURVE_DRAWS) for each in numbers for name in names]
        for each, draw, name in asked:
            if name not in by_name or self._left() < OVERHEAD:
                continue
            spec = by_name[name].spec(EPISODE, "label curve", draw, each)
            if spec.key not in self.ledger.results:
                self._execute(spec, episode, None)

    def _ship_unproven(self, choice: Choice) -> None:
        """Save the chosen route where there is no label to prove it by."""
        strategy, parameters = choice.names[choice.shipped]
        side = strategies.find(strategy).side
        chosen = finalists(self.ledger, EPISODE)[side]
        spec = chosen.finals[0].spec
        predictor = self._shipped(spec, side)
        predictor.temperature = chosen.temperature()
        predictor.provenance |= {
            "target": self.target.name,
            "side": side,
            "source": spec.source,
            "licence": sources.find(spec.source).card.licence,
            "strategy": strategy,
            "parameters": parameters,
            "verdict": "unproven: the target has no labels" + (" but those learned from" if choice.learned else ""),
            "target_labels": choice.used(),
            "reason": choice.reason,
        }
        predictor.save(self.folder / MODEL)


def called(setting: Setting) -> str:
    """A route's name: the strategy, and, where it is not its first setting, what differs."""
    mine = strategies.parameters(setting.strategy)
    usual = strategies.parameters(type(setting.strategy).grid(setting.card)[0])
    rest = ", ".join(f"{key} {value}" for key, value in mine.items() if value != usual[key])
    return f"{setting.strategy.name} ({rest})" if rest else setting.strategy.name


def _right(result: Result, labels: Labels) -> NDArray[np.bool_]:
    """(n,) whether each labelled target example is predicted right by a model that has not learned from it."""
    assert result.few is not None
    return np.asarray(result.few.argmax(axis=1) == labels)
