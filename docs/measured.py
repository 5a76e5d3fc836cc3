"""What was measured, in tables: from the committed results of the benchmarks, for the pages that give figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def measured_page() -> str:
    """Every figure that the documentation gives, from the committed results of the benchmarks."""
    parts = [
        "# What was measured\n",
        "From the committed files in [benchmarks/results](../../benchmarks/results); `make bench` measures anew.\n",
    ]
    jobs, weights, bad, memory, judge, speed = (
        json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("main_job", "bundled_weights", "bad_input", "peak_memory", "judge_simulation", "speed")
    )
    parts += ["## The main job\n", _ran(jobs), _job_table(jobs["measured"]["runs"])]
    parts += ["### All routes, by validation score\n", _route_tables(jobs["measured"]["runs"])]
    top1 = weights["measured"]["top1"]
    parts += [
        "## Bundled weights\n",
        _ran(weights),
        f"Top-1 on {weights['measured']['images']} ImageNet photos: "
        + ", ".join(f"{name} {_percent(score)}" for name, score in top1.items())
        + ".\n",
    ]
    summary = judge["measured"]["summary"]
    parts += [
        "## Does judge keep its word?\n",
        _ran(judge),
        f"95 % intervals covered the true gain in {100 * summary['coverage_lowest']:.1f} to "
        f"{_percent(summary['coverage_highest'])} of simulated test sets, depending on the design "
        f"(mean {_percent(summary['coverage_mean'])}). Where transfer truly made no difference, *helped* was said "
        f"in at most {_percent(summary['helped_under_null_highest'])} of them.\n",
    ]
    found = memory["measured"]
    parts += [
        "## Memory\n",
        _ran(memory),
        f"Highest resident memory of `headstart fit` on {found['pictures']:,} generated pictures: "
        + "; ".join(
            f"{what}, {run['peak_mb']:,.0f} MiB in {run['seconds']:.0f} s" for what, run in found["runs"].items()
        )
        + ".\n",
    ]
    parts += ["## Bad input\n", _ran(bad), "| tried | exit code | clear line |\n|---|---:|---|"]
    parts += [
        f"| {case['what']} | {case['exit_code']} | {'yes' if case['clear'] else '**no**'} |"
        for case in bad["measured"]["cases"]
    ]
    parts += ["\n## Speed, beside what users run today\n", _ran(speed)]
    parts += [
        "Ratios: median of pairs measured in turn (smallest to largest).\n",
        *_targets(speed["measured"]["targets"]),
        _why(speed),
    ]
    for name, title in (
        ("decode", "Decoding"),
        ("text", "Texts"),
        ("frozen_texts", "Frozen texts, beside what users write"),
        ("zero_shot", "Zero-shot"),
        ("shots", "Few-shot draws"),
        ("texts_scale", "Many texts"),
        ("layers", "Probes on several layers"),
        ("family", "Fine-tuning, and skewed data"),
        ("earlier_run", "An earlier run as a source"),
        ("suggest", "What to label next"),
        ("predictions", "Predicted seconds"),
    ):
        if (RESULTS / f"{name}.json").is_file():
            document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
            parts += [f"\n## {title}\n", _ran(document), *_targets(document["measured"]["targets"])]
            if "runs" in document["measured"] and name != "predictions":
                parts += ["", _job_table(document["measured"]["runs"])]
            if name in (tables := {"layers": _layers_table, "family": _family_table, "suggest": _suggest_table}):
                parts += ["", *tables[name](document["measured"])]
    for name, part in (
        ("few_shot", few_shot_part),
        ("static_table", static_table_part),
        ("planner", planner_part),
        ("fastai", fastai_part),
        ("scale", scale_part),
        ("score", score_part),
        ("adapt", adapt_part),
        ("adapt_deep", adapt_deep_part),
        ("adapt_gradual", adapt_gradual_part),
    ):
        if (RESULTS / f"{name}.json").is_file():  # these take half an hour, and not every machine has kept them
            parts += part(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
    return "\n".join(parts) + "\n"


def _family_table(found: dict[str, Any]) -> list[str]:
    """Every way of fine-tuning on every set: out-of-fold score, gain over the plain probe, and what it costs."""
    rows = ["| set | route | score | over the plain probe, points | CPU seconds of a fit |", "|---|---|---:|---|---:|"]
    for part, metric in (("even", "accuracy"), ("skewed", "balanced accuracy")):
        for name, routes in found[part].items():
            for route, told in routes.items():
                gain = _points(told) if "gain" in told else ""
                cells = (
                    f"{name}, {part} ({metric})",
                    route,
                    _percent(told["score"]),
                    gain,
                    str(told["fit_cpu_seconds"]),
                )
                rows.append(f"| {' | '.join(cells)} |")
    return rows


def _suggest_table(found: dict[str, Any]) -> list[str]:
    """Every set: the score with the first labels, with as many more at random, and what the other ways add to that."""
    ways = [*found["over_families"]]
    names = " | ".join(f"{way}, over random, points" for way in ways)
    rows = [f"| set | labels | first | random | {names} |\n|---|---|---:|---:|{'---:|' * len(ways)}"]
    for name, row in found["found"].items():
        cells = [f"{name} ({row['metric'].replace('_', ' ')})", " to ".join(map(str, row["labels"]))]
        cells += [_percent(row["scores"][when]) for when in ("before", "random")]
        cells += [_points({"gain": row["gains"][way]}) for way in ways]
        rows.append(f"| {' | '.join(cells)} |")
    means = [_points({"gain": found["over_families"][way]}) for way in ways]
    return [*rows, f"| over families |  |  |  | {' | '.join(means)} |"]


def _layers_table(found: dict[str, Any]) -> list[str]:
    """Every way of taking layers, on every source: out-of-fold score, and its gain over the deepest layer alone."""
    sets = {name: rows for name, rows in found.items() if isinstance(rows, dict) and "examples" in rows}
    pairs = {route: route.split(", ") for rows in sets.values() for route in rows if route.count(", ") == 1}
    ways = [*dict.fromkeys(way for way, source in pairs.values() if way != "ensemble")]
    parts = [f"| set, source | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}"]
    for name, rows in sets.items():
        sources = [*dict.fromkeys(source for route, (way, source) in pairs.items() if way == "deep" and route in rows)]
        for source in sources or [""]:
            cells = [_gained(rows[f"{way}, {source}" if source else way]) for way in ways]
            parts.append(f"| {name}{', ' if source else ''}{source} | {' | '.join(cells)} |")
    return [*parts, ""]


def _gained(row: dict[str, Any]) -> str:
    said = _percent(row["score"])
    if "gain" in row:
        estimate, low, high = (100 * value for value in row["gain"][:3])
        said += f", {estimate:+.1f} ({low:+.1f} to {high:+.1f})"
    return said


def _why(speed: dict[str, Any]) -> str:
    """Where the time goes that misses a target, from the same run."""
    found, cores = speed["measured"], speed["machine"]["cores"]
    forward, files = (1000 * cores / found[f"{what}_images_per_second"] for what in ("forward", "files"))
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["fit_phases"].items() if seconds >= 0.05)
    return (
        f"\nThe forward pass alone makes {found['forward_images_per_second']:.0f} pictures a second, with files "
        f"{found['files_images_per_second']:.0f}. On {cores} cores that is {forward:.1f} and {files:.1f} core-ms a "
        f"picture, so reading, decoding and resizing a JPEG exactly as Pillow does take about {files - forward:.1f} "
        "core-ms, and there is no idle core to hide them on. These photos are too small to be decoded at half size. "
        f"The warm fit took {found['fit_seconds']:.2f} s (seconds by phase of the last one: {phases}); the script "
        f"{found['script_seconds']:.2f} s.\n"
    )


def few_shot_part(document: dict[str, Any]) -> list[str]:
    """Accuracy and CPU time with eight labels of each class, beside SetFit."""
    found = document["measured"]
    routes = list(next(iter(found["sets"].values())))
    parts = [
        "\n## Eight labels of each class, beside SetFit\n",
        _ran(document),
        f"{found['draws']} draws of {found['shots']} labels per class; the same encoder, draws and test texts for all. "
        "Mean accuracy and its standard deviation over draws, and CPU seconds to learn from one. On banking77 SetFit "
        "would take hours a draw for all pairs; there it is given three times the CPU time of contrast, and that set "
        "is not in the mean of times.\n",
        f"| set | {' | '.join(routes)} |\n|---|{'---|' * len(routes)}",
    ]
    for name, by_route in found["sets"].items():
        cells = [
            f"{_percent(each['accuracy'])} ({100 * each['deviation']:.1f}), {each['fit_cpu_seconds']:.1f} s"
            for each in by_route.values()
        ]
        parts.append(f"| {name} | {' | '.join(cells)} |")
    versions = found["setfit_versions"]
    parts.append(f"\nsetfit {versions['setfit']}, sentence-transformers {versions['sentence-transformers']}.\n")
    return [*parts, *_targets(found["targets"])]


def static_table_part(document: dict[str, Any]) -> list[str]:
    """Static embeddings beside the encoder they come from and beside n-grams, with all labels and with few."""
    found = document["measured"]
    parts = [
        "\n## Static embeddings\n",
        _ran(document),
        f"Scores on examples that were not learned from, of {found['texts']:,} texts of each set at most. With eight "
        "labels of each class the nearest class mean, else ridge probes. *Distilled* are vectors that the encoder "
        "gives each wordpiece by itself (principal components, weighted by rank); gains with their 95 % intervals are "
        "of static over the better n-grams.\n",
    ]
    for key, labels in (("all", "all labels"), ("eight", "eight of each class")):
        routes = list(next(iter(found[key].values()))["scores"])
        parts.append(f"| {labels} | {' | '.join(routes)} | gain, points |\n|---|{'---:|' * (len(routes) + 1)}")
        for name, row in found[key].items():
            cells = [_percent(score) for score in row["scores"].values()]
            gain, low, high = (100 * value for value in row["gain"])
            parts.append(f"| {name} | {' | '.join(cells)} | {gain:+.1f} ({low:+.1f} to {high:+.1f}) |")
        parts.append("")
    return [*parts, *_targets(found["targets"])]


def planner_part(document: dict[str, Any]) -> list[str]:
    """A row for each target with a seed: what the plan shipped within its budget, and what trying everything did."""
    found = document["measured"]
    parts = ["\n## The plan beside an exhaustive search\n", _ran(document)]
    parts += [
        f"Of each data set {_drawn(found['labels'])} are learned from. The plan has {found['budget_seconds']} seconds, "
        "and an empty cache. The exhaustive search tries every setting, and every contender on all folds; both are "
        "judged on the sealed test, and ship by the same guard. Lost are points of the sealed test, with the "
        "paired 95 % interval of the judge.\n",
        "| target | seed | metric | the plan ships | score | exhaustive search ships | score | lost | trials "
        "| CPU seconds, plan against all |\n|---|---:|---|---|---:|---|---:|---:|---:|---:|",
    ]
    for unit in found["units"]:
        if "lost" not in unit:
            continue
        sides = [unit["planner"], unit["exhaustive"]]
        names = [f"{side['shipped'][1]} on {side['shipped'][0].replace('bundled:', '')}" for side in sides]
        scores = [_percent(side["score"]) for side in sides]
        lost, low, high = (100 * value for value in (unit["lost"], *unit["lost_interval"]))
        cpu = " against ".join(f"{side['cpu_seconds']:,.0f}" for side in sides)
        parts.append(
            f"| {unit['target']} | {unit['seed']} | {unit['metric']} | {names[0]} | {scores[0]} | {names[1]} "
            f"| {scores[1]} | {lost:+.1f} ({low:+.1f} to {high:+.1f}) | {unit['exhaustive']['trials']} | {cpu} |"
        )
    where = sorted({f"on {unit['when']} ({unit['processor']})" for unit in found["units"] if "when" in unit})
    parts += [f"\nUnits were measured {', '.join(where)}."] if where else []
    return [*parts, "", *_targets(found["targets"])]


def _drawn(labels: int) -> str:
    return f"{labels} labelled examples, drawn anew with each seed," if labels else "all labelled examples"


def fastai_part(document: dict[str, Any]) -> list[str]:
    """Seconds to the better accuracy, beside fastai, for every seed and both states of the cache."""
    found = document["measured"]
    parts = [
        "\n## Seconds to an accuracy, beside fastai\n",
        _ran(document),
        "`headstart fit` with its default budget and `fine_tune` of fastai on the same weights, on ants_bees; clocks "
        "begin with the processes. The accuracy to reach is the better of the two. *First trained* is the end of the "
        "first trial of the route that was shipped; its accuracy on the test pictures is known only at the end, from "
        "the shipped model: the rest of the budget goes into choosing and proving it.\n",
        "| seed | cache | accuracy | fastai's | shipped route first trained | shipped model trained | whole process "
        "| fastai reached the better | fastai's longest run |\n|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for pair in found["pairs"]:
        theirs = pair["fastai"]
        for cache, run in pair["headstart"].items():
            reached = pair["to_the_better"][cache]["fastai_seconds"]
            seconds = [run["seconds"][moment] for moment in ("first_trained", "shipped_model", "process")]
            cells = [
                str(pair["seed"]),
                cache,
                _percent(run["accuracy"]),
                _percent(theirs["best_accuracy"]),
                *("never" if s is None else f"{s:.1f} s" for s in seconds),
                reached if isinstance(reached, str) else f"{reached:.0f} s",
                f"{theirs['process_seconds']:.0f} s",
            ]
            parts.append(f"| {' | '.join(cells)} |")
        for points in theirs["timelines"]:
            line = ", ".join(f"{_percent(p['accuracy'])} at {p['seconds']:.0f} s" for p in points)
            parts.append(f"\nfastai, {len(points) - 1} epochs, seed {pair['seed']}: {line}.\n")
    last = found["pairs"][-1]["headstart"]["empty"]["phases"]
    parts.append(
        "Where fastai never gets there, the ratio is a bound that grows with the epochs it is given. What is shipped "
        "is not trained first: every baseline is given as much time as transfer. Of the last run with an empty cache "
        f"{last['prepare']:.0f} s went into preparing networks, {last['forward']:.0f} s into forward passes, and "
        f"{last['train']:.0f} s into training, most of it of networks from scratch.\n"
    )
    return [*parts, *_targets(found["targets"])]


def score_part(document: dict[str, Any]) -> list[str]:
    """Seconds of scores, and whether LogME is right with few examples."""
    return ["\n## Scores\n", _ran(document), *_targets(document["measured"]["targets"])]


def adapt_part(document: dict[str, Any]) -> list[str]:
    """Domain adaptation chosen without target labels: the families, every way, the validators, and skada."""
    found = document["measured"]
    parts = ["\n## Domain adaptation\n", _ran(document), adapt_table(found), "### Every way of adaptation\n"]
    families = found["families"]
    ways = [name for name in next(iter(families.values()))["ways"] if name not in ("first", "agreed", "pick", "oracle")]
    parts += [f"| way | {' | '.join(families)} |\n|---|{'---|' * len(families)}"]
    for way in ways:
        cells = [
            f"{100 * each['ways'][way]['accuracy']:.1f} ({_points(each['ways'][way])})" for each in families.values()
        ]
        parts.append(f"| {way} | {' | '.join(cells)} |")
    parts += ["\nMean accuracy in % and, in brackets, gain over source-only in points with its 95 % interval.\n"]
    for name, family in families.items():
        for how, theirs in family.get("skada", {}).items():
            methods = ", ".join(f"{way} {100 * each['accuracy']:.1f}" for way, each in theirs["methods"].items())
            picks = ", ".join(f"{scorer} {100 * each:.1f}" for scorer, each in theirs["picks"].items())
            parts.append(f"- skada {theirs['versions']['skada']} on {name}, {how}: {methods}. Picked by: {picks}.")
    return [*parts, "", *_targets(found["targets"])]


def adapt_deep_part(document: dict[str, Any]) -> list[str]:
    """The record of deep ways, every deep way on the first pairs, and skada.deep."""
    found = document["measured"]
    pairs = found["pairs"]
    parts = ["\n### Deep ways of adaptation\n", _ran(document), record_table(found), *_pairs(found)]
    parts += _texts(found["texts"]) if found.get("texts") else []
    parts += ["#### Every deep way\n", deep_table(found)]
    parts.append(f"| way | {' | '.join(pairs)} | CPU seconds |\n|---|{'---|' * len(pairs)}---:|")
    for way in found["deep"]:
        cells = []
        for pair in pairs.values():
            seeds = pair["by_seed"][way]
            spread = f"; seeds {100 * min(seeds):.1f} to {100 * max(seeds):.1f}" if len(set(seeds)) > 1 else ""
            cells.append(f"{100 * pair['ways'][way]['accuracy']:.1f} ({_points(pair['ways'][way])}{spread})")
        parts.append(f"| {way} | {' | '.join(cells)} | {found['ways'][way]['fit_cpu_seconds']:.0f} |")
    before = [pair["before_training_cpu_seconds"] for pair in pairs.values()]
    parts.append(
        "\nAccuracy in % and, in brackets, gain over source-only in points with its 95 % interval. CPU seconds are of "
        "a way whose values at the cut are in the store, prediction included; what the first way of a pair takes "
        f"before it trains, from pictures and an empty store, is {min(before):.0f} to {max(before):.0f}.\n"
    )
    for begin, against in found.get("skada", {}).items():
        parts += [
            f"skada.deep {against['versions']['skada']} on {', '.join(against['pairs'])}; {_BEGINS[begin]}:\n",
            "| way | ours | skada.deep's epochs | skada.deep | ahead, points (95 % interval) "
            "| CPU seconds of the way, ours, skada.deep | from pictures, ours, skada.deep |\n"
            "|---|---:|---:|---:|---|---|---|",
        ]
        for way, each in against["ways"].items():
            for epochs, theirs in each["skada"].items():
                sides = [[theirs["cpu_seconds"][side][kind] for side in ("ours", "skada")] for kind in ("own", "whole")]
                cpu = [f"{ours:.1f}, {other:.1f}" for ours, other in sides]
                parts.append(
                    f"| {way} | {_percent(each['accuracy'])} | {epochs} | {_percent(theirs['accuracy'])} "
                    f"| {_points({'gain': theirs['ahead']})} | {' | '.join(cpu)} |"
                )
        parts.append("")
    return [*parts, *_targets(found["targets"])]


_BEGINS = {
    "pictures": "it runs the whole network in every step",
    "cut": "it is given the values at the cut, which the frozen part computed once",
}


def _texts(found: dict[str, Any]) -> list[str]:
    """Every deep way on pairs of texts."""
    rows = ["| way | accuracy | over source-only, points | over " + found["usual"] + ", points | CPU seconds |"]
    rows.append("|---|---:|---|---|---:|")
    for way, told in found["ways"].items():
        spent = f"{told['cpu_seconds']:.0f}" if "cpu_seconds" in told else ""
        cells = (way, _percent(told["accuracy"]), _points(told), _points({"gain": told["ahead"]}), spent)
        rows.append(f"| {' | '.join(cells)} |")
    where = (
        f"Reviews of {' and '.join(found['pairs'])}, 500 of each kind of product, with the bundled encoder of texts:\n"
    )
    return ["#### Deep ways on texts\n", where, *rows, ""]


def adapt_gradual_part(document: dict[str, Any]) -> list[str]:
    """The record of ways over domains in between."""
    found = document["measured"]
    head = ["\n### Adaptation over domains in between\n", _ran(document), record_table(found, "domains in between")]
    return [*head, *_pairs(found), *_targets(found["targets"])]


def _pairs(found: dict[str, Any]) -> list[str]:
    """A table for each family: every pair, and every way's accuracy on it."""
    parts = []
    for family, each in found["families"].items():
        names = list(each["accuracy"])
        parts.append(f"| {family} | {' | '.join(names)} | shipped |\n|---|{'---:|' * len(names)}---|")
        for pair in each["pairs"]:
            twins = (f"{100 * pair['twin_gain'][way]:+.1f}" if way in pair["twin_gain"] else "" for way in names)
            scores = (f"{100 * pair['accuracy'][way]:.1f}" for way in names)
            cells = (f"{score} ({twin})" if twin else score for score, twin in zip(scores, twins, strict=True))
            parts.append(f"| {pair['name']} | {' | '.join(cells)} | {pair['shipped']} |")
        parts.append("")
    parts.append(
        "Accuracy in % and, in brackets, the gain over source-only on the twin, in points; the last column is what is "
        "shipped of the pair as it is.\n"
    )
    return parts


def record_table(found: dict[str, Any], words: str = "deep ways") -> str:
    """A row for each family: what is shipped with the ways on record and without; its twins; and each way's lead.

    Args:
        found: what was measured.
        words: what is on record.
    """
    families = found["families"]
    rows = [
        f"| family | pairs | source-only | without {words}, points | our pick, points (95 % interval) "
        f"| worse by > 1 point | twins: without {words} | twins: our pick | worse by > 1 point |\n"
        "|---|---:|---:|---:|---|---:|---:|---|---:|"
    ]
    for name, family in families.items():
        cells = [name, str(len(family["pairs"])), _percent(family["accuracy"]["source-only"])]
        for kind in ("ways", "twins"):
            told = family[kind]
            cells += [
                f"{100 * told['otherwise']['gain'][0]:+.1f}",
                _points(told["pick"]),
                str(told["pick"]["worse"]),
            ]
        rows.append(f"| {' | '.join(cells)} |")
    ways = list(next(iter(families.values()))["record"])
    usual = next(iter(families.values()))["usual"]
    rows += [
        f"\nOur pick is the way that was most ahead in the other families, or what is shipped without {words} where "
        f"the guard refuses it. How far each way is ahead of {usual}, in points (95 % interval), and in brackets "
        "the record, in which no pair counts for more than ten:\n",
        f"| family | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}",
    ]
    for name, family in families.items():
        leads = (
            f"{_points({'gain': family['ways'][way]['ahead']})} ({100 * family['record'][way]:+.1f})"
            if way in family["record"]
            else ""
            for way in ways
        )
        rows.append(f"| {name} | {' | '.join(leads)} |")
    return "\n".join(rows) + "\n"


def deep_table(found: dict[str, Any]) -> str:
    """A row for each pair: source-only, what validators put first among all ways, what is shipped, and the best."""
    rows = [
        "| pair | source-only | validators' first | our pick | gain, points (95 % interval) "
        "| best way, by target labels |\n|---|---:|---|---|---|---|"
    ]
    for name, pair in found["pairs"].items():
        ways = pair["ways"]
        cells = [f"{_percent(ways[way]['accuracy'])} ({pair[way]})" for way in ("first", "pick", "oracle")]
        cells.insert(2, _points(ways["pick"]))
        rows.append(f"| {name} | {_percent(ways['source-only']['accuracy'])} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def adapt_table(found: dict[str, Any]) -> str:
    """A row for each family, and how far its validators were right."""
    rows = [
        "| family | pairs | source-only | validators' first | our pick | gain, points (95 % interval) "
        "| worse by > 1 point | best way, by target labels |\n|---|---:|---:|---:|---:|---|---:|---:|"
    ]
    for name, family in found["families"].items():
        ways = family["ways"]
        accuracy = {way: _percent(ways[way]["accuracy"]) for way in ("source-only", "first", "pick", "oracle")}
        rows.append(
            f"| {name} | {len(family['pairs'])} | {accuracy['source-only']} | {accuracy['first']} | {accuracy['pick']} "
            f"| {_points(ways['pick'])} | {ways['pick']['worse']} | {accuracy['oracle']} |"
        )
    twins = {name: family["twins"] for name, family in found["families"].items() if "twins" in family}
    if twins:
        rows += [
            "\nThe same pairs with a label shift that nobody is told of: half of the target's classes keep one example "
            "of seven.\n",
            "| family | the usual way always, points | worse by > 1 point | our pick, points | worse by > 1 point |\n"
            "|---|---|---:|---|---:|",
        ]
        rows += [
            f"| {name} | {_points(of['always'])} | {of['always']['worse']} | {_points(of['pick'])} "
            f"| {of['pick']['worse']} |"
            for name, of in twins.items()
        ]
    validators = list(next(iter(found["families"].values()))["reliability"])
    rows += [
        "\nRank correlation of what each validator says of routes with what they are worth:\n",
        f"| family | {' | '.join(validators)} |\n|---|{'---:|' * len(validators)}",
    ]
    for name, family in found["families"].items():
        rows.append(f"| {name} | {' | '.join(format(family['reliability'][v], '+.2f') for v in validators)} |")
    return "\n".join(rows) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(way: dict[str, Any]) -> str:
    estimate, low, high = (100 * value for value in way["gain"])
    return f"{estimate:+.1f}, {low:+.1f} to {high:+.1f}"


def scale_part(document: dict[str, Any]) -> list[str]:
    """Seconds of a second run, and memory by the number of pictures: what is result, and what is beside it."""
    found = document["measured"]
    second = found["second_run"]
    parts = [
        "\n## Many files\n",
        _ran(document),
        f"A first pass over {second['files']:,} generated pictures (target read, features of all) took "
        f"{second['first_pass']['seconds']['work']:.1f} s. Then, {len(second['rounds'])} times, "
        f"{second['new_each_round']:,} new ones were added.\n",
    ]
    if "memory" in found:
        memory = found["memory"]
        parts += [
            "| pictures | peak of headstart fit | peak of features of all | of which the result |",
            "|---:|---:|---:|---:|",
            *(
                f"| {int(count):,} | {memory['runs'][count]['peak_mb']:,.0f} MiB | {one['peak_mb']:,.0f} MiB "
                f"| {one['result_mb']:,.0f} MiB |"
                for count, one in memory["passes"].items()
            ),
            "",
        ]
    return [*parts, *_targets(found["targets"])]


def _targets(targets: list[dict[str, Any]]) -> list[str]:
    rows = [f"| {t['what']} | {t['found']} | {'yes' if t['met'] else '**no**'} |" for t in targets]
    return ["| measure | found | met |\n|---|---:|---|", *rows]


def adaptation_text(text: str) -> str:
    """The page on choosing without labels, with the table of the benchmark between its marks once it is measured."""
    path = RESULTS / "adapt.json"
    if not path.is_file():
        return text
    document = json.loads(path.read_text(encoding="utf-8"))
    text = _between(text, "measured", f"{_ran(document)}\n{adapt_table(document['measured'])}")
    for name, mark, words in (
        ("adapt_deep", "measured deep", "deep ways"),
        ("adapt_gradual", "measured gradual", "domains in between"),
    ):
        path = RESULTS / f"{name}.json"
        if path.is_file():
            document = json.loads(path.read_text(encoding="utf-8"))
            text = _between(text, mark, f"{_ran(document)}\n{record_table(document['measured'], words)}")
    return text


def _between(text: str, mark: str, filled: str) -> str:
    """A page with something else between its two marks."""
    before, _, rest = text.partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    return f"{before}<!-- {mark} -->\n{filled}{end}{after}"


def readme_text(text: str) -> str:
    """The README with the table of the main job between its two marks."""
    runs = json.loads((RESULTS / "main_job.json").read_text(encoding="utf-8"))["measured"]["runs"]
    return _between(text, "measured", _job_table(runs))


def _ran(document: dict[str, Any]) -> str:
    machine = document["machine"]
    return (
        f"{document['when']}, {machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB, "
        f"torch {document['versions']['torch']}.\n"
    )


def _job_table(runs: dict[str, Any]) -> str:
    rows = [
        "| data | verdict | gain, points (95 % interval) | best transfer | best baseline | shipped | budget, spent |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    for name, run in runs.items():
        gain = run["gain"]
        cells = [
            name,
            f"**{run['verdict']}**",
            f"{100 * gain['estimate']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})",
            *(f"{_route(run[side])} {_percent(run[side]['score'])}" for side in ("transfer", "baseline")),
            run["shipped"],
            f"{run['budget']}, {run['seconds_total']:.0f} s",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _route_tables(runs: dict[str, Any]) -> str:
    names = list(runs)
    routes: dict[tuple[str, str], dict[str, str]] = {}
    for name, run in runs.items():
        for row in run["leaderboard"]:
            score = "skipped" if row["score"] is None else f"{_percent(row['score'])}, {row['seconds']:.1f} s"
            routes.setdefault((row["source"], row["strategy"]), {})[name] = score
    rows = [f"| route | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    rows += [
        f"| {_route({'source': source, 'strategy': strategy})} | {' | '.join(cells.get(n, '') for n in names)} |"
        for (source, strategy), cells in sorted(routes.items(), key=lambda item: item[0][::-1])
    ]
    return "\n".join(rows) + "\n"


def _route(route: dict[str, Any]) -> str:
    short = "+".join(name.partition(":")[2] for name in route["source"].split("+"))
    return " on ".join(filter(None, (route["strategy"], short)))
