"""From the ledger of an adaptation to its part of the evidence: labels of the target, and what each way of it gave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.domains.several import ALL
from headstart.judge.adaptation import Learned, points, worth, worth_words
from headstart.judge.evidence import AdaptationRecord, Gain, SourceDomain, TriedRoute
from headstart.judge.intervals import paired_interval, score_interval
from headstart.search.ledger import Ledger
from headstart.strategy.adapt.joint import Joint
from headstart.strategy.adapt.source_only import SourceOnly
from headstart.strategy.adapt.target_only import TargetOnly
from headstart.trial import Result, decode

Labels = NDArray[np.int64]
ALONE, UNADAPTED, JOINT = TargetOnly.name, SourceOnly.name, Joint.name


def adaptation(ledger: Ledger, truth: Labels, metric: str) -> AdaptationRecord | None:
    """How the target's labels were used and what came of it; None: the run is no adaptation.

    Args:
        ledger: of the run.
        truth: (N,) of the opened seal.
        metric: the primary one.
    """
    chosen = ledger.first("chosen")
    if chosen is None:
        return None
    results = {name: ledger.results[key] for name, key in chosen["routes"].items() if key in ledger.results}
    rows = _learned(ledger, results, truth)
    without = _without(rows)
    found = worth(rows, ALONE, without, truth) if without is not None else None
    domains = _domains(ledger, truth, metric)
    over = _over(ledger, results, truth, metric)
    sentences = [worth_words(found)] if found is not None else []
    if len(over) > 1:
        gains = (_points(gain, f" over {name}") for name, gain in over.items())
        sentences.append(f"On the sealed examples the adapted finalist is {', '.join(gains)}.")
    for domain in domains:
        assert domain.gain is not None
        kept = "" if domain.kept else "; it was dropped"
        verb = "gives" if domain.gain.estimate >= 0 else "costs"
        sentences.append(f"{domain.name} {verb} source-only {_points(domain.gain)}{kept}.")
    return AdaptationRecord(
        learned=chosen["learned"],
        used=chosen["used"],
        routes=_routes(results, chosen["labelled"], truth, metric),
        over=over,
        curve=points(rows, truth, metric),
        worth=found,
        domains=domains,
        sentences=sentences,
    )


def _points(gain: Gain, over: str = "") -> str:
    return f"{100 * gain.estimate:+.1f} points{over} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def _correct(result: Result, truth: Labels) -> NDArray[np.bool_]:
    assert result.log_probabilities is not None
    return np.asarray(result.log_probabilities.argmax(axis=1) == truth)


def _routes(results: dict[str, Result], labelled: dict[str, float], truth: Labels, metric: str) -> list[TriedRoute]:
    found = []
    for name, result in results.items():
        score, low, high = score_interval(_correct(result, truth)[None], truth, metric, resamples=1_000)
        weight = result.said.get("source_weight")
        found.append(
            TriedRoute(
                name=name,
                score=score,
                low=low,
                high=high,
                labelled=labelled.get(name),
                source_weight=[weight["value"], weight["low"], weight["high"]] if weight else None,
            )
        )
    return sorted(found, key=lambda row: (-row.score, row.name))


def _over(ledger: Ledger, results: dict[str, Result], truth: Labels, metric: str) -> dict[str, Gain]:
    """The adapted finalist against each baseline, on the same sealed examples."""
    finals = [r for r in ledger.results.values() if r.spec.phase == "final" and r.side == "transfer"]
    if not finals:
        return {}
    adapted, found = _correct(finals[-1], truth)[None], {}
    for name in (UNADAPTED, ALONE):
        if name in results:
            estimate, low, high = paired_interval(adapted, _correct(results[name], truth)[None], truth, metric)
            found[name] = Gain(estimate=estimate, low=low, high=high)
    return found


def _learned(ledger: Ledger, results: dict[str, Result], truth: Labels) -> list[Learned]:
    """The routes of the label curve at each number of target labels, those that all were learned from included."""
    fewer: dict[tuple[str, int], list[Result]] = {}
    for result in ledger.results.values():
        if result.spec.phase == "label curve" and result.status == "ok":
            fewer.setdefault((result.spec.setting, result.spec.labels or 0), []).append(result)
    names = {result.spec.setting: name for name, result in results.items()}
    found = [
        Learned(names[setting], each, np.stack([_correct(r, truth) for r in drawn]))
        for (setting, each), drawn in fewer.items()
        if setting in names
    ]
    full = (ledger.first("chosen") or {})["each"]
    if not full:
        return []
    traced = {row.route for row in found} | {ALONE, JOINT}
    found += [Learned(name, full, _correct(r, truth)[None]) for name, r in results.items() if name in traced]
    if JOINT in traced and UNADAPTED in results:
        found.append(Learned(UNADAPTED, 0, _correct(results[UNADAPTED], truth)[None]))
    return found


def _without(rows: list[Learned]) -> Learned | None:
    """The route that learned from no target label: the adaptation's, or, where it is the joint, source-only."""
    return next((row for row in sorted(rows, key=lambda row: row.route == UNADAPTED) if row.each == 0), None)


def _domains(ledger: Ledger, truth: Labels, metric: str) -> list[SourceDomain]:
    event = ledger.first("domains")
    if event is None or "asked" not in event:
        return []
    right: dict[str, Any] = {name: decode(logs).argmax(axis=1)[None] == truth for name, logs in event["asked"].items()}
    found = []
    for name in event["names"]:
        estimate, low, high = paired_interval(right[ALL], right[name], truth, metric)
        found.append(
            SourceDomain(
                name=name,
                kept=name not in event["dropped"],
                discrepancy=event["discrepancy"][name],
                validators=event["validators"][name],
                helped=list(event["helped"][name]),
                harmed=list(event["harmed"][name]),
                gain=Gain(estimate=estimate, low=low, high=high),
            )
        )
    return found
