"""The record of deep ways of adaptation: by how much each is ahead of the shallow way that is shipped otherwise.

Every pair has the twin of `benchmarks.adapt`, of which half of the target's classes keep one example of seven. What is
chosen for a family is what the other families say; of shallow ways those of `RECORD`, without the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import adapt_deep_units as units
from benchmarks.adapt import BAD, RARE, SKEWED_RARE, SOURCE_ONLY, Case, case_of, gain, points, thinned
from benchmarks.adapt_deep_tasks import Pair
from benchmarks.adapt_units import fitted_alone, unit
from benchmarks.common import target
from headstart.domains.record import CAP, RECORD, first_allowed, usual, wanted
from headstart.domains.validate import APART
from headstart.machine import one_thread

WAYS = ("adabn-tri-train", "shot", "adabn")
"""Deep ways that are measured on every pair: the two that are ahead of tri-train on average over photos to the other
styles, and what both begin with. The others are behind it there, and take a quarter of a minute for each fit."""
SAME = {"digit pictures": "digits"}
"""Family of pictures -> the family of `RECORD` that is made of the same data, where it is called otherwise."""

Leads = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Examined:
    """One pair.

    Args:
        name: which.
        examples: of the source, and of the target.
        right: way -> (M,) whether it is right of each target example; source-only, the usual shallow way, deep ones.
        cases: way -> what it changes and gains, source-only left out.
        twins: likewise on the target with fewer examples of half of its classes.
    """

    name: str
    examples: tuple[int, int]
    right: dict[str, NDArray[np.bool_]]
    cases: dict[str, Case]
    twins: dict[str, Case]


def without(families: Mapping[str, Mapping[str, float]], family: str) -> list[Mapping[str, float]]:
    """What was measured on other data than that of a family."""
    return [found for name, found in families.items() if name not in (family, SAME.get(family))]


def examined(pair: Pair) -> Examined:
    """A pair, every way fitted on all of it and on its twin."""
    from headstart.domains.two_sample import classifier_test
    from headstart.domains.validate import Seen, common_ground

    task, fitted = pair.task, unit(pair.task)
    shallow = usual(fitted.names, without(RECORD, task.family))
    assert shallow is not None
    rows = thinned(task)
    with one_thread():
        ground = common_ground(task.Xs, task.Xt, fitted.held)
        apart = classifier_test(task.Xs, task.Xt[rows], permutations=0, seed=0).auc
    at = fitted.names.index
    base = fitted.asked[at(SOURCE_ONLY)]
    reference = Seen(fitted.left_out[at(SOURCE_ONLY)], task.ys[fitted.held], ground.weights, base, ground.Xs, ground.Xt)

    def cases(said: dict[str, NDArray[np.float32]], rows: NDArray[np.int64], apart: float) -> dict[str, Case]:
        own = replace(reference, asked=base[rows])
        return {way: case_of(own, asked, task.yt[rows], apart) for way, asked in said.items()}

    whole = {shallow: fitted.asked[at(shallow)]}
    whole |= {way: units.trial(pair, way, "candidate", 0)[0] for way in WAYS}
    twins = {shallow: fitted_alone(shallow, task, rows)} | {way: units.twin(pair, way, rows) for way in WAYS}
    everything = np.arange(len(task.yt))
    return Examined(
        task.name,
        (len(task.ys), len(task.yt)),
        {way: said.argmax(axis=1) == task.yt for way, said in ({SOURCE_ONLY: base} | whole).items()},
        cases(whole, everything, ground.apart),
        cases(twins, rows, apart),
    )


def led(found: list[Examined]) -> dict[str, float]:
    """Deep way -> mean lead over the usual shallow one, over the pairs of a family whose domains are apart."""
    shallow = next(iter(found[0].cases))
    pairs = [pair.cases for pair in found if pair.cases[shallow].apart >= APART]
    return {
        way: float(np.mean([np.clip(cases[way].gain - cases[shallow].gain, -CAP, CAP) for cases in pairs]))
        for way in WAYS
    }


def shipped(cases: dict[str, Case], ways: dict[str, float]) -> str:
    """What `headstart adapt` ships of some ways with a record, as :func:`wanted` gives them."""
    apart = next(iter(cases.values())).apart
    return first_allowed(ways, {way: cases[way].change for way in ways}, apart, SOURCE_ONLY).shipped


def summary(records: dict[str, list[Examined]]) -> dict[str, Any]:
    """Family -> its tables."""
    leads = {family: led(found) for family, found in records.items()}
    return {family: _family(family, found, leads) for family, found in records.items()}


def _family(family: str, found: list[Examined], leads: Leads) -> dict[str, Any]:
    shallow = next(iter(found[0].cases))
    ways = wanted(found[0].cases, without(RECORD, family), without(leads, family))
    alone = {way: flow for way, flow in ways.items() if way not in WAYS}
    chosen = {"pick": ways, "without_deep": alone}
    picks = {side: [shipped(pair.cases, able) for pair in found] for side, able in chosen.items()}

    def gains(kind: str, name: Callable[[int], str]) -> list[NDArray[np.float64]]:
        """Of every pair, or twin, one way's (M,) gains over source-only."""
        cases = [getattr(pair, kind) for pair in found]
        return [
            each[name(i)].gains if name(i) != SOURCE_ONLY else np.zeros_like(each[shallow].gains)
            for i, each in enumerate(cases)
        ]

    told: dict[str, Any] = {way: _told([pair.cases[way].gains for pair in found]) for way in (shallow, *WAYS)}
    for way in WAYS:
        told[way]["ahead"] = gain([pair.cases[way].gains - pair.cases[shallow].gains for pair in found])
    told |= {side: _told(gains("cases", names.__getitem__)) for side, names in picks.items()}
    skewed: dict[str, Any] = {way: _told([pair.twins[way].gains for pair in found]) for way in (shallow, *WAYS)}
    for side, able in chosen.items():
        names = [shipped(pair.twins, able) for pair in found]
        skewed[side] = _told(gains("twins", names.__getitem__)) | {"adapted": sum(n != SOURCE_ONLY for n in names)}
    return {
        "pairs": [
            {
                "name": pair.name,
                "examples": list(pair.examples),
                "accuracy": {way: round(float(right.mean()), 4) for way, right in pair.right.items()},
                "twin_gain": {way: round(case.gain, 4) for way, case in pair.twins.items()},
                "apart": round(pair.cases[shallow].apart, 3),
                "shipped": picks["pick"][i],
            }
            for i, pair in enumerate(found)
        ],
        "accuracy": {way: round(mean(float(pair.right[way].mean()) for pair in found), 4) for way in found[0].right},
        "usual": shallow,
        "chosen": list(ways),
        "ways": told,
        "twins": skewed,
        "record": {way: round(value, 4) for way, value in leads[family].items()},
    }


def _told(gains: list[NDArray[np.float64]]) -> dict[str, Any]:
    """The gain over source-only, and in how many pairs there is a loss of more than a point."""
    return {"gain": gain(gains), "worse": sum(float(each.mean()) < -BAD for each in gains)}


def targets(families: dict[str, Any]) -> list[dict[str, object]]:
    """What the families must show."""
    lines = []
    for name, family in families.items():
        picked = family["ways"]["pick"]
        lines.append(
            target(f"{name}: our pick on average at least source-only", picked["gain"][0] >= 0, points(picked["gain"]))
        )
    for kind, words, rare in (("ways", "pairs", RARE), ("twins", "twins", SKEWED_RARE)):
        worse = sum(family[kind]["pick"]["worse"] for family in families.values())
        count = sum(len(family["pairs"]) for family in families.values())
        lines.append(
            target(
                f"our pick worse than source-only by more than 1 point in at most {100 * rare:.0f} % of {words}",
                worse <= rare * count,
                f"{worse} of {count}",
            )
        )
    told = ", ".join(f"{name} {points(family['twins']['pick']['gain'])}" for name, family in families.items())
    lines.append(
        target(
            "twins with a label shift that nobody is told of: our pick on average never more than 1 point below "
            "source-only, in every family",
            all(family["twins"]["pick"]["gain"][0] >= -BAD for family in families.values()),
            told,
        )
    )
    return lines
