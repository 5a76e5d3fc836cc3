"""The plan: given what the ledger holds and what is left of the budget, which trial comes next.

It is a pure ask: the same ledger and the same seconds left give the same answer, so a run resumes where it was. When
trials are counted instead of seconds, nothing depends on the clock: two runs with one seed are the same run.

1. *Explore*, cheapest first, on the first fold: every source with every strategy that it can serve (where its first
   setting fails, its next), and the other settings of the two pairs of each side that stand best so far. Those that
   train a network for long are first tried on a quarter of the labels (:mod:`headstart.search.halving`).
2. *Confirm*: the leader of each side is validated on all five folds, and so is whoever overtakes it. What takes no time
   is validated before anything dear is explored. Of what is dear every strategy is tried once; then what is less than a
   standard error behind is validated before anything else is tried. A setting that is behind by more than the noise has
   no more folds.
3. *Final*: both leaders are trained on all training labels with five seeds and predict the sealed inputs.
4. *Label curve*: both leaders again with an eighth, a quarter and a half of the labels, with three seeds where that
   takes no time, and two where it does. Each seed draws labels of its own.

Few-shot draws are one plan together: draws stand where folds and seeds stand above. A search trial learns from one draw
and is validated on the labels that no draw learns from, and both leaders are trained once on each draw.

In 1 and 2 the side that has spent fewer seconds on tuning is next (features, which all trials share, are not tuning),
or, when trials are counted, the one with fewer trials. So neither is ever ahead by more than one trial's cost while the
other has something left to try that fits.

The search ends with the budget, or when nothing is left to gain: a side's leader makes next to no mistake in
validation. Then pairs that train no network, and baselines, are still tried once each, and the other side catches up in
seconds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from statistics import mean, median
from typing import Any

from headstart.search import halving
from headstart.search.choice import group, nested
from headstart.search.seconds import NOTHING, Known, Seconds, Sizes
from headstart.search.setting import Setting, Standing
from headstart.strategy import Side
from headstart.target.view import FOLDS
from headstart.trial import Phase, Result, Spec

SIDES: tuple[Side, Side] = ("baseline", "transfer")
SEEDS = 5
PROVING = 3  # final trials of each side that are kept room for; of few-shot draws, all of them
SHARES = (0.125, 0.25, 0.5)  # of the labels, for the label curve
DRAWS, FREE_DRAWS = 2, 3  # of labels; more where a trial takes no time; one would not tell luck from labels
FREE = 0.5  # seconds that are not worth asking about
UNEVEN = 0.1  # of what the other side has spent on tuning, that a side may spend whatever is left
OVERHEAD = 4.0  # seconds kept for judging, saving and the report
CONFIRMED = 3  # settings of a side, the best, that are validated on further folds whatever that takes
NOISE = 3.0  # standard errors of a difference beyond which a setting is behind; many are compared on a fold
GAIN, MISTAKES = 0.01, 4  # so little left to gain is nothing: a perfect rival of four mistakes is within the noise


class Plan:
    """Asks for the next trial of one episode, or of few-shot draws, which choose their routes together.

    Args:
        episodes: its name; or the names of the draws, one for each seed.
        settings: what may be tried.
        examples: labelled examples in the view.
        training: those of them a final trial trains on.
        sealed: sealed inputs that a final trial predicts.
        classes: number of classes.
        trials: at most this many search trials; None: as many as time allows.
        seeds: final trials of each side.
        folds: validation folds there are (1 when the user gave a validation split).
        label_curve: whether to ask what fewer labels would have given.
        rate: operations per second to count with before any were measured; None: see :class:`Seconds`.
        known: of this machine before the run.
        others: results of the run's other episodes, which share features.
        rehearsed: the results are imagined, so that nothing can be learned from what they took.
    """

    def __init__(
        self,
        episodes: Sequence[str],
        settings: Sequence[Setting],
        *,
        examples: int,
        training: int,
        sealed: int,
        classes: int,
        trials: int | None = None,
        seeds: int = SEEDS,
        folds: int = FOLDS,
        label_curve: bool = True,
        rate: float | None = None,
        known: Known = NOTHING,
        others: Sequence[Result] = (),
        rehearsed: bool = False,
        intermediate: int = 0,
    ) -> None:
        self.episodes, self.settings = tuple(episodes), list(settings)
        given = training < examples  # some are for validation alone
        fitted = training if given else round(examples * (folds - 1) / folds)  # by a search trial
        self.held = examples - fitted  # what it is validated on
        self.sizes = Sizes(examples, fitted, training, sealed, classes, len(self.episodes) > 1, intermediate)
        self.trials, self.seeds, self.folds, self.label_curve = trials, seeds, folds, label_curve
        self.rate, self.known, self.others = rate, known, tuple(others)
        self.timed = trials is None and not rehearsed

    def ask(
        self, results: Sequence[Result], scores: dict[str, float], left: float, *, closed: bool = False
    ) -> tuple[Spec, float] | None:
        """The next trial and its predicted seconds; None when the plan is done.

        Args:
            results: of this episode, all phases.
            scores: validation score of each search result that succeeded, by the trial's key.
            left: seconds left for this episode; infinity when only trials are counted.
            closed: the search is over and final trials have begun.
        """
        seconds = self.seconds(results)
        standings = self.standings(results, scores)
        if not closed and (spec := self._search(results, standings, seconds, left)):
            return spec
        return self._final(results, standings, seconds, left)

    def standings(self, results: Sequence[Result], scores: dict[str, float]) -> dict[str, Standing]:
        """How every setting stands, by its key, in the order of the settings."""
        table = {setting.key: Standing(setting) for setting in self.settings}
        for result in results:
            standing = table.get(result.spec.setting)
            if standing is None or not result.spec.validates:
                continue
            if result.status != "ok":
                standing.failed += 1
            elif result.spec.phase == "rung":
                standing.rung = scores[result.spec.key]
                continue
            else:
                standing.scores[result.spec.seed] = scores[result.spec.key]
            standing.seconds.append(result.own_seconds if self.trials is None else 0.0)
        return table

    def leader(self, standings: dict[str, Standing], side: Side) -> Setting | None:
        """The best setting of `side` on validation; among equals the cheaper one.

        Settings that train no network are one group, and so are those of each strategy that does. In each the best
        leads, and between groups the leaders are compared by what choosing in their group would have given (see
        :meth:`_judged`). A dozen probes are tried in the time of one fine-tuning, and the best of them was lucky.
        """
        groups: dict[str, list[Standing]] = {}
        for standing in standings.values():
            if standing.setting.side == side and standing.scores:
                groups.setdefault(group(standing.setting.strategy), []).append(standing)
        leaders = [self._judged(self._first(able), standings) for able in groups.values()]
        return self._first(leaders).setting if leaders else None

    def _first(self, able: list[Standing]) -> Standing:
        """The best of several.

        Means over different folds are not comparable, and an expensive setting may never have seen all of them. So the
        best of those with the most folds leads, unless one with fewer is ahead of it on the folds they share: at all,
        where they share two or more, and by more than the standard error of the difference, where they share one.
        """
        able = sorted(able, key=lambda s: (-len(s.scores), -s.score, median(s.seconds)))
        leader = able[0]
        for other in able[1:]:
            shared = leader.scores.keys() & other.scores.keys()
            if len(other.scores) < len(leader.scores) and shared:
                lead, error = self._lead(other, leader, shared)
                if lead > (error if len(shared) == 1 else 0.0):
                    leader = other
        return leader

    def _judged(self, standing: Standing, standings: dict[str, Standing]) -> Standing:
        """A leader, on each fold with the score of what its group would have chosen without that fold.

        Draws of few labels are all validated on the same examples, so that the others know of the luck on each; there,
        and on a single fold, the scores are the setting's own.
        """
        folds, own = standing.scores.keys(), group(standing.setting.strategy)
        if len(folds) < 2 or self._draws:
            return standing
        rivals = [s for s in standings.values() if s.setting.side == standing.setting.side and s.scores.keys() == folds]
        return replace(standing, scores=nested([s.scores for s in rivals if group(s.setting.strategy) == own]))

    def _lead(self, one: Standing, other: Standing, shared: Set[int]) -> tuple[float, float]:
        """How far one is ahead of the other on the folds they share, and the standard error of that."""
        mine, theirs = (mean(s.scores[fold] for fold in shared) for s in (one, other))
        return mine - theirs, self._error(mine, theirs, len(shared))

    def _error(self, mine: float, theirs: float, folds: int = 1) -> float:
        """The standard error of a difference between two scores, each of a part of so many folds."""
        return math.sqrt((mine * (1 - mine) + theirs * (1 - theirs)) / max(1, self.held * folds))

    def enough(self, standings: dict[str, Standing]) -> Side | None:
        """The side whose leader leaves nothing to gain: next to no mistake on all folds; None: neither's."""
        for side in SIDES:
            leader = self.leader(standings, side)
            if leader is None or len(standings[leader.key].scores) < self.folds:
                continue
            lost = 1 - standings[leader.key].score
            examples = self.held * (1 if self._draws else self.folds)
            if lost <= GAIN and round(lost * examples) <= MISTAKES:
                return side
        return None

    # -- search ---------------------------------------------------------------------------------------------------

    def _search(
        self, results: Sequence[Result], standings: dict[str, Standing], seconds: Seconds, left: float
    ) -> tuple[Spec, float] | None:
        done = [r for r in results if r.spec.validates]
        if self.trials is not None and len(done) >= self.trials:
            return None
        counts = {side: sum(r.side == side for r in done) for side in SIDES}
        reserves = {side: self._reserve(side, standings, seconds) for side in SIDES}
        spent = {
            side: 0.0 if self.trials is not None else sum(r.own_seconds for r in done if r.side == side)
            for side in SIDES
        }
        firsts, over = self._firsts(standings), self.enough(standings)
        order = sorted(SIDES, key=lambda side: (spent[side], counts[side]))  # stable: the baseline first
        for side in order:
            wishes = self._wishes(standings, side, seconds, firsts)
            if over in (side, order[0]):  # its own leader's, or the other's, which it is not behind
                wishes = [wish for wish in wishes if wish[0].key in firsts and _proves(wish[0])]
            for setting, spec, predicted, room in wishes:
                # Should it lead, it needs final trials as well, and one seed proves little.
                own = max(reserves[side], self._finals(setting, seconds))
                reserve = sum(reserves.values()) - reserves[side] + own + OVERHEAD
                # What the other side's dear leader needs must not end the search of one that takes next to no time.
                other = sum(spent.values()) - spent[side]
                free = spec.seed == 0 and room <= max(FREE, UNEVEN * other - spent[side]) and left > OVERHEAD
                if room <= left - reserve or free or self._indispensable(setting, firsts, counts):
                    return spec, predicted
        return None

    @property
    def _draws(self) -> bool:
        return len(self.episodes) > 1

    @property
    def _least(self) -> int:
        """Final trials of each side that are run whatever they cost: one; and of draws five, as one proves nothing."""
        return min(SEEDS, self.seeds) if self._draws else 1

    def _spec(self, setting: Setting, phase: Phase, seed: int, labels: int | None = None) -> Spec:
        return setting.spec(self.episodes[seed] if self._draws else self.episodes[0], phase, seed, labels)

    def _indispensable(self, setting: Setting, firsts: set[str], counts: dict[Side, int]) -> bool:
        """Whether a trial is run whatever it costs.

        Without one of each side there is nothing to compare; and a transfer route that only beat the majority class
        because the classical baselines had no time would prove nothing.
        """
        if not counts[setting.side]:
            return True
        return setting.side == "baseline" and setting.key in firsts and not setting.strategy.needs.gradients

    def _firsts(self, standings: dict[str, Standing]) -> set[str]:
        """Of every pair of source and strategy that has no score yet: the setting to try it with.

        The next one where one has failed: a kernel machine may not fit into memory where ridge regression does, and
        without it the majority class would be the best baseline.
        """
        families: dict[tuple[str, str], list[Standing]] = {}
        for standing in standings.values():
            families.setdefault(standing.setting.family, []).append(standing)
        found = set()
        for settings in families.values():
            untried = [s.setting for s in settings if not s.tried]
            if untried and not any(s.scores for s in settings):
                found.add(min(untried, key=lambda setting: setting.rank).key)
        return found

    def _wishes(
        self, standings: dict[str, Standing], side: Side, seconds: Seconds, firsts: set[str]
    ) -> list[tuple[Setting, Spec, float, float]]:
        """What this side would do next, best first: setting, trial, seconds of it, and those there must be room for."""
        mine = [s for s in standings.values() if s.setting.side == side]
        # Where trials are counted they take turns as if none had left features to the others.
        how = seconds.whole if self.trials is not None else functools.partial(seconds.search, episode=self.episodes[0])
        cost = {s.setting.key: how(s.setting) for s in mine}
        ranked = sorted((s for s in mine if s.scores), key=lambda s: (-s.score, cost[s.setting.key]))
        families = list(dict.fromkeys(s.setting.family for s in ranked))[:2]
        new = [s for s in mine if not s.tried and (s.setting.key in firsts or s.setting.family in families)]
        # The first features of a source serve many later trials, so that they are not put off for a network. Of what
        # takes no time, the grid's own order says what is most worth trying.
        new.sort(
            key=lambda s: (
                not ranked and s.setting.strategy.needs.gradients,
                max(FREE, cost[s.setting.key]),
                s.setting.rank,
                cost[s.setting.key],
            )
        )
        asked = {}
        for standing in new:
            if standing.setting.key in firsts:
                asked[standing.setting.key, "search"] = self._wish(standing.setting, 0, seconds)
            elif found := self._halved(standing, standings, seconds, cost[standing.setting.key]):
                asked.setdefault((found[0].key, found[1].phase), found)
        wishes = list(asked.values())
        if ranked:
            # Of what is dear, a pair that was never tried before other settings of one that was, and rungs before what
            # goes on from them.
            wishes.sort(key=lambda wish: (wish[2] > FREE and wish[0].key not in firsts, max(FREE, wish[2])))
        leader = self.leader(standings, side)
        best = None if leader is None else self._judged(standings[leader.key], standings)
        more = []
        for place, standing in enumerate(ranked):
            seed = next((seed for seed in range(self.folds) if seed not in standing.scores), None)
            if seed is None or standing.failed or self._behind(standing, best):
                continue
            if place < CONFIRMED or (self.trials is None and cost[standing.setting.key] <= FREE):
                more.append(self._wish(standing.setting, seed, seconds))
        # A leader that may leave nothing to gain is made sure of before anything dear is tried.
        if more and more[0][0] == leader and 1 - standings[leader.key].score <= GAIN:
            return more + wishes
        if self.trials is not None or not ranked:
            return wishes + more
        # A fold is a handful of examples where labels are few, and who leads on one was lucky: what takes no time is
        # validated on all of them before anything dear is tried. Then every strategy that trains a network is tried
        # once; and what is dear and not behind beyond chance goes on to the next fold before other dear ones are
        # tried, or it might have been tried in vain.
        known = self._judged(max(ranked, key=lambda s: (len(s.scores), s.score)), standings)
        tried = {s.setting.strategy.name for s in mine if s.tried}

        def turn(wish: tuple[Setting, Spec, float, float]) -> int:
            setting, _, predicted, _ = wish
            if predicted <= FREE:
                return 0
            if setting.strategy.needs.gradients and setting.strategy.name not in tried:
                return 1
            return 2 if self._level(standings[setting.key], known) else 3

        return sorted(wishes + more, key=turn)

    def _level(self, standing: Standing, known: Standing) -> bool:
        """Whether a setting has fewer folds than another, and is no standard error behind on those that they share."""
        shared = known.scores.keys() & standing.scores.keys()
        if len(standing.scores) >= len(known.scores) or not shared:
            return False
        lead, error = self._lead(standing, known, shared)
        return lead >= -error

    def _wish(self, setting: Setting, seed: int, seconds: Seconds) -> tuple[Setting, Spec, float, float]:
        spec = self._spec(setting, "search", seed)
        predicted = seconds.search(setting, spec.episode)
        return setting, spec, predicted, predicted

    def _halved(
        self, standing: Standing, standings: dict[str, Standing], seconds: Seconds, cost: float
    ) -> tuple[Setting, Spec, float, float] | None:
        """The next step towards a setting that is not the first of its pair; None where it is out."""
        setting, labels = standing.setting, halving.labels(self.sizes.fitted, self.sizes.classes)
        counted = self.trials is not None or self._draws  # where a rung would save nothing, or labels are few
        if counted or labels is None or cost <= halving.DEAR or not setting.strategy.needs.gradients:
            return self._wish(setting, 0, seconds)
        family = [s for s in standings.values() if s.setting.family == setting.family]
        leader = self.leader(standings, setting.side)
        assert leader is not None
        known = self._judged(standings[leader.key], standings)
        best = known.scores.get(0, known.score)
        found = halving.step(standing, family, best - self._error(best, best))
        if found is None or found[1] == "search":
            return None if found is None else self._wish(setting, 0, seconds)
        spec = self._spec(found[0].setting, "rung", 0, labels)
        predicted = seconds.search(found[0].setting, spec.episode, labels)
        return found[0].setting, spec, predicted, predicted + cost  # in vain, were there no time to go on

    def _behind(self, standing: Standing, best: Standing | None) -> bool:
        """Whether a setting is behind the leader by more than the noise."""
        if best is None or not (shared := best.scores.keys() & standing.scores.keys()):
            return False
        lead, error = self._lead(best, standing, shared)
        return lead > NOISE * error

    def _reserve(self, side: Side, standings: dict[str, Standing], seconds: Seconds) -> float:
        """Seconds to keep for the final trials of a side's leader as it is now."""
        leader = self.leader(standings, side)
        return 0.0 if leader is None else self._finals(leader, seconds)

    def reserved(self, setting: Setting) -> float:
        """Seconds that would be kept for final trials of a setting before it is tried."""
        return self._finals(setting, self.seconds(()))

    def _finals(self, setting: Setting, seconds: Seconds) -> float:
        """Seconds of the final trials of a setting that there must be time for."""
        once, sealed = seconds.own(setting, self.sizes.training), seconds.sealed(setting, self.episodes[0])
        return self.seeds * (once + sealed) if self._draws else min(PROVING, self.seeds) * once + sealed

    # -- final ----------------------------------------------------------------------------------------------------

    def _final(
        self, results: Sequence[Result], standings: dict[str, Standing], seconds: Seconds, left: float
    ) -> tuple[Spec, float] | None:
        leaders = {side: self.leader(standings, side) for side in SIDES}
        able = {side: leader for side, leader in leaders.items() if leader is not None}
        if len(able) < len(SIDES):
            return None
        done = {r.spec.key for r in results}
        for seed in range(self.seeds):
            for leader in able.values():
                spec = self._spec(leader, "final", seed)
                predicted = seconds.final(leader, spec.episode)
                # What the dearer finalist has left does not matter to one that takes no time.
                if spec.key not in done and (seed < self._least or predicted <= max(FREE, left - OVERHEAD / 2)):
                    return spec, predicted
        return self._curve(able.values(), done, seconds, left) if self.label_curve else None

    def _curve(
        self,
        leaders: Iterable[Setting],
        done: set[str],
        seconds: Seconds,
        left: float,
    ) -> tuple[Spec, float] | None:
        """The next trial of the label curve."""
        numbers = sorted({max(2 * self.sizes.classes, round(share * self.sizes.training)) for share in SHARES})
        for seed in range(FREE_DRAWS):
            for labels in numbers:
                for leader in leaders:
                    spec = self._spec(leader, "label curve", seed, labels)
                    if labels >= self.sizes.training or spec.key in done:
                        continue
                    predicted = seconds.final(leader, spec.episode, labels)
                    if predicted <= left - OVERHEAD / 2 and (seed < DRAWS or predicted <= FREE):
                        return spec, predicted
        return None

    def least(self, results: Sequence[Result], scores: dict[str, float]) -> list[Spec]:
        """The final trials without which there is nothing to compare, and that were not run; none without leaders.

        Where a leader was overtaken after its final trials they serve, but for draws, which are of one route.
        """
        standings = self.standings(results, scores)
        leaders = {side: self.leader(standings, side) for side in SIDES}
        finals = [r for r in results if r.spec.phase == "final" and r.status == "ok"]
        asked = []
        for seed in range(min(PROVING, self._least)):
            for side, leader in leaders.items():
                if leader is None:
                    return []
                spec = self._spec(leader, "final", seed)
                same = [r for r in finals if r.side == side and r.spec.episode == spec.episode]
                if not any(r.spec.setting == spec.setting or not self._draws for r in same):
                    asked.append(spec)
        return asked

    # -- seconds --------------------------------------------------------------------------------------------------

    def seconds(self, results: Sequence[Result]) -> Seconds:
        """What trials will take; where trials are counted nothing that was measured is looked at."""
        how: dict[str, Any] = {"rate": self.rate, "others": self.others, "timed": self.timed}
        return Seconds(results, self.settings, self.sizes, known=self.known, **how)

    def ended(self, results: Sequence[Result], scores: dict[str, float]) -> str:
        """Why the search ended before the budget, in words; "": it did not."""
        standings = self.standings(results, scores)
        side = self.enough(standings)
        leader = None if side is None else self.leader(standings, side)
        if leader is None:
            return ""
        lost = 1 - standings[leader.key].score
        left = "nothing was" if lost < 0.0005 else f"no more than {100 * lost:.1f} points were"
        route = f"{leader.strategy.name} on {leader.card.short}"
        return f"{route} makes next to no mistake in validation: {left} left to gain"

    def untried(self, results: Sequence[Result], scores: dict[str, float]) -> list[tuple[Setting, float]]:
        """Pairs of source and strategy that were never tried, with the seconds one trial was predicted to take."""
        seconds, standings = self.seconds(results), self.standings(results, scores)
        tried = {s.setting.family for s in standings.values() if s.tried}
        first = [s.setting for s in standings.values() if s.setting.rank == 0 and s.setting.family not in tried]
        return [(setting, seconds.search(setting, self.episodes[0])) for setting in first]


def _proves(setting: Setting) -> bool:
    """Whether a first trial of a setting belongs into the comparison when a side has nothing left to gain."""
    return setting.side == "baseline" or not setting.strategy.needs.gradients
