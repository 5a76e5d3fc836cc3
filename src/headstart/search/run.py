"""The loop: ask the plan, execute the trial, write the ledger; then open the seals, judge, and ship."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headstart import files, machine, profile
from headstart import source as sources
from headstart.budget import Budget, format_seconds
from headstart.errors import HeadstartError, Problem, RunError
from headstart.features.precision import F32, Precision
from headstart.judge.evidence import Evidence, Side
from headstart.judge.intervals import score_interval
from headstart.predictor import Predictor
from headstart.search import history, seen
from headstart.search import spec as specs
from headstart.search.assemble import Judged, assemble, judged
from headstart.search.begin import begin, rate
from headstart.search.finalist import finalists, validation_score
from headstart.search.folder import EVIDENCE, prepared
from headstart.search.leaderboard import probed
from headstart.search.ledger import Ledger
from headstart.search.limit import limit, limited
from headstart.search.listener import Listener
from headstart.search.moved import moved
from headstart.search.options import Options
from headstart.search.plan import OVERHEAD, SEEDS, Plan
from headstart.search.precision import in_ledger, recorded, settled
from headstart.search.rank import scored
from headstart.search.seconds import NOTHING, USUAL, Known
from headstart.search.ship import ship
from headstart.source.joined import JoinedSource
from headstart.store import Recent
from headstart.strategy import Bench
from headstart.target.inputs import Inputs
from headstart.target.target import Episode, Target
from headstart.target.view import FOLDS
from headstart.trial import Result, Spec, encode, execute

SHOWN_RESAMPLES = 1_000  # for the line that says how a trial went; the evidence takes more
FEATURE_SHARE = 0.4  # of the budget, for the cheapest source's features of all examples


@dataclass(frozen=True)
class Run:
    """A finished run, and what is needed to report on it.

    Args:
        evidence: what judge said.
        folder: the run's directory.
        judged: the opened seals with the finalists' predictions.
        episodes: with their inputs, for pictures in the report.
    """

    evidence: Evidence
    folder: Path
    judged: Judged
    episodes: tuple[Episode, ...]


def run(target: Target, folder: Path, options: Options, listener: Listener | None = None) -> Run:
    """Find out whether transfer helps on `target`, and put the ledger, the evidence and the model into `folder`.

    A folder that holds a run of the same target with the same options is resumed. Ctrl-C ends the search; the leaders
    found so far are still compared, and the evidence says that it is partial.

    Args:
        target: what to learn.
        folder: the run's directory.
        options: what may be done.
        listener: hears what happens.

    Raises:
        RunError: the folder holds another run, is in use, or cannot be written.
        KeyboardInterrupt: interrupted before there was anything to compare, or twice.
    """
    return Runner(target, folder, options, listener or Listener()).run()


class Runner:
    """One run in one folder: the loop, the seals, the model.

    Args:
        target: what to learn.
        folder: the run's directory.
        options: what may be done.
        listener: hears what happens.
    """

    def __init__(self, target: Target, folder: Path, options: Options, listener: Listener) -> None:
        self.given = target
        self.target, self.overlaps = seen.apart(target, options.sources)
        self.folder, self.options, self.listener = folder, options, listener
        self.wordless = target.everything.wordless()
        self.settings = options.settings(target.modality, self.wordless)
        self.rate = rate(self.target)
        self.recent = Recent()
        self.partial = ""
        self.scores: dict[str, float] = {}  # of validation, by trial
        self.steps: dict[str, int] = {}  # after which a training ends, by trial: what time once decided
        self.cpu = time.process_time()

    def run(self) -> Run:
        """From the first trial, or where the ledger ends, to the model; see :func:`run`."""
        with self._opened() as meter:
            episodes = self._limited()
            try:
                self._search(episodes)
                self._score(episodes[0])
                self._look(episodes[0])
            except KeyboardInterrupt:
                self.partial = "it was interrupted"
                self.listener.interrupted()
                self._least(episodes)
            ended = self._ended()
            evidence, verdict = self._judge(episodes, meter)
            if self.ledger.first("history") is not None and not ended:
                self._learn(episodes)
            specs.write(self.folder, specs.written(self.ledger, self.given, self.options))
            return Run(evidence, self.folder, verdict, tuple(episodes))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[machine.Meter]:
        """The folder, held by this process, with the ledger of this run in it."""
        try:
            with prepared(self.folder), machine.Meter() as meter:
                self.ledger = Ledger(self.folder)
                begin(self.ledger, self.target, self.options, self.settings, self.overlaps)
                if self.ledger.results:
                    self.listener.resumed(len(self.ledger.results))
                ended = self.ledger.all("end")
                self.before = ended[-1]["wall"] if ended else self.ledger.seconds()
                yield meter
        except OSError as error:
            raise RunError(
                Problem(
                    f"{self.folder} cannot be written: {error.strerror or error}",
                    "room for the model and the report; everything up to the last finished trial is safe in the ledger",
                    "make room and run the same command again: it resumes",
                )
            ) from error

    def _judge(self, episodes: Sequence[Episode], meter: machine.Meter) -> tuple[Evidence, Judged]:
        """Open the seals, say what came of it, and keep the model."""
        self.listener.judging()
        with profile.phase("judge"):
            self._open(episodes)
            verdict = judged(self.ledger)  # raises before anything is written if there is nothing to compare
            self._end(meter)
            evidence = assemble(self.ledger, verdict)
            text = evidence.to_text()
            files.write_text(self.folder / EVIDENCE, text)
        with profile.phase("save"):
            ship(self.folder, self.target, evidence, text, verdict, self._shipped)
        return evidence, verdict

    def _limited(self) -> list[Episode]:
        """The episodes, cut down to what the budget can compute features for."""
        seconds, event = self.options.budget.seconds, self.ledger.first("limit")
        if event is None and seconds is not None:
            cheapest = min(s.card.flops for s in self.settings if s.side == "transfer")
            able = int(FEATURE_SHARE * seconds * (self.rate or USUAL * machine.cores()) / cheapest)
            event = limit(self.target, able, str(self.options.budget))
            if event is not None:
                self.ledger.write("limit", **event)
        if event is None:
            return list(self.target.episodes)
        self.listener.limited(event["why"])
        return limited(self.target, event, self.options.seed)

    # -- the loop -----------------------------------------------------------------------------------------------

    def _left(self) -> float:
        return self.options.budget.left() - self.before

    def _together(self, episodes: Sequence[Episode]) -> list[list[Episode]]:
        """The episodes that choose their routes together: all few-shot draws; of any others, each alone."""
        return [list(episodes)] if self.target.shots is not None else [[episode] for episode in episodes]

    def _plan(self, together: Sequence[Episode], *, rehearsed: bool = False) -> Plan:
        view, draws = together[0].view, self.target.shots is not None
        alone = self.target.split != "cross-fit" and not draws
        if draws:
            seeds, folds = len(together), min(FOLDS, len(together))
        else:
            seeds, folds = SEEDS if alone else 1, FOLDS if view.validation is None else 1
        return Plan(
            [episode.name for episode in together],
            self.settings,
            examples=len(view),
            training=len(view.training()),
            sealed=len(together[0].seal),
            classes=len(view.classes),
            trials=self.options.budget.trials,
            seeds=seeds,
            folds=folds,
            label_curve=alone,
            rate=self.rate,
            known=self._known(),
            others=[r for r in self.ledger.results.values() if r.spec.episode not in {e.name for e in together}],
            rehearsed=rehearsed,
            intermediate=sum(map(len, view.intermediate)),
        )

    def _known(self) -> Known:
        """What was known of this machine when the run began, as the ledger says."""
        event = self.ledger.first("history")
        return NOTHING if event is None else Known(**{key: value for key, value in event.items() if key != "event"})

    def _results(self, together: Sequence[Episode]) -> tuple[list[Result], dict[str, float]]:
        names = {episode.name for episode in together}
        results = [r for r in self.ledger.results.values() if r.spec.episode in names]
        scored = {r.spec.key: r for r in results if r.labels is not None and r.status == "ok"}
        for key in scored.keys() - self.scores.keys():
            self.scores[key] = validation_score(scored[key], self.target.metric)
        return results, {key: self.scores[key] for key in scored}

    def _search(self, episodes: Sequence[Episode]) -> None:
        courses = self._together(episodes)
        for number, together in enumerate(courses):
            plan, by_name = self._plan(together), {episode.name: episode for episode in together}
            # Cross-fitting: each fold gets an equal part of what is left; one part is kept for the shipped model.
            parts = len(courses) - number + (len(courses) > 1)
            until = self._left() * (1 - 1 / parts) if parts > 1 else 0.0
            while True:
                results, scores = self._results(together)
                asked = plan.ask(results, scores, self._left() - until, closed=self._closed(set(by_name)))
                if asked is None:
                    break
                self._execute(asked[0], by_name[asked[0].episode], asked[1], until)

    def _closed(self, names: set[str]) -> bool:
        """Whether the search is over: a final trial was run, and not only because of an interruption."""
        events = self.ledger.events
        interrupted = max((i for i, e in enumerate(events) if e["event"] == "end" and e["partial"]), default=-1)
        later = (Spec(**e["result"]["spec"]) for e in events[interrupted + 1 :] if e["event"] == "result")
        return any(not spec.validates and spec.episode in names for spec in later)

    def _execute(self, spec: Spec, episode: Episode, predicted: float | None, until: float = 0.0) -> None:
        left = self._left() - until
        self.listener.began(spec, predicted or 0.0, self._left())
        checkpoint = self.folder / "checkpoints" / f"{spec.key}.pt"
        keep = self.folder / "finalists" / spec.key if spec.phase == "final" and spec.seed == 0 else None
        # A search trial may be cut short, and says so. A final trial never is: a finalist that was not trained to its
        # end would be compared, and shipped, as something it is not.
        limited = spec.validates and left != float("inf")
        seconds = max(5.0, min(left - OVERHEAD, 2 * (predicted or 0.0) + 5.0)) if limited else None
        limits = Budget(seconds, steps=self.steps.get(spec.key))
        check, began, cpu = self._bench(), time.perf_counter(), time.process_time()
        precision = settled(self.ledger, spec.source, episode, self.options, self.target.metric, check)
        checking, cpu = time.perf_counter() - began, time.process_time() - cpu
        bench = self._bench(precision, checkpoint)
        done = execute(spec, episode.view, episode.seal.inputs, budget=limits, bench=bench, keep=keep).result
        timed = self.options.budget.trials is None and predicted is not None
        # Whether a source may compute in half precision is asked by the first trial that needs it, and belongs to it.
        result = replace(
            done,
            predicted=round(predicted or 0.0, 6) if timed else None,
            wall=done.wall + checking,
            cpu=done.cpu + cpu,
            prepare_seconds=done.prepare_seconds + checking,
            saved=max(0.0, done.saved - check.tally.seconds),
        )
        self.ledger.add(result)
        _told(result, bench)
        checkpoint.unlink(missing_ok=True)
        score = None
        if result.labels is not None and result.log_probabilities is not None:
            right = result.log_probabilities.argmax(axis=1) == result.labels
            with profile.phase("judge"):
                score = score_interval(right[None], result.labels, self.target.metric, resamples=SHOWN_RESAMPLES)
        self.listener.ended(result, score, self._left())

    def _bench(self, precision: Precision = F32, checkpoint: Path | None = None) -> Bench:
        options = self.options
        return Bench(
            recent=self.recent,
            device=options.device,
            checkpoint=checkpoint,
            progress=self.listener.progress,
            precision=precision,
        )

    def _score(self, episode: Episode) -> None:
        """Write down what scores say of the sources that were probed, whose features the store has by now.

        They come after the search and change nothing in it: they are there so that one can learn whether to trust them.
        """
        if self.ledger.first("scores") is not None or self._ended():
            return
        names = list(probed(self.ledger, episode.name, self.target.metric))
        if len(names) < 2:
            return
        # A score is never worth losing a run for.
        with profile.phase("judge"), contextlib.suppress(HeadstartError, ValueError):
            how: dict[str, Any] = {"seed": self.options.seed, "device": self.options.device}
            event = scored(episode.view.training(), names, precisions=in_ledger(self.ledger), **how)
            self.ledger.write("scores", episode=episode.name, **event)

    def _learn(self, episodes: Sequence[Episode]) -> None:
        """Keep what this run says of the machine, for the first predictions of the next."""
        courses = self._together(episodes)
        plans = [(self._plan(together), self._results(together)[0]) for together in courses]
        history.learn(plans, self.options.device)

    def _look(self, episode: Episode) -> None:
        """Write down whether a given test or the unlabelled examples are unlike what is learned from.

        By the features of the transfer finalist's source, which the store has of most of them by now; without such a
        finalist by cheap ones. It chooses nothing.
        """
        if self.ledger.first("moved") is not None or self._ended() or self._left() < OVERHEAD:
            return
        leaders = [r.spec.source for r in self.ledger.of(episode.name, "final") if r.side == "transfer"]
        extract, words = None, ""
        if leaders:
            source = sources.find(leaders[-1])
            bench = self._bench(recorded(self.ledger, source.card.name))
            # Several sources have no network of their own; the features of one say what moved.
            source = source.parts[0] if isinstance(source, JoinedSource) else source
            body, words = bench.body(source), source.card.short

            def extract(learned: Inputs, other: Inputs) -> tuple[Any, Any]:
                return bench.features(body, learned, words), bench.features(body, other, words)

        # It is never worth losing a run for.
        with profile.phase("judge"), contextlib.suppress(HeadstartError, ValueError):
            parts = moved(self.target, extract, words, seed=self.options.seed)
            if parts:
                self.ledger.write("moved", parts=[part.to_json() for part in parts])

    def _ended(self) -> bool:
        """Whether the run had ended before this process resumed it."""
        last = self.ledger.events[-1]
        return bool(last["event"] == "end" and not last["partial"])

    def _least(self, episodes: Sequence[Episode]) -> None:
        """After an interruption: as few final trials of each leader as there can be, where there are leaders."""
        for together in self._together(episodes):
            plan, by_name = self._plan(together), {episode.name: episode for episode in together}
            for spec in plan.least(*self._results(together)):
                self._execute(spec, by_name[spec.episode], None)

    def _open(self, episodes: Sequence[Episode]) -> None:
        """Open each seal once for each finalist, on the record."""
        opened = {(e["episode"], e["finalist"]) for e in self.ledger.all("opened")}
        for episode in episodes:
            pair = finalists(self.ledger, episode.name)
            if len(pair) < 2:
                continue
            for finalist in pair.values():
                name = finalist.finals[0].spec.setting
                if (episode.name, name) not in opened:
                    episode.seal.open(name, _recorder(self.ledger, episode.name))

    def _unspent(self) -> tuple[str, list[dict[str, Any]]]:
        """Why the search ended before the budget ("" where it did not), and the routes that were not tried, and why."""
        if self.target.split == "cross-fit":
            return "", self._nameless()  # every fold of the test has a search of its own
        together = self._together(self.target.episodes)[0]
        plan, (results, scores) = self._plan(together), self._results(together)
        enough = "" if self.partial else plan.ended(results, scores)
        untried, left = [], self._left()
        for setting, predicted in plan.untried(results, scores):
            reason = f"predicted to take {format_seconds(predicted)} a trial"
            if self.partial:
                reason = "the run was interrupted before it"
            elif enough:
                reason = enough
            elif self.options.budget.trials is not None:
                reason = f"the {self.options.budget.trials} trials were spent on others"
            elif predicted > left:
                reason += "; the budget had no room for it beside the final trials"
            untried.append(
                {"source": setting.card.name, "strategy": setting.strategy.name, "side": setting.side, "note": reason}
            )
        return enough, untried + self._nameless()

    def _nameless(self) -> list[dict[str, Any]]:
        """The routes that go by the names of classes, where those say nothing."""
        if not self.wordless:
            return []
        named = [kind for kind in self.options.kinds() if kind.needs.class_names]
        cards = list({s.card.name: s.card for s in self.settings}.values())
        note = "the classes have no names in words; say what they mean with --describe"
        return [
            {"source": card.name, "strategy": kind.name, "side": kind.side, "note": note}
            for kind in named
            for card in cards
            if card.modality == self.target.modality and not kind.needs.lacking(card)
        ]

    def _end(self, meter: machine.Meter) -> None:
        if self._ended():
            return  # resumed after it had ended: nothing was done, so nothing is added
        enough, untried = self._unspent()
        spent = meter.spent()
        before = self.ledger.all("end")
        self.ledger.write(
            "end",
            wall=self.before + time.monotonic() - self.options.budget.started,
            cpu=time.process_time() - self.cpu + (before[-1]["cpu"] if before else 0.0),
            memory_mb=max(spent.memory_mb, *(r.memory_mb for r in self.ledger.results.values())),
            partial=bool(self.partial),
            why=self.partial,
            enough=enough,
            untried=untried,
        )

    # -- the model ----------------------------------------------------------------------------------------------

    def _shipped(self, spec: Spec, side: Side) -> Predictor:
        """The finalist's model: kept since it was trained, or trained now."""
        from headstart.predictor import load

        draws = self.target.shots is not None
        seed = spec.seed if draws else 0
        kept = self.folder / "finalists" / replace(spec, phase="final", seed=seed).key
        if self.target.split != "cross-fit" and kept.is_dir():
            with contextlib.suppress(HeadstartError):
                return load(kept)
        # Cross-fitted, or the kept finalist was lost: train it (again) on everything that may be trained on.
        if draws:
            view = next(e.view for e in self.target.episodes if e.name == spec.episode)
        else:
            view = self.target.everything if self.target.split == "cross-fit" else self._limited()[0].view
        bench = self._bench(recorded(self.ledger, spec.source))
        ship = replace(spec, phase="ship", seed=seed)
        self.listener.began(ship, 0.0, self._left())
        outcome = execute(ship, view, None, budget=Budget(), bench=bench)
        _told(outcome.result, bench)
        if outcome.predictor is None:
            raise HeadstartError(f"the {side} route could not be trained for shipping: {outcome.result.error}")
        self.listener.ended(outcome.result, None, self._left())
        return outcome.predictor


def _told(result: Result, bench: Bench) -> None:
    """Tell an open profile what a trial took."""
    if (listening := profile.current()) is not None:
        listening.trials.append(
            {
                "key": result.spec.key,
                "words": result.spec.words(),
                "phase": result.spec.phase,
                "seed": result.spec.seed,
                "status": result.status,
                "wall_seconds": round(result.wall, 6),
                "cpu_seconds": round(result.cpu, 6),
                "computed": bench.tally.computed,
                "recalled": bench.tally.recalled,
            }
        )


def _recorder(ledger: Ledger, episode: str) -> Callable[[str, Any], None]:
    def record(finalist: str, labels: Any) -> None:
        ledger.write("opened", episode=episode, finalist=finalist, labels=encode(labels))

    return record
