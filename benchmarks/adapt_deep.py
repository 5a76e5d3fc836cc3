"""The deep ways of domain adaptation on pictures, beside the shallow ones and beside skada.deep.

    python -m benchmarks adapt_deep --set families=1 --set peer=0 --results FOLDER     # pacs alone, without skada

The record (`benchmarks.adapt_deep_record`): the ways in `WAYS` on every pair of `benchmarks.adapt_deep_tasks`, and on a
twin of each with a label shift that nobody is told of. Every family is judged by what the others say.

Then every deep way, on some pairs of product reviews, beside what is shipped of texts. And every deep way on pictures,
on photos to each of three other styles and, with `--set pairs=7`, on three styles pooled to the fourth. What validators
put first, trusted as far as the other families say, stands beside what is shipped. Where a pair is run with several
seeds, a deep way's accuracy is their mean; validators see the first.

Every deep way has its default settings and is run as a trial of `headstart adapt`; shallow ways are the units of
`benchmarks.adapt`. Labels of the target only tell, for these tables, what each way was worth.

skada.deep (0.6) trains the same stage of the same network on the same pictures, with the same batches, rate, schedule
and smoothing of labels; it has no augmentation. It is run in two ways: on pictures, where the frozen part of the
network is run in every step, on the first pairs alone, since it takes minutes; and on the values that the frozen part
gives once. An epoch takes either side about as long, so that what matters is how many are needed: skada is run for as
many as ours, and for more, up to its own default of ten. What counts is the first number of them after which it is as
right as ours, or the last, where it never is. Time is compared from pictures to predictions, what several ways share
counted once, and without what they share. skada has no choice among deep methods that is simple to run: it is compared
way by way.

Times are CPU seconds. Training has one thread on both sides: more of them wait for each other on a busy machine, and
waiting counts. Trials and peers are kept in the user's cache, so that a cut run goes on where it was; a first run takes
two hours and more.

    python -m benchmarks.adapt_deep     # from the kept result: AHEAD, as headstart.domains.record holds it
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from benchmarks import adapt_deep_record as record
from benchmarks import adapt_deep_tasks as tasks
from benchmarks import adapt_deep_units as units
from benchmarks import common
from benchmarks.adapt import RATIO, SOURCE_ONLY, gain, measured, points, table
from benchmarks.adapt_deep_tasks import FAMILIES, PRODUCTS, Pair
from benchmarks.adapt_units import unit
from benchmarks.common import DATA, target
from benchmarks.peers import environment
from headstart.domains.record import RECORD, first_allowed, usual, wanted
from headstart.domains.validate import RELIABILITY, trusted

PAIRS = (
    "photo to sketch",
    "photo to art_painting",
    "photo to cartoon",
    "all others to sketch",
    "all others to art_painting",
    "all others to cartoon",
    "all others to photo",
)
SHARED = ("deep-coral", "dann", "cdan")
"""Ways that both have."""
BEGINS = {"pictures": "whole network in every step", "cut": "frozen part once"}
EPOCHS = {"pictures": (1, 4), "cut": (1, 4, 10)}
"""That skada is given. Ours is its default; skada's is 10, which takes an hour from pictures."""
LIMIT = 7200.0  # seconds of one process of skada


def main(
    pairs: int = 3,
    seeds: int = 2,
    peer: int = 3,
    pictures: int = 1,
    families: int = len(FAMILIES),
    texts: int = len(PRODUCTS),
) -> Iterator[dict[str, Any]]:
    """The record, then every way on some pairs; what there is so far after each.

    Args:
        pairs: on how many every deep way is tried, in the order of `PAIRS`.
        seeds: of every deep way on these, ours and skada's.
        peer: on how many of them skada is run from values at the cut.
        pictures: on how many of those it is run from pictures too, with one seed.
        families: of how many the record is made, in the order of `FAMILIES`.
        texts: on how many pairs of reviews deep ways are tried.
    """
    chosen = list(FAMILIES)[:families]
    needed = dict.fromkeys(["pacs", *itertools.chain.from_iterable(FAMILIES[family][1] for family in chosen)])
    needed |= {"product_reviews": None} if texts else {}
    if absent := [name for name in needed if not (DATA / name).is_dir()]:
        yield {"skipped": f"no {', '.join(absent)}"}
        return
    torch.set_num_threads(1)
    why = environment.lacking(requirements=environment.DOMAINS_DEEP) if peer else "not asked for"
    of_pacs = {pair.task.name: pair for pair in FAMILIES["pacs"][0]()}
    for name in PAIRS[:pairs]:
        units.before_training(of_pacs[name])
    found: dict[str, list[record.Examined]] = {}
    for family in chosen:
        found[family] = []
        for pair in FAMILIES[family][0]():
            found[family].append(record.examined(pair))
            print(f"   {family}, {pair.task.name}: {_scores(found[family][-1].right)}", file=sys.stderr, flush=True)
    recorded = record.summary(found, {})
    of_texts = [of_text(pair) for pair in itertools.islice(tasks.texts(), texts)]
    leads = record.without({family: each["record"] for family, each in recorded.items()}, "pacs")
    records: list[dict[str, Any]] = []
    for number, name in enumerate(PAIRS[:pairs]):
        pair = of_pacs[name]
        one = examined(pair, seeds, leads)
        if not why and number < peer:
            one["skada"] = {"cut": beside(pair, "cut", SHARED, seeds)}
            if number < pictures:
                # A process for each, since each takes minutes.
                each = [beside(pair, "pictures", (way,), 1) for way in SHARED]
                methods = {way: given["methods"][way] for way, given in zip(SHARED, each, strict=True)}
                one["skada"]["pictures"] = each[0] | {"methods": methods}
        records.append(one)
        print(f"   {name}: {_words(one)}", file=sys.stderr, flush=True)
        told = summary(records, why)
        told = (
            {"families": recorded, "texts": text_summary(of_texts)}
            | told
            | {"targets": [*record.targets(recorded), *told["targets"]]}
        )
        yield {"partial": True} | told if len(records) < len(PAIRS[:pairs]) else told


def examined(pair: Pair, seeds: int, leads: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """One pair: what validators say of the shallow ways and of all, and what each is worth.

    Args:
        pair: of PACS.
        seeds: of every deep way.
        leads: of deep ways in the other families of pictures.
    """
    names, trust = list(units.settings()), trusted(record.without(RELIABILITY, "pacs"))
    shallow, deep = unit(pair.task), units.unit(pair, names)
    one = measured(pair.task, units.joined(shallow, deep), trust)
    right = {name: [one["right"][name]] for name in names}
    for seed in range(1, seeds):
        for name in names:
            said, _ = units.trial(pair, name, "candidate", seed)
            right[name].append(said.argmax(axis=1) == pair.task.yt)
    one["by_seed"] = {name: [round(float(each.mean()), 4) for each in found] for name, found in right.items()}
    one["right"] |= {name: np.mean(found, axis=0) for name, found in right.items()}
    one["yt"] = pair.task.yt
    one["before_training_cpu_seconds"] = units.before_training(pair)
    one["first"] = one["said"].chosen
    ways = wanted(one["change"], record.without(RECORD, "pacs"), leads)
    found = first_allowed(ways, one["change"], one["said"].apart, SOURCE_ONLY)
    one["pick"], one["why"] = found.shipped, found.reason
    return one


def of_text(pair: Pair) -> dict[str, Any]:
    """A pair of texts: (M,) whether each way is right of each target example, and the CPU seconds of each deep one."""
    shallow = usual(RECORD["reviews"], record.without(RECORD, "reviews"))
    assert shallow is not None
    fitted = unit(pair.task, (SOURCE_ONLY, shallow))
    names = list(units.settings(pair.source, pair.view.modality))
    found = {name: units.trial(pair, name, "candidate", 0) for name in names}
    said = dict(zip(fitted.names, fitted.asked, strict=True)) | {name: logs for name, (logs, _) in found.items()}
    one = {
        "name": pair.task.name,
        "usual": shallow,
        "right": {name: (logs.argmax(axis=1) == pair.task.yt).astype(np.float64) for name, logs in said.items()},
        "cpu_seconds": {name: spent for name, (_, spent) in found.items()},
    }
    print(f"   texts, {one['name']}: {_scores(one['right'])}", file=sys.stderr, flush=True)
    return one


def text_summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Way -> mean accuracy over pairs of texts, gain over source-only, and lead over what is shipped."""
    if not found:
        return {}
    shallow, ways = found[0]["usual"], {}
    for way in found[0]["right"]:
        right = [each["right"] for each in found]
        ways[way] = {
            "accuracy": round(mean(float(each[way].mean()) for each in right), 4),
            "gain": gain([each[way] - each[SOURCE_ONLY] for each in right]),
            "ahead": gain([each[way] - each[shallow] for each in right]),
        }
        if way in found[0]["cpu_seconds"]:
            ways[way]["cpu_seconds"] = round(mean(each["cpu_seconds"][way] for each in found), 1)
    return {"pairs": [each["name"] for each in found], "usual": shallow, "ways": ways}


def beside(pair: Pair, begin: str, methods: tuple[str, ...], seeds: int) -> dict[str, Any]:
    """What skada.deep gives on a pair, kept until its scripts or its versions change."""
    content = {
        "source": units.paths(pair.view.examples.inputs),
        "labels": pair.view.examples.labels.tolist(),
        "target": units.paths(pair.asked),
    }

    def ran() -> dict[str, Any]:
        python = environment.python(environment.DOMAINS_DEEP)
        assert python is not None
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "pair.json"
            path.write_text(json.dumps(content), encoding="utf-8")
            asked = ("--begin", begin, "--methods", *methods, "--seeds", *range(seeds), "--epochs", *EPOCHS[begin])
            return common.peer(python, "skada_deep", Path(name) / "peer.json", path, *asked, limit=LIMIT)

    scripts = ("skada_deep", "timm_frozen_finetune", "timm_features")
    code = [(common.PEERS / f"{name}.py").read_bytes() for name in scripts]
    asked = json.dumps([pair.task.name, begin, methods, seeds, EPOCHS[begin]]).encode()
    return common.kept("adapt_deep/skada", [*code, environment.DOMAINS_DEEP.read_bytes(), asked], ran)


# -- what it says -----------------------------------------------------------------------------------------------------


def summary(records: list[dict[str, Any]], why: str) -> dict[str, Any]:
    """The tables and what they must show."""
    oracle = [max(r["right"], key=lambda name: r["right"][name].mean()) for r in records]
    ways = {name: [name] * len(records) for name in records[0]["right"]}
    ways |= {side: [r[side] for r in records] for side in ("first", "pick")} | {"oracle": oracle}
    found: dict[str, Any] = {
        "pairs": {
            r["name"]: {
                "examples": r["examples"],
                "ways": table([r], {way: [names[i]] for way, names in ways.items()}),
                "by_seed": r["by_seed"],
                "apart": round(r["said"].apart, 3),
                "oracle": oracle[i],
                **{key: r[key] for key in ("first", "pick", "why")},
                "before_training_cpu_seconds": round(r["before_training_cpu_seconds"], 1),
                "choosing_cpu_seconds": round(r["choosing_cpu_seconds"], 1),
            }
            for i, r in enumerate(records)
        },
        "ways": table(records, ways),
        "deep": list(records[0]["by_seed"]),
    }
    if any("skada" in r for r in records):
        found["skada"] = {begin: against for begin in BEGINS if (against := compared(records, begin))}
    return found | ({"without_skada": why} if why else {}) | {"targets": _targets(found)}


def compared(records: list[dict[str, Any]], begin: str) -> dict[str, Any]:
    """Ours beside skada's, over the pairs on which skada began with pictures, or with values at the cut.

    Of every way, after each number of epochs of skada's and after the one that counts, and of all ways after that:
    `own` is what a way does not share with others, and `whole` is from pictures to predictions, what is shared counted
    once.
    """
    both = [r for r in records if begin in r.get("skada", {})]
    if not both:
        return {}
    first = {
        "ours": mean(r["before_training_cpu_seconds"] for r in both),
        "skada": mean(sum(r["skada"][begin]["cpu_seconds"].values()) for r in both),
    }
    ways: dict[str, dict[str, Any]] = {}
    for way in SHARED:
        ours = mean(r["cpu_seconds"][way][0] for r in both)
        tried = {}
        for epochs in both[0]["skada"][begin]["methods"][way]:
            theirs = [list(r["skada"][begin]["methods"][way][epochs].values()) for r in both]
            right = [
                np.mean([np.array(each["predictions"]) == r["yt"] for each in found], axis=0)
                for r, found in zip(both, theirs, strict=True)
            ]
            spent = mean(s["fit_cpu_seconds"] + s["predict_cpu_seconds"] for found in theirs for s in found)
            tried[epochs] = {
                "accuracy": round(mean(float(each.mean()) for each in right), 4),
                "ahead": gain([np.asarray(r["right"][way] - each) for r, each in zip(both, right, strict=True)]),
            } | _seconds({"ours": ours, "skada": spent}, first)
        # As right as ours: not less right beyond the interval.
        equal = next((epochs for epochs, each in tried.items() if each["ahead"][1] <= 0), None)
        ways[way] = {
            "accuracy": round(mean(float(r["right"][way].mean()) for r in both), 4),
            "skada": tried,
            "equal_after": equal,
            "counts": equal or list(tried)[-1],
        }
    counted = [each["skada"][each["counts"]] for each in ways.values()]
    own = {side: sum(each["cpu_seconds"][side]["own"] for each in counted) for side in first}
    return {
        "pairs": [r["name"] for r in both],
        "versions": both[0]["skada"][begin]["versions"],
        "ways": ways,
        "all": _seconds(own, first),
    }


def _seconds(own: dict[str, float], first: dict[str, float]) -> dict[str, Any]:
    """CPU seconds of either side without and with what is shared, and how many times ours skada's are."""
    both = {side: {"own": seconds, "whole": seconds + first[side]} for side, seconds in own.items()}
    return {
        "cpu_seconds": {side: {k: round(v, 1) for k, v in each.items()} for side, each in both.items()},
        "ratio": {kind: round(both["skada"][kind] / both["ours"][kind], 2) for kind in ("own", "whole")},
    }


def _targets(found: dict[str, Any]) -> list[dict[str, object]]:
    lines = []
    for begin, against in found.get("skada", {}).items():
        kinds = {"whole": "from pictures to predictions"}
        if begin == "cut":
            kinds["own"] = "from values at the cut that both have"
        for kind, words in kinds.items():
            ratio = against["all"]["ratio"][kind]
            said = "; ".join(f"{way} {_reached(each, kind)}" for way, each in against["ways"].items())
            what = (
                f"CPU seconds {words} until skada.deep ({BEGINS[begin]}; {_listed(EPOCHS[begin])} epochs) is as right "
                f"as ours, against ours, {len(against['ways'])} ways together: at least {RATIO:.0f}"
            )
            tried = [each for way in against["ways"].values() for each in way["skada"].values()]
            met = ratio >= RATIO and all(each["ahead"][2] >= 0 for each in tried)  # and nowhere is ours less right
            lines.append(target(what, met, f"{ratio:.1f} ({said})"))
    return lines


def _reached(way: dict[str, Any], kind: str) -> str:
    """How long skada takes one way to be as right, and how right it is then."""
    tried, last = way["skada"], way["counts"]
    each = tried[last]
    words = f"as right after {last}" if way["equal_after"] else f"not so after {last}"
    first = next(iter(tried))
    said = f"{each['ratio'][kind]:.1f}, {words}: ours {points(each['ahead'])}"
    return said if first == last else f"{said}; after {first} {tried[first]['ratio'][kind]:.1f}"


def _listed(numbers: Sequence[int]) -> str:
    return " or ".join([", ".join(map(str, numbers[:-1])), str(numbers[-1])])


def _words(one: dict[str, Any]) -> str:
    told = {"pick": one["pick"], "validators' first": one["first"]}
    said = (f"{what} {name} {100 * float(one['right'][name].mean()):.1f}" for what, name in told.items())
    return f"{_scores(one['right'])}; {', '.join(said)}"


def _scores(right: Mapping[str, Any]) -> str:
    scores = {name: 100 * float(each.mean()) for name, each in right.items()}
    best = max(scores, key=lambda name: scores[name])
    return f"source-only {scores[SOURCE_ONLY]:.1f}, best {best} {scores[best]:.1f}"


if __name__ == "__main__":
    record.command("adapt_deep")
