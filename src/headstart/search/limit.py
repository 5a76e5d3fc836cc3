"""Where a budget cannot compute features for all examples: which part of them a run uses."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.target.target import Episode, Target

FEWEST, FEWEST_PER_CLASS = 500, 40
"""A sample is never smaller than this, whatever the budget."""


def limit(target: Target, able: int, budget: str) -> dict[str, Any] | None:
    """How many examples to use, with the reason in words; None: all of them.

    Labels to learn from are worth more than examples to judge on, up to a point; few-shot draws keep all of theirs.

    Args:
        target: what to learn.
        able: of how many examples there is time to compute features.
        budget: as the user reads it.
    """
    if target.split == "cross-fit":
        return None
    episodes, test = target.episodes, target.n_test
    able = max(able, FEWEST_PER_CLASS * len(target.classes), FEWEST)
    if target.shots is not None:
        learned = sum(len(e.view.training()) for e in episodes) + target.shots.choosing
        judged = min(test, max(able - learned, len(episodes) * len(target.classes), FEWEST))
        if judged >= test:
            return None
        why = (
            f"A budget of {budget} allows about {judged:,} of {test:,} examples to be judged on, beside the "
            f"{learned:,} labels of the draws and of the choice: a random sample of each draw's part was used. "
            "A longer --budget uses more."
        )
        return {"train": learned, "test": judged, "why": why}
    train = len(episodes[0].view)
    learned = min(train, max(able - test, round(0.7 * able)))
    judged = min(test, max(able - learned, round(0.3 * able)))
    if learned + judged >= train + test:
        return None
    why = (
        f"A budget of {budget} allows about {learned + judged:,} of {train + test:,} examples: a random "
        f"sample of {learned:,} to learn from and {judged:,} to be judged on was used. A longer --budget uses more."
    )
    return {"train": learned, "test": judged, "why": why}


def limited(target: Target, event: dict[str, Any], seed: int) -> list[Episode]:
    """The episodes of a target, cut down as :func:`limit` said."""
    if target.shots is not None:
        share = event["test"] / target.n_test
        return [Episode(e.name, e.view, e.seal.sample(round(share * len(e.seal)), seed=seed)) for e in target.episodes]
    (episode,) = target.episodes
    chosen = np.sort(np.random.default_rng(seed).permutation(len(episode.seal))[: event["test"]])
    return [Episode(episode.name, episode.view.sample(event["train"], seed), episode.seal.take(chosen))]
