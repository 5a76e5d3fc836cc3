"""The record of some ways of adaptation: by how much each is ahead of the shallow way that is shipped otherwise.

Every pair has the twin of `benchmarks.adapt`, of which half of the target's classes keep one example of seven. What is
chosen for a family is what the other families say; of shallow ways those of `RECORD`, without the same data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
SAME = {
    "digit pictures": ("digits",),
    "rotated": ("digits", "digit pictures"),
    "worse cameras": ("corrupted",),
    "styles": ("pacs",),
    "products": ("reviews",),
}
"""Family -> those of `RECORD` and `AHEAD` that are made of the same data, where they are called otherwise."""

Leads = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Examined:
    """One pair.

    Args:
        name: which.
        examples: of the source, and of the target.
        right: way -> (M,) whether it is right of each target example; source-only, the usual way, those on record.
        cases: way -> what it changes and gains, source-only left out, and the usual way first.
        twins: likewise on the target with fewer examples of half of its classes.
    """

    name: str
    examples: tuple[int, int]
    right: dict[str, NDArray[np.bool_]]
    cases: dict[str, Case]
    twins: dict[str, Case]

    @property
    def usual(self) -> str:
        """The shallow way that is shipped otherwise."""
        return next(iter(self.cases))

    @property
    def ways(self) -> list[str]:
        """Those on record."""
        return list(self.cases)[1:]


def without(families: Mapping[str, Mapping[str, float]], family: str) -> list[Mapping[str, float]]:
    """What was measured on other data than that of a family."""
    return [found for name, found in families.items() if name not in (family, *SAME.get(family, ()))]


def examined(pair: Pair, ways: Sequence[str] = WAYS) -> Examined:
    """A pair, each of some ways fitted on all of it and on its twin."""
    from headstart.domains.two_sample import classifier_test
    from headstart.domains.validate import Seen, common_ground

    task, families = pair.task, without(RECORD, pair.task.family)
    shallow = usual(families[0], families)
    assert shallow is not None
    fitted = unit(task, (SOURCE_ONLY, shallow))
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
    whole |= {way: units.trial(pair, way, "candidate", 0)[0] for way in ways}
    twins = {shallow: fitted_alone(shallow, task, rows)} | {way: units.twin(pair, way, rows) for way in ways}
    everything = np.arange(len(task.yt))
    return Examined(
        task.name,
        (len(task.ys), len(task.yt)),
        {way: said.argmax(axis=1) == task.yt for way, said in ({SOURCE_ONLY: base} | whole).items()},
        cases(whole, everything, ground.apart),
        cases(twins, rows, apart),
    )


def led(found: list[Examined]) -> dict[str, float]:
    """Way -> mean lead over the usual shallow one, over the pairs of a family whose domains are apart."""
    shallow = found[0].usual
    pairs = [pair.cases for pair in found if pair.cases[shallow].apart >= APART]
    return {
        way: float(np.mean([np.clip(cases[way].gain - cases[shallow].gain, -CAP, CAP) for cases in pairs]))
        for way in found[0].ways
    }


def shipped(cases: dict[str, Case], ways: dict[str, float]) -> str:
    """What `headstart adapt` ships of some ways with a record, as :func:`wanted` gives them."""
    apart = next(iter(cases.values())).apart
    return first_allowed(ways, {way: cases[way].change for way in ways}, apart, SOURCE_ONLY).shipped


def summary(records: dict[str, list[Examined]], otherwise: Leads) -> dict[str, Any]:
    """Family -> its tables.

    Args:
        records: family -> its pairs.
        otherwise: the leads that count where there is no way on record; empty: none do.
    """
    leads = {family: led(found) for family, found in records.items()}
    return {family: _family(family, found, leads, otherwise) for family, found in records.items()}


def _family(family: str, found: list[Examined], leads: Leads, otherwise: Leads) -> dict[str, Any]:
    shallow, own = found[0].usual, found[0].ways
    # What was not measured of every way does not count, unless this family has no more ways either.
    others = [each for each in without(leads, family) if each.keys() >= set(own)]
    ways = wanted(found[0].cases, without(RECORD, family), others)
    alone = wanted(found[0].cases, without(RECORD, family), without(otherwise, family))
    chosen = {"pick": ways, "otherwise": alone}
    picks = {side: [shipped(pair.cases, able) for pair in found] for side, able in chosen.items()}

    def gains(kind: str, name: Callable[[int], str]) -> list[NDArray[np.float64]]:
        """Of every pair, or twin, one way's (M,) gains over source-only."""
        cases = [getattr(pair, kind) for pair in found]
        return [
            each[name(i)].gains if name(i) != SOURCE_ONLY else np.zeros_like(each[shallow].gains)
            for i, each in enumerate(cases)
        ]

    told: dict[str, Any] = {way: _told([pair.cases[way].gains for pair in found]) for way in (shallow, *own)}
    for way in own:
        told[way]["ahead"] = gain([pair.cases[way].gains - pair.cases[shallow].gains for pair in found])
    told |= {side: _told(gains("cases", names.__getitem__)) for side, names in picks.items()}
    skewed: dict[str, Any] = {way: _told([pair.twins[way].gains for pair in found]) for way in (shallow, *own)}
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
                "flow": {way: round(case.change.flow, 3) for way, case in pair.cases.items()},
                "twin_flow": {way: round(case.change.flow, 3) for way, case in pair.twins.items()},
                "drop": [round(each[shallow].change.drop, 3) for each in (pair.cases, pair.twins)],
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


def command(name: str) -> None:
    """Print what the last kept result of a benchmark says, as `headstart.domains.record` holds it."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    families = json.loads(path.read_text(encoding="utf-8"))["measured"]["families"]
    records = [family["record"] for family in families.values()]
    print(f"of {', '.join(families)}")
    for way in records[0]:
        print(f'"{way}": ({", ".join(str(record[way]) for record in records if way in record)}),')
