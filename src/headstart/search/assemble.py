"""From the ledger to the evidence. The ledger alone is enough: no data, no model, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import Problem, RunError
from headstart.features.precision import F32
from headstart.judge import Comparison, Round, compare, guard, guard_adapted, metrics
from headstart.judge.curve import Measured, label_curve
from headstart.judge.evidence import (
    Calibration,
    Cost,
    Draw,
    Evidence,
    LabelCurve,
    PrecisionCheck,
    Predictions,
    ReliabilityBin,
    Route,
    ScoreRecord,
    Scores,
    Shots,
    Side,
    TargetSummary,
)
from headstart.judge.intervals import mean_score
from headstart.search.domains import adaptation
from headstart.search.finalist import Finalist, drawn, finalists, right_answers, validation_score
from headstart.search.leaderboard import leaderboard, probed
from headstart.search.ledger import Ledger
from headstart.search.rank import kendall
from headstart.search.seconds import accuracy
from headstart.trial import CUT_SHORT, Result, decode


@dataclass(frozen=True)
class Judged:
    """The finalists on opened seals, and the comparison judge made of them."""

    comparison: Comparison
    rounds: list[Round]
    episodes: list[tuple[dict[Side, Finalist], NDArray[np.int64]]]


def judged(ledger: Ledger) -> Judged:
    """Compare the finalists of all episodes whose seals were opened.

    Raises:
        RunError: no pair of finalists was finished.
    """
    start = ledger.first("run")
    if start is None:
        raise RunError(Problem(f"no run in {ledger.path}", "a ledger that headstart fit wrote"))
    labels = {e["episode"]: decode(e["labels"]) for e in ledger.all("opened")}
    episodes, rounds = [], []
    for episode in start["episodes"]:
        pair = finalists(ledger, episode["name"])
        if len(pair) == 2 and episode["name"] in labels:
            truth = labels[episode["name"]]
            transfer, baseline = (
                pair[side].probabilities(pair[side].temperature()) for side in ("transfer", "baseline")
            )
            rounds.append(Round(truth, transfer, baseline, episode["n_train"]))
            episodes.append((pair, truth))
    if not rounds:
        if failed := _failures(ledger):
            raise RunError(
                Problem(
                    f"nothing to compare, because trials failed: {failed}",
                    "a transfer route and a baseline that work",
                    "mend that, then run again with another --out: a trial that failed is not repeated",
                )
            )
        raise RunError(
            Problem(
                f"no finished pair of finalists in {ledger.path}",
                "a transfer route and a baseline that both predicted the sealed inputs",
                "run the same command again: it resumes",
            )
        )
    how = drawn(ledger)
    shared = None if how is None else float(how["shared"])
    comparison = compare(rounds, start["target"]["classes"], start["metric"], seed=start["seed"], shared=shared)
    return Judged(comparison, rounds, episodes)


def _failures(ledger: Ledger) -> str:
    """What failed on a side of which nothing succeeded, and why; "" where there is no such side."""
    results = ledger.results.values()
    able = {r.side for r in results if r.status == "ok"}
    words = {f"{r.spec.words()}: {r.error}" for r in results if r.status == "failed" and r.side not in able}
    return "; ".join(sorted(words))


def assemble(ledger: Ledger, verdict: Judged | None = None) -> Evidence:
    """The evidence of a run.

    Args:
        ledger: of the run.
        verdict: what :func:`judged` makes of it, where that is known; None: it is asked.

    Raises:
        RunError: the ledger holds no finished pair of finalists.
    """
    start, end = ledger.first("run"), ledger.all("end")
    verdict = verdict or judged(ledger)
    assert start is not None
    comparison, metric = verdict.comparison, start["metric"]
    validation = {
        side: mean(validation_score(r, metric) for pair, _ in verdict.episodes for r in pair[side].search)
        for side in ("transfer", "baseline")
    }
    record = adaptation(ledger, verdict.episodes[0][1], metric)
    if (chosen := ledger.first("chosen")) is not None:
        baseline = verdict.episodes[0][0]["baseline"].finals[0].spec.strategy
        behind = [name for name, gain in record.over.items() if gain.high < 0] if record is not None else []
        shipped, reason = guard_adapted(comparison, chosen["side"], chosen["reason"], baseline, behind)
    else:
        shipped, reason = guard(comparison, validation["transfer"], validation["baseline"])
    shots = _shots(ledger, verdict, metric)
    if shots is not None:
        reason += _learned_from(shots, start["target"])
    routes = {
        "transfer": _route(verdict, "transfer", comparison.transfer_score, comparison.transfer_metrics),
        "baseline": _route(verdict, "baseline", comparison.baseline_score, comparison.baseline_metrics),
    }
    for side, route in routes.items():
        route.validation_score = validation[side]
    totals: dict[str, Any] = (
        end[-1] if end else {"wall": ledger.seconds(), "cpu": 0.0, "memory_mb": 0.0, "partial": True, "why": ""}
    )
    return Evidence(
        headstart=start["versions"]["headstart"],
        target=TargetSummary(**start["target"]),
        metric=metric,
        verdict=comparison.verdict,
        gain=comparison.gain,
        transfer=routes["transfer"],
        baseline=routes["baseline"],
        shipped=shipped,
        shipped_reason=reason,
        seeds=min(len(f.finals) for pair, _ in verdict.episodes for f in pair.values()),
        n_test=comparison.n_test,
        method=comparison.method,
        mcnemar=comparison.mcnemar,
        minimal_detectable_gain=comparison.minimal_detectable_gain,
        examples_to_settle=comparison.examples_to_settle,
        cost=Cost(
            wall_seconds=totals["wall"],
            cpu_seconds=totals["cpu"],
            peak_memory_mb=totals["memory_mb"],
            trials=len(ledger.results),
            device=start["device"],
        ),
        per_class=comparison.per_class,
        confusion=(comparison.confusion_transfer if shipped == "transfer" else comparison.confusion_baseline).tolist(),
        calibration=_calibration(verdict, shipped),
        label_curve=_label_curve(ledger, verdict, metric, shipped, start["seed"]),
        leaderboard=leaderboard(ledger, metric, totals.get("untried", [])),
        shots=shots,
        adaptation=record,
        scores=_scores(ledger, metric),
        precisions=_precisions(ledger),
        predictions=_predictions(ledger),
        hygiene={**start["hygiene"], "moved": (ledger.first("moved") or {}).get("parts", [])},
        warnings=_warnings(ledger, start, totals, shots),
        partial=totals["partial"],
        search_ended=totals.get("enough", ""),
        seconds_total=totals["wall"],
        budget=start["budget"],
        command=start["command"],
        versions=start["versions"],
        machine=start["machine"],
    )


def _shots(ledger: Ledger, verdict: Judged, metric: str) -> Shots | None:
    """Draw by draw, as far as both finalists were trained on it."""
    how = drawn(ledger)
    if how is None:
        return None
    draws = [
        Draw(
            number=pair["transfer"].finals[0].spec.seed + 1,
            n_test=len(truth),
            transfer=mean_score(judged_round.correct("transfer"), truth, metric),
            baseline=mean_score(judged_round.correct("baseline"), truth, metric),
        )
        for (pair, truth), judged_round in zip(verdict.episodes, verdict.rounds, strict=True)
    ]
    asked = {key: how[key] for key in ("labels", "asked", "shared", "choosing")}
    return Shots(**asked, shipped_draw=draws[0].number, draws=draws)


def _learned_from(shots: Shots, target: dict[str, Any]) -> str:
    """What the model of a few-shot run was trained on, and how to have one of all labels."""
    labels = shots.labels * len(target["classes"])
    return (
        f" The model is that of draw {shots.shipped_draw}, trained on {labels:,} labels, {shots.labels} of each class; "
        f"the same command without --shots learns from all {target['train']:,}."
    )


def _route(verdict: Judged, side: Side, score: tuple[float, float, float], measured: dict[str, float]) -> Route:
    pairs = [pair[side] for pair, _ in verdict.episodes]
    finals = [r for f in pairs for r in f.finals]
    sealed = median(len(r.log_probabilities) for r in finals if r.log_probabilities is not None)
    spec = most_common(f.finals[0] for f in pairs).spec
    return Route(
        source=spec.source,
        strategy=spec.strategy,
        parameters=spec.parameters,
        score=score[0],
        low=score[1],
        high=score[2],
        metrics=measured,
        top_k=verdict.comparison.transfer_top if side == "transfer" else verdict.comparison.baseline_top,
        seconds=median(max(0.0, r.seconds - r.predict_seconds) for r in finals),
        cpu_seconds=median(r.cpu for r in finals),
        memory_mb=max(r.memory_mb for r in finals),
        model_parameters=finals[0].model_parameters,
        flops_per_example=finals[0].flops or None,
        seconds_per_1000=1000 * median(r.predict_seconds for r in finals) / sealed,
        precision=finals[0].precision,
    )


def most_common(results: Any) -> Result:
    """The result whose setting occurs most often; among equals the first."""
    everything = list(results)
    settings = [r.spec.setting for r in everything]
    winner: Result = max(everything, key=lambda r: settings.count(r.spec.setting))
    return winner


def _calibration(verdict: Judged, shipped: Side) -> Calibration:
    before, after, labels, temperatures = [], [], [], []
    for (pair, truth), judged_round in zip(verdict.episodes, verdict.rounds, strict=True):
        temperatures.append(pair[shipped].temperature())
        raw, scaled = pair[shipped].probabilities(), getattr(judged_round, shipped)
        for seed in range(len(raw)):
            before.append(raw[seed])
            after.append(scaled[seed])
            labels.append(truth)
    seeds = len(after) / len(verdict.rounds)
    truth, raw, scaled = np.concatenate(labels), np.concatenate(before), np.concatenate(after)
    bins_before, bins = (
        [
            ReliabilityBin(confidence=c, accuracy=a, count=max(1, round(n / seeds)))
            for c, a, n in metrics.reliability(probabilities, truth)
        ]
        for probabilities in (raw, scaled)
    )
    return Calibration(
        temperature=median(temperatures),
        ece_before=metrics.ece(raw, truth),
        ece_after=metrics.ece(scaled, truth),
        bins_before=bins_before,
        bins=bins,
    )


def _label_curve(ledger: Ledger, verdict: Judged, metric: str, shipped: Side, seed: int) -> LabelCurve | None:
    """The finalists on fewer labels, on the same sealed examples; None: cross-fitted, drawn, adapted, unmeasured."""
    if len(verdict.rounds) != 1 or drawn(ledger) is not None or ledger.first("chosen") is not None:
        return None
    pair, truth = verdict.episodes[0]
    measured: dict[Side, list[Measured]] = {}
    for side, finalist in pair.items():
        spec = finalist.finals[0].spec
        fewer: dict[int, list[Result]] = {}
        for result in ledger.of(spec.episode, "label curve"):
            if result.status == "ok" and result.spec.setting == spec.setting:
                fewer.setdefault(result.spec.labels or 0, []).append(result)
        measured[side] = [
            Measured(labels, right_answers(results, truth), _spare_score(results, metric))
            for labels, results in fewer.items()
        ]
        validation = mean(validation_score(r, metric) for r in finalist.search)
        measured[side].append(Measured(verdict.rounds[0].n_train, right_answers(finalist.finals, truth), validation))
    if all(len(rows) == 1 for rows in measured.values()):
        return None
    return label_curve(measured, truth, metric, shipped, seed=seed)


def _spare_score(results: list[Result], metric: str) -> float | None:
    """The mean score on the labelled examples that each result left out."""
    held = [
        (r.spare_right, r.spare_labels) for r in results if r.spare_right is not None and r.spare_labels is not None
    ]
    return mean(mean_score(right[None], labels, metric) for right, labels in held) if held else None


def _scores(ledger: Ledger, metric: str) -> Scores | None:
    event = ledger.first("scores")
    if event is None:
        return None
    values: dict[str, dict[str, float]] = event["values"]
    outcome = {source: score for source, score in probed(ledger, event["episode"], metric).items() if source in values}
    if len(outcome) < 2:
        return None
    found = list(outcome.values())
    records = []
    for name in next(iter(values.values())):
        if not all(name in values[source] for source in outcome):
            continue
        mine = {source: values[source][name] for source in outcome}
        first = max(mine, key=lambda source: mine[source])
        tau = kendall(list(mine.values()), found)
        records.append(ScoreRecord(name=name, values=mine, tau=tau, first=first, lost=max(found) - outcome[first]))
    return Scores(examples=event["examples"], outcome=outcome, seconds=event["seconds"], records=records)


def _precisions(ledger: Ledger) -> list[PrecisionCheck]:
    """What was settled of the precision of features, where it was not f32 without a check."""
    events = ledger.all("precision")
    return [
        PrecisionCheck(**{key: value for key, value in event.items() if key != "event"})
        for event in events
        if event["precision"] != F32 or "examples" in event
    ]


def _predictions(ledger: Ledger) -> Predictions | None:
    found = accuracy(list(ledger.results.values()))
    return None if found is None else Predictions.model_validate(found)


def stunted(results: Sequence[Result]) -> list[str]:
    """Baselines that were never trained to their end, so that the search knows them worse than they are."""
    short: dict[str, list[bool]] = {}
    for result in results:
        if result.side == "baseline" and result.status == "ok" and result.spec.phase in ("search", "final"):
            short.setdefault(result.spec.words(), []).append(result.note.startswith(CUT_SHORT))
    return [name for name, each in short.items() if all(each)]


def _warnings(ledger: Ledger, start: dict[str, Any], totals: dict[str, Any], shots: Shots | None) -> list[str]:
    found = [*start["hygiene"].get("warnings", []), *start.get("warnings", [])]
    found += [part["sentence"] for part in (ledger.first("moved") or {}).get("parts", []) if part["moved"]]
    if limit := ledger.first("limit"):
        found.append(limit["why"])
    if shots is not None and len(shots.draws) < len(start["episodes"]):
        done, planned = len(shots.draws), len(start["episodes"])
        found.append(f"Only {done} of {planned} draws were judged: there was no time for more, or trials failed.")
    if names := stunted(list(ledger.results.values())):
        found.append(
            f"{' and '.join(names)} had no time to train to the end in the search: with a longer --budget the best "
            "baseline may be better, and the gain smaller."
        )
    if totals["partial"]:
        found.append(f"The run is partial: {totals['why'] or 'it did not end'}. Run the same command again to go on.")
    return found
