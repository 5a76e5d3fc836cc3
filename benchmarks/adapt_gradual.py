"""Adaptation over intermediate domains, beside adapting to the target at once, on four families of chains of domains.

    python -m benchmarks adapt_gradual --set families=2 --results FOLDER

For every chain of `benchmarks.adapt_gradual_tasks` the ways that use the domains in between are run as trials of
`headstart adapt`, beside those that are shipped without such domains; and again on a twin of which half of the target's
classes keep one example of seven, a label shift that nobody is told of. What is shipped in a family is chosen by what
the others say (`benchmarks.adapt_deep_record`). Labels of the domains in between are never used; those of the target
only tell, for these tables, what each way was worth. Fitted ways are kept in the cache until their code changes.

    python -m benchmarks.adapt_gradual     # from the kept result: STEPS, as headstart.domains.record holds it
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import adapt_deep_record as record
from benchmarks.adapt_gradual_tasks import FAMILIES
from benchmarks.common import DATA
from headstart.domains.record import AHEAD, GRADUAL

WAYS = (*GRADUAL, "adabn-gradual", "adabn-tri-train")
"""Ways over the domains in between, and the deep way that is shipped without those; texts have the first two."""


def main(families: int = len(FAMILIES)) -> Iterator[dict[str, Any]]:
    """Every family; what there is so far after each.

    Args:
        families: how many, in the order of `FAMILIES`.
    """
    chosen = list(FAMILIES)[:families]
    needed = dict.fromkeys(itertools.chain.from_iterable(FAMILIES[family][1] for family in chosen))
    if absent := [name for name in needed if not (DATA / name).is_dir()]:
        yield {"skipped": f"no {', '.join(absent)}"}
        return
    found: dict[str, list[record.Examined]] = {}
    for family in chosen:
        found[family] = []
        for chain in FAMILIES[family][0]():
            ways = WAYS if chain.view.modality == "image" else GRADUAL
            found[family].append(record.examined(chain, ways))
            scores = {way: f"{100 * right.mean():.1f}" for way, right in found[family][-1].right.items()}
            told = ", ".join(f"{way} {score}" for way, score in scores.items())
            print(f"   {family}, {chain.task.name}: {told}", file=sys.stderr, flush=True)
        told = record.summary(found, AHEAD)
        yield {"families": told, "targets": record.targets(told)} | ({"partial": True} if family != chosen[-1] else {})


if __name__ == "__main__":
    record.command("adapt_gradual")
