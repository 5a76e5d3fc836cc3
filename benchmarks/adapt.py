"""Domain adaptation chosen without target labels, on five families of pairs of domains, beside skada.

    python -m benchmarks adapt --set families=2 --set peer=0 --results FOLDER     # two families, without skada

For every pair each way of adaptation is fitted on all of both domains, and the guard of `headstart adapt` chooses;
then, and only for this table, the target's labels tell what each was worth. The record by which a way is chosen, what
the guard asks of it, and how far each validator is trusted is what the *other* families say, never the family itself.
Every pair but the simulated ones has a twin of which half of the target's classes keep one example of seven: a label
shift that nobody is told of. Fitted routes are kept in the cache until their code changes, so that a cut run goes on
where it was. There is no time budget.

skada (0.6) runs on the same features in an environment of its own, on the first families alone, since it takes minutes
a pair on the others; every method with its default hyper-parameters, picked by each of its own label-free scorers.
KLIEP, DASVM, TJM and TSL are left out: each takes minutes a pair. Both sides have one thread, and times are CPU
seconds, which a busy machine hardly changes. Way by way each of ours is timed as if there were no other; over the whole
table what several of them share is counted once, as it is computed once in a run.

    python -m benchmarks.adapt     # from the kept result: RELIABILITY and RECORD, as headstart.domains holds them
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import common
from benchmarks.adapt_tasks import FAMILIES, Task
from benchmarks.adapt_units import Unit, fitted_alone, unit
from benchmarks.common import DATA, target
from benchmarks.peers import environment
from headstart.machine import one_thread

RESAMPLES = 1_000
BAD, RARE = 0.01, 0.05  # worse by more than this, in no more than this share of pairs
PUBLISHED = {"1NN": 0.314, "SVM": 0.411, "CORAL": 0.488}  # means of the 12 pairs of Office-Caltech, SURF
SKEWED_RARE = 0.1  # the same of twins, each of which was made to mislead
SKEW = 1 / 7  # of the examples of half of the classes are left in a twin
FLOWS, DROPS = (0.3, 0.4, 0.5, 0.6, 0.7), (0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
"""That a guard might ask for. That it asks for nothing is not among them: that no other family was harmed without it is
no reason to do without, because nothing but a label tells a label shift from what must be mended."""
RATIO = 5.0
LIMIT = 3600.0  # seconds of skada on one pair
SHARED = {  # ways that both have: ours, and skada's
    "coral": "coral",
    "subspace": "subspace",
    "tca": "tca",
    "transport (strength 0.0)": "entropic_ot",
    "transport": "class_ot",
    "transport (rounds 10)": "jdot",
    "reweight": "discriminator",
    "reweight (weights kmm, flat 1.0)": "kmm",
}
SOURCE_ONLY = "source-only"


def main(families: int = len(FAMILIES), peer: int = 3) -> Iterator[dict[str, Any]]:
    """Every family; what there is so far after each.

    Args:
        families: how many, in the order of `FAMILIES`.
        peer: on how many of them skada is run.
    """
    chosen = list(FAMILIES)[:families]
    if absent := [
        FAMILIES[name][1] for name in chosen if FAMILIES[name][1] and not (DATA / FAMILIES[name][1]).is_dir()
    ]:
        yield {"skipped": f"no {', '.join(absent)}"}
        return
    why = environment.lacking(requirements=environment.DOMAINS) if peer else "not asked for"
    records: dict[str, list[dict[str, Any]]] = {}
    for family in chosen:
        records[family] = []
        for task in FAMILIES[family][0]():
            record = measured(task, unit(task))
            if not why and family in chosen[:peer]:
                record["skada"] = beside(task)
            records[family].append(record)
            print(f"   {family}, {task.name}: {_words(record)}", file=sys.stderr, flush=True)
        yield {"partial": True} | summary(records, why) if len(records) < len(chosen) else summary(records, why)


def measured(task: Task, fitted: Unit, trust: Mapping[str, float] | None = None) -> dict[str, Any]:
    """One pair: what every validator says of every route, what every route changes and is worth, and what it took.

    Args:
        task: the pair.
        fitted: the routes.
        trust: in validators; None: the usual one.
    """
    from headstart.domains.record import change
    from headstart.domains.validate import TRUST, Seen, agreement, common_ground

    began = time.process_time()
    with one_thread():
        ground = common_ground(task.Xs, task.Xt, fitted.held)
        seen = {
            name: Seen(fitted.left_out[i], task.ys[fitted.held], ground.weights, fitted.asked[i], ground.Xs, ground.Xt)
            for i, name in enumerate(fitted.names)
        }
        said = agreement(seen, SOURCE_ONLY, apart=ground.apart, trust=TRUST if trust is None else trust)
        changes = {name: change(seen[SOURCE_ONLY], each) for name, each in seen.items()}
    spent = time.process_time() - began
    right = fitted.asked.argmax(axis=2) == task.yt
    alone = fitted.cpu[:, 0] if fitted.alone is None else fitted.alone
    return {
        "name": task.name,
        "task": task,
        "reference": seen[SOURCE_ONLY],
        "examples": [len(task.ys), len(task.yt)],
        "right": dict(zip(fitted.names, right, strict=True)),
        "change": changes,
        "cpu_seconds": dict(zip(fitted.names, fitted.cpu.tolist(), strict=True)),
        "alone_cpu_seconds": dict(zip(fitted.names, alone.tolist(), strict=True)),
        "choosing_cpu_seconds": spent,
        "said": said,
        "twins": {},
    }


@dataclass(frozen=True)
class Case:
    """What the guard sees of one way on one pair, and what the way gains: (M,) right answers less source-only's."""

    change: Any
    apart: float
    gains: NDArray[np.float64]

    @property
    def gain(self) -> float:
        """Mean over the target's examples."""
        return float(self.gains.mean())


def case_of(reference: Any, asked: NDArray[np.float32], truth: NDArray[np.int64], apart: float) -> Case:
    """Of a way that says `asked` where source-only says what `reference` holds, of examples with the labels `truth`."""
    from headstart.domains.record import change

    said = [(logs.argmax(axis=1) == truth).astype(np.float64) for logs in (asked, reference.asked)]
    return Case(change(reference, replace(reference, asked=asked)), apart, said[0] - said[1])


def case(record: dict[str, Any], way: str) -> Case:
    """Of a pair as it is."""
    gains = record["right"][way].astype(np.float64) - record["right"][SOURCE_ONLY]
    return Case(record["change"][way], record["said"].apart, gains)


def twin(record: dict[str, Any], way: str) -> Case | None:
    """Of the pair with fewer examples of half of the target's classes; None of simulated pairs, which have shifts."""
    from headstart.domains.two_sample import classifier_test

    task: Task = record["task"]
    if task.points is not None:
        return None
    if way not in record["twins"]:
        rows = thinned(task)
        reference = replace(record["reference"], asked=record["reference"].asked[rows])
        with one_thread():
            asked = fitted_alone(way, task, rows)
            apart = classifier_test(task.Xs, task.Xt[rows], permutations=0, seed=0).auc
        record["twins"][way] = case_of(reference, asked, task.yt[rows], apart)
    found: Case = record["twins"][way]
    return found


def thinned(task: Task) -> NDArray[np.int64]:
    """Rows of the target that a twin keeps."""
    rng = np.random.default_rng(zlib.crc32(f"{task.family} {task.name}".encode()))
    rare = rng.permutation(task.classes)[: task.classes // 2]
    kept = []
    for c in range(task.classes):
        rows = rng.permutation(np.flatnonzero(task.yt == c))
        kept.append(rows[: max(3, round(SKEW * len(rows)))] if c in rare else rows)
    return np.sort(np.concatenate(kept))


def beside(task: Task) -> dict[str, Any]:
    """What skada gives, from the cache where it has it: on the same features and, in the plane, on the points too."""
    found = {}
    for how, pair in (("features", (task.Xs, task.Xt)), ("points", task.points)):
        if pair is not None:
            content = {"Xs": pair[0], "ys": task.ys, "Xt": pair[1], "yt": task.yt, "kernel": int(how == "points")}
            found[how] = _skada_on(content)
    return found


def _skada_on(content: dict[str, Any]) -> dict[str, Any]:
    """The methods of skada on a pair, kept until its script or its versions change."""

    def ran() -> dict[str, Any]:
        python = environment.python(environment.DOMAINS)
        assert python is not None
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "task.npz"
            np.savez(path, **content)
            return common.peer(python, "skada_adapt", Path(name) / "peer.json", path, limit=LIMIT)

    code = [(common.PEERS / "skada_adapt.py").read_bytes(), environment.DOMAINS.read_bytes()]
    return common.kept("adapt/skada", [*code, *(np.asarray(part).tobytes() for part in content.values())], ran)


# -- choosing, with what the other families say -----------------------------------------------------------------------


def reliability(records: list[dict[str, Any]]) -> dict[str, float]:
    """Validator -> mean over pairs of Spearman's correlation between its values and the truth, over all routes."""
    from scipy.stats import spearmanr

    found: dict[str, list[float]] = {}
    for record in records:
        truth = [float(right.mean()) for right in record["right"].values()]
        for v in next(iter(record["said"].values.values())):
            values = [record["said"].values[name][v] for name in record["right"]]
            flat = len(set(values)) < 2 or len(set(truth)) < 2
            found.setdefault(v, []).append(0.0 if flat else float(spearmanr(values, truth).statistic))
    return {v: mean(each) for v, each in found.items()}


def weighed_by(record: dict[str, Any], others: list[list[dict[str, Any]]]) -> Any:
    """What the validators of one pair say together, trusted as the other families say."""
    from headstart.domains.validate import trusted, weighed

    said = record["said"]
    trust = trusted([reliability(family) for family in others])
    if not sum(trust.values()):  # nothing is known elsewhere
        trust = dict.fromkeys(said.trust, 1.0)
    return weighed(said.values, said.lead, SOURCE_ONLY, trust, first=said.first, apart=said.apart)


def gained(tasks: list[dict[str, Any]]) -> dict[str, float] | None:
    """Way -> mean gain over the pairs of a family whose domains are apart; None where there are none."""
    from headstart.domains.record import CAP
    from headstart.domains.validate import APART

    apart = [record for record in tasks if record["said"].apart >= APART]
    ways = [way for way in tasks[0]["right"] if way != SOURCE_ONLY]
    if not apart:
        return None
    return {way: float(np.mean([np.clip(case(r, way).gain, -CAP, CAP) for r in apart])) for way in ways}


def usual_of(families: list[list[dict[str, Any]]]) -> str | None:
    """The way with the best record in some families."""
    from headstart.domains.record import usual

    records = [found for tasks in families if (found := gained(tasks)) is not None]
    return usual(records[0], records) if records else None


def asked_of(families: list[list[dict[str, Any]]]) -> tuple[float, float]:
    """Flow and drop that gain most over some families, where each has the record of the rest, and seldom do harm."""
    from headstart.domains.record import CAP, DROP, FLOW

    cases: list[tuple[str, list[Case], list[Case]]] = []
    for family in families:
        if (way := usual_of([other for other in families if other is not family])) is not None:
            twins = [found for r in family if (found := twin(r, way)) is not None]
            cases.append((way, [case(r, way) for r in family], twins))
    best = (-np.inf, -np.inf, FLOW, DROP)
    for flow in FLOWS if cases else ():
        for drop in DROPS:
            plain = [[shipped_gain(each, way, flow, drop) for each in found] for way, found, _ in cases]
            skewed = [shipped_gain(each, way, flow, drop) for way, _, found in cases for each in found]
            harm = _excess(list(itertools.chain(*plain)), RARE) + _excess(skewed, SKEWED_RARE)
            best = max(best, (-harm, mean(float(np.clip(each, -CAP, CAP).mean()) for each in plain), flow, drop))
    return best[2], best[3]


def shipped_gain(found: Case, way: str, flow: float, drop: float) -> float:
    """What is gained by the way, or by source-only where the guard refuses it."""
    from headstart.domains.record import allowed

    return found.gain if allowed(way, found.change, found.apart, SOURCE_ONLY, flow=flow, drop=drop)[0] else 0.0


def _excess(gains: list[float], rare: float) -> float:
    """By how much the share of pairs that are harmed exceeds what is allowed."""
    return max(0.0, float(np.mean(np.array(gains) < -BAD)) - rare) if gains else 0.0


@dataclass(frozen=True)
class Picks:
    """What is chosen for the pairs of one family by what the others say.

    Args:
        way: with the best record; None: no other family has one.
        flow: that the guard asks for.
        drop: likewise.
        first: of every pair what validators rank first.
        agreed: of every pair what they would ship by themselves.
        shipped: of every pair what is shipped.
        twins: of every twin (gains of the way, whether it is shipped).
    """

    way: str | None
    flow: float
    drop: float
    first: list[str]
    agreed: list[str]
    shipped: list[str]
    twins: list[tuple[NDArray[np.float64], bool]]


def picked(tasks: list[dict[str, Any]], others: list[list[dict[str, Any]]]) -> Picks:
    """The choice for every pair and twin of a family."""
    from headstart.domains.record import allowed
    from headstart.domains.validate import guarded

    found = [weighed_by(record, others) for record in tasks]
    agreed = [guarded(said, SOURCE_ONLY)[0] for said in found]
    way, (flow, drop) = usual_of(others), asked_of(others)
    shipped, twins = agreed, []
    if way is not None:

        def fine(each: Case) -> bool:
            return allowed(way, each.change, each.apart, SOURCE_ONLY, flow=flow, drop=drop)[0]

        shipped = [way if fine(case(record, way)) else SOURCE_ONLY for record in tasks]
        twins = [(other.gains, fine(other)) for record in tasks if (other := twin(record, way)) is not None]
    return Picks(way, flow, drop, [said.chosen for said in found], agreed, shipped, twins)


def gain(diffs: list[NDArray[np.float64]], seed: int = 0) -> list[float]:
    """Mean over pairs of mean differences, and its 95 % interval over drawn examples of every pair."""
    rng = np.random.default_rng(seed)
    draws = [rng.multinomial(len(d), np.full(len(d), 1 / len(d)), RESAMPLES) @ d / len(d) for d in diffs]
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    return [round(float(value), 4) for value in (mean(float(d.mean()) for d in diffs), low, high)]


def _gains(diffs: list[NDArray[np.float64]]) -> dict[str, Any]:
    """The gain, and in how many pairs there is a loss of more than a point."""
    return {"gain": gain(diffs), "worse": sum(float(d.mean()) < -BAD for d in diffs)}


def summary(records: dict[str, list[dict[str, Any]]], why: str) -> dict[str, Any]:
    """The tables and what they must show."""
    families: dict[str, Any] = {}
    for family, tasks in records.items():
        others = [each for name, each in records.items() if name != family]
        families[family] = _family(tasks, picked(tasks, others))
    return {"families": families, **({"without_skada": why} if why else {}), "targets": _targets(families)}


def table(tasks: list[dict[str, Any]], ways: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Way -> accuracy, gain over source-only, pairs in which it is worse, and the CPU seconds of a fit.

    Of a fit by itself, and of one after the ways before it, which may have computed what it needs.

    Args:
        tasks: records of pairs.
        ways: way -> the route that it is in each pair.
    """
    found: dict[str, dict[str, Any]] = {}
    for way, names in ways.items():
        right = [t["right"][name] for t, name in zip(tasks, names, strict=True)]
        base = [t["right"][SOURCE_ONLY] for t in tasks]
        diffs = [r.astype(np.float64) - b for r, b in zip(right, base, strict=True)]
        found[way] = {"accuracy": round(mean(float(r.mean()) for r in right), 4), **_gains(diffs)}
        if way in tasks[0]["cpu_seconds"]:
            spent = [(t.get("alone_cpu_seconds", {}).get(way), t["cpu_seconds"][way][0]) for t in tasks]
            found[way]["fit_cpu_seconds"] = round(mean(after if alone is None else alone for alone, after in spent), 4)
            found[way]["after_others_cpu_seconds"] = round(mean(after for _, after in spent), 4)
    return found


def _family(tasks: list[dict[str, Any]], picks: Picks) -> dict[str, Any]:
    oracle = [max(t["right"], key=lambda name: t["right"][name].mean()) for t in tasks]
    sides = {"first": picks.first, "agreed": picks.agreed, "pick": picks.shipped, "oracle": oracle}
    ways = {name: [name] * len(tasks) for name in tasks[0]["right"]} | sides
    found: dict[str, Any] = {
        "pairs": [
            {
                "name": t["name"],
                "examples": t["examples"],
                "accuracy": {way: round(float(t["right"][ways[way][i]].mean()), 4) for way in (SOURCE_ONLY, *sides)},
                "ranked_first": picks.first[i],
                "shipped": picks.shipped[i],
            }
            for i, t in enumerate(tasks)
        ],
        "ways": table(tasks, ways),
        "record": {way: round(value, 4) for way, value in (gained(tasks) or {}).items()},
        "usual": picks.way,
        "flow": picks.flow,
        "drop": picks.drop,
        "reliability": {v: round(value, 3) for v, value in reliability(tasks).items()},
        "whole_cpu_seconds": round(
            sum(float(np.sum(list(t["cpu_seconds"].values()))) + t["choosing_cpu_seconds"] for t in tasks), 1
        ),
    }
    if picks.twins:
        shipped = [gains if fine else np.zeros_like(gains) for gains, fine in picks.twins]
        whole = [gains for gains, _ in picks.twins]
        found["twins"] = {"always": _gains(whole), "pick": _gains(shipped)}
    if "skada" in tasks[0]:
        found["skada"] = {how: _skada(tasks, how, picks) for how in tasks[0]["skada"]}
    return found


def _skada(tasks: list[dict[str, Any]], how: str, picks: Picks) -> dict[str, Any]:
    """The methods of skada and the picks of its scorers, and by how much our pick is above the best of those."""
    methods = [t["skada"][how]["methods"] for t in tasks]
    names = [name for name in methods[0] if all("accuracy" in each[name] for each in methods)]
    scorers = {
        scorer
        for name in names
        for scorer in methods[0][name]["scores"]
        if all(each[SOURCE_ONLY]["scores"][scorer] is not None for each in methods)
    }
    by_scorer = {scorer: [_picked_by(scorer, names, each) for each in methods] for scorer in sorted(scorers)}
    best = max(by_scorer, key=lambda scorer: mean(by_scorer[scorer]))
    ahead = np.array([float(t["right"][picks.shipped[i]].mean()) - by_scorer[best][i] for i, t in enumerate(tasks)])
    seconds = ("fit_cpu_seconds", "score_cpu_seconds")
    return {
        "versions": tasks[0]["skada"][how]["versions"],
        "methods": {
            name: {
                "accuracy": round(mean(each[name]["accuracy"] for each in methods), 4),
                "fit_cpu_seconds": round(mean(each[name]["fit_cpu_seconds"] for each in methods), 3),
            }
            for name in names
        },
        "failed": sorted(set(methods[0]) - set(names)),
        "picks": {scorer: round(mean(found), 4) for scorer, found in by_scorer.items()},
        "best_scorer": best,
        "ahead": [round(float(ahead.mean()), 4), round(float(ahead.std(ddof=1) / np.sqrt(len(ahead))), 4)],
        "whole_cpu_seconds": round(sum(each[n][s] for each in methods for n in names for s in seconds), 1),
    }


def _picked_by(scorer: str, names: list[str], methods: dict[str, Any]) -> float:
    """The accuracy of the method that a scorer of skada puts first on one pair."""
    able = [name for name in names if methods[name]["scores"][scorer] is not None]
    return float(methods[max(able, key=lambda name: methods[name]["scores"][scorer])]["accuracy"])


def _targets(families: dict[str, Any]) -> list[dict[str, object]]:
    lines = []
    for name, family in families.items():
        found = family["ways"]["pick"]
        least = -BAD if name == "simulated" else 0.0
        asked = "never more than 1 point below" if least else "at least"
        lines.append(
            target(f"{name}: our pick on average {asked} source-only", found["gain"][0] >= least, points(found["gain"]))
        )
    worse = sum(family["ways"]["pick"]["worse"] for family in families.values())
    pairs = sum(len(family["pairs"]) for family in families.values())
    lines.append(
        target(
            "our pick worse than source-only by more than 1 point in at most 5 % of pairs",
            worse <= RARE * pairs,
            f"{worse} of {pairs}",
        )
    )
    skewed = {name: family["twins"]["pick"] for name, family in families.items() if "twins" in family}
    if skewed:
        harmed = sum(each["worse"] for each in skewed.values())
        told = ", ".join(f"{name} {points(each['gain'])}" for name, each in skewed.items())
        lines.append(
            target(
                "twins with a label shift that nobody is told of: our pick on average never more than 1 point below "
                "source-only, in every family",
                all(each["gain"][0] >= -BAD for each in skewed.values()),
                f"{told}; {harmed} pairs worse by more than a point",
            )
        )
    if "office" in families:
        found = families["office"]["ways"]["pick"]["accuracy"]
        what = ", ".join(f"{name} {100 * score:.1f}" for name, score in PUBLISHED.items())
        lines.append(target(f"office: our pick above {what}", found > max(PUBLISHED.values()), f"{100 * found:.1f} %"))
    for name, family in families.items():
        for how, theirs in family.get("skada", {}).items():
            ahead, error = theirs["ahead"]
            lines.append(
                target(
                    f"{name}, {how}: our pick at least skada's best label-free pick, within two standard errors",
                    ahead >= -2 * error,
                    f"{100 * ahead:+.1f} points, standard error {100 * error:.1f}",
                )
            )
    if ratios := _ratios(families):
        found = ", ".join(f"{ours} {ratio:.1f}" for ours, ratio in ratios.items())
        middle = float(np.median(list(ratios.values())))
        lines.append(
            target(
                f"CPU seconds to fit one way by itself, skada against ours, median over ways that both have: at least "
                f"{RATIO:.0f}",
                middle >= RATIO,
                f"{middle:.1f} ({found})",
            )
        )
        both = [f for f in families.values() if "skada" in f]
        whole = sum(f["skada"]["features"]["whole_cpu_seconds"] for f in both)
        ours = sum(f["whole_cpu_seconds"] for f in both)
        lines.append(
            target(
                f"CPU seconds to fit every way and to choose, skada against ours, what ways share counted "
                f"once: at least {RATIO:.0f}",
                whole >= RATIO * ours,
                f"{whole / ours:.1f}",
            )
        )
    return lines


def _ratios(families: dict[str, Any]) -> dict[str, float]:
    """Ours -> how many times our CPU seconds skada takes for the same way, over all pairs of all families."""
    found = {}
    for ours, theirs in SHARED.items():
        spent = [
            (
                len(f["pairs"]) * f["skada"]["features"]["methods"][theirs]["fit_cpu_seconds"],
                len(f["pairs"]) * f["ways"][ours]["fit_cpu_seconds"],
            )
            for f in families.values()
            if theirs in f.get("skada", {}).get("features", {}).get("methods", {})
        ]
        if spent:
            found[ours] = round(sum(s for s, _ in spent) / max(sum(o for _, o in spent), 1e-9), 2)
    return found


def points(found: list[float]) -> str:
    """A gain and its interval, in words."""
    estimate, low, high = (100 * value for value in found)
    return f"{estimate:+.1f} points ({low:+.1f} to {high:+.1f})"


def _words(record: dict[str, Any]) -> str:
    scores = {name: 100 * float(right.mean()) for name, right in record["right"].items()}
    best = max(scores, key=lambda name: scores[name])
    first = record["said"].chosen
    told = ", ".join(f"{what} {name} {scores[name]:.1f}" for what, name in (("ranked first", first), ("best", best)))
    return f"source-only {scores[SOURCE_ONLY]:.1f}, {told}"


def _command() -> None:
    """Print what the last kept result says of validators and of ways, as `headstart.domains` holds it."""
    path = Path(__file__).parent / "results" / "adapt.json"
    families = json.loads(path.read_text(encoding="utf-8"))["measured"]["families"]
    print("RELIABILITY")
    for name, family in families.items():
        print(f'"{name}": ({", ".join(map(str, family["reliability"].values()))}),')
    recorded = {name: family["record"] for name, family in families.items() if family["record"]}
    print(f"RECORD of {', '.join(recorded)}")
    for way in next(iter(recorded.values())):
        print(f'"{way}": ({", ".join(str(each[way]) for each in recorded.values())}),')


if __name__ == "__main__":
    _command()
