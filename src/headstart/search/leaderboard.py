"""The leaderboard: how every route stood on validation, and those that were not tried."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import strategy as strategies
from headstart.judge import metrics
from headstart.judge.evidence import LeaderboardRow, TopK
from headstart.judge.intervals import score_interval
from headstart.search.choice import group, nested
from headstart.search.finalist import drawn, validation_score
from headstart.search.ledger import Ledger
from headstart.trial import Result


def leaderboard(ledger: Ledger, metric: str, untried: list[dict[str, Any]]) -> list[LeaderboardRow]:
    """One row for each pair of source and strategy, of its finalist or else of its best setting; then the untried.

    Probes on deep, mixed and shallow layers have a row each: which of them is best says what the target takes over.

    Settings may be equal on validation; the row of the route that was judged must be about the setting that was.
    """
    final = {r.spec.setting for r in ledger.results.values() if r.spec.phase == "final"}
    families: dict[tuple[str, str, str], dict[str, list[Result]]] = {}
    for result in ledger.results.values():
        if result.spec.phase == "search":
            layers = str(result.spec.parameters.get("layers"))
            family = families.setdefault((result.spec.source, result.spec.strategy, layers), {})
            family.setdefault(result.spec.setting, []).append(result)
    rows = []
    for (source, strategy, _), by_setting in families.items():
        trials = [r for results in by_setting.values() for r in results]
        able = {key: [r for r in results if r.status == "ok"] for key, results in by_setting.items()}
        able = {key: results for key, results in able.items() if results}
        common: dict[str, Any] = {"source": source, "strategy": strategy, "side": trials[0].side, "trials": len(trials)}
        cost: dict[str, Any] = {
            "seconds": median(r.seconds for r in trials),
            "memory_mb": max(r.memory_mb for r in trials),
        }
        if not able:
            rows.append(
                LeaderboardRow(**common, **cost, score=None, low=None, high=None, status="failed", note=trials[0].error)
            )
            continue
        most = max(len(results) for results in able.values())
        full = [results for key, results in able.items() if key in final]
        full = full or [results for results in able.values() if len(results) == most]
        best = max(full, key=lambda results: mean(validation_score(r, metric) for r in results))
        logs, labels = _held(best, drawn=drawn(ledger) is not None)
        score, low, high = score_interval(logs.argmax(axis=2) == labels, labels, metric)
        failed = sum(r.status == "failed" for r in trials)
        notes = list(dict.fromkeys(r.note for r in best if r.note))
        if best[0].spec.setting in final and drawn(ledger) is None:
            notes += _leads(best[0], ledger, metric)
        if failed:
            notes.append(f"{failed} of {len(trials)} trials failed")
        rows.append(
            LeaderboardRow(
                **common,
                **cost,
                parameters=best[0].spec.parameters,
                score=score,
                low=low,
                high=high,
                top_k=_top(logs, labels),
                status="ok",
                note="; ".join(notes),
            )
        )
    rows.sort(key=lambda row: -(row.score if row.score is not None else -1.0))
    rows += [
        LeaderboardRow(
            source=u["source"],
            strategy=u["strategy"],
            side=u["side"],
            trials=0,
            score=None,
            low=None,
            high=None,
            seconds=0.0,
            memory_mb=0.0,
            status="skipped",
            note=u["note"],
        )
        for u in untried
    ]
    return rows


def _leads(finalist: Result, ledger: Ledger, metric: str) -> list[str]:
    """Why a finalist leads its side, in a sentence, where others have a higher score there."""
    scores: dict[str, dict[int, float]] = {}
    kinds = {}
    for r in ledger.of(finalist.spec.episode, "search"):
        if r.side == finalist.side and r.status == "ok":
            scores.setdefault(r.spec.setting, {})[r.spec.seed] = validation_score(r, metric)
            kinds[r.spec.setting] = group(strategies.find(r.spec.strategy))
    own = scores[finalist.spec.setting]
    above = max(scores, key=lambda key: (len(scores[key]), mean(scores[key].values())))
    if kinds[above] == kinds[finalist.spec.setting] or len(scores[above]) < 2:
        return []
    rivals = [
        each for key, each in scores.items() if kinds[key] == kinds[above] and each.keys() == scores[above].keys()
    ]
    chosen = nested(rivals)
    shared = own.keys() & chosen.keys()
    mine, theirs, best = (mean(each[fold] for fold in shared) for each in (own, chosen, scores[above]))
    if not theirs < mine <= best:
        return []
    return [
        f"leads although the best of {len(rivals)} others has {100 * best:.1f} % on the same folds, where it has "
        f"{100 * mine:.1f} %: what is chosen of those without the fold that it is judged on has {100 * theirs:.1f} %"
    ]


def _held(results: list[Result], *, drawn: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Log-probabilities (S, N, C) of what was validated on, and its labels (N,).

    Folds are different examples, one after the other; few-shot draws are validated on the same ones.
    """
    logs = [r.log_probabilities for r in results if r.log_probabilities is not None]
    labels = [r.labels for r in results if r.labels is not None]
    return (np.stack(logs), labels[0]) if drawn else (np.concatenate(logs)[None], np.concatenate(labels))


def _top(logs: NDArray[np.float32], labels: NDArray[np.int64]) -> TopK | None:
    """Top-5 accuracy of log-probabilities (S, N, C); None with five classes or fewer."""
    if logs.shape[2] <= metrics.TOP:
        return None
    score, low, high = score_interval(metrics.among_top(logs, labels), labels, "accuracy")
    return TopK(k=metrics.TOP, score=score, low=low, high=high)


def probed(ledger: Ledger, episode: str, metric: str) -> dict[str, float]:
    """Source -> validation score of its best probe in an episode, over the folds that all of them were tried on.

    Settings that stand on more folds come first, as they do for the leaderboard.
    """
    by_source: dict[str, dict[str, list[Result]]] = {}
    for result in ledger.of(episode, "search"):
        if result.spec.strategy == "probe" and result.status == "ok" and result.labels is not None:
            settings = by_source.setdefault(result.spec.source, {})
            settings.setdefault(result.spec.setting, []).append(result)
    if not by_source:
        return {}
    # Means over different folds are not compared.
    shared = set.intersection(
        *({r.spec.seed for results in settings.values() for r in results} for settings in by_source.values())
    )
    found: dict[str, float] = {}
    for source, settings in by_source.items():
        by_setting = [
            [validation_score(r, metric) for r in results if r.spec.seed in shared] for results in settings.values()
        ]
        if able := [scores for scores in by_setting if scores]:
            most = max(map(len, able))
            # Rounded, so that what is equal but for the order of a sum is equal.
            found[source] = round(max(mean(scores) for scores in able if len(scores) == most), 9)
    return found
