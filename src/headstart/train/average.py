"""Averages of weights: of networks with one origin, and of the epochs of one training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

State = dict[str, torch.Tensor]

SHARES = tuple(k / 10 for k in range(11))
UNKNOWN = 0.5  # the share where nothing is held out to choose it by; what the paper recommends


def interpolated(start: State, end: State, share: float) -> State:
    """`(1 - share) start + share end`, tensor by tensor; what is not floating-point is the end's."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }


def robust(module: nn.Module, start: State, evaluate: Callable[[], float] | None) -> float:
    """WiSE-FT (Wortsman et al. 2022, equation 1): put `module` between what it was and what it has become.

    What was learned in fine-tuning and what the source knew can be had together, because the way between the two leads
    through networks that are as good.

    Args:
        module: after training; in place.
        start: its state before.
        evaluate: a loss on held-out examples, lower is better; None: the share is one half.

    Returns:
        The share of what it has become, of 0, 0.1 ... 1 the one with the lowest loss; the smallest on a tie.
    """
    end = {name: value.detach().clone() for name, value in module.state_dict().items()}
    share = UNKNOWN
    if evaluate is not None:
        module.eval()
        found = []
        with torch.inference_mode():
            for candidate in SHARES:
                module.load_state_dict(interpolated(start, end, candidate))
                found.append(evaluate())
        share = SHARES[found.index(min(found))]
    module.load_state_dict(interpolated(start, end, share))
    return share


def soup(
    module: nn.Module, states: Sequence[State], evaluate: Callable[[], float] | None, *, greedy: bool
) -> tuple[int, ...]:
    """Model soups (Wortsman et al. 2022): put the mean of several fine-tunings of one start into `module`.

    The uniform soup is the mean of all. The greedy one (algorithm 1) goes through them from the best on, and takes one
    more into the mean where that does not raise the loss on held-out examples, so that it is no worse there than any.

    Args:
        module: whose states they are; in place.
        states: M of them, one or more.
        evaluate: a loss on held-out examples, lower is better; None: nothing is held out, and all are taken.
        greedy: which of the two.

    Returns:
        The positions of those that were taken, in the order in which they were.
    """

    def loss(state: State) -> float:
        assert evaluate is not None
        module.load_state_dict(state)
        module.eval()
        with torch.inference_mode():
            return evaluate()

    choosy = greedy and evaluate is not None
    order = list(range(len(states)))
    if choosy:
        losses = [loss(state) for state in states]
        order.sort(key=losses.__getitem__)
    mean, best, taken = joined(None, 0, states[order[0]]), losses[order[0]] if choosy else 0.0, [order[0]]
    for position in order[1:]:
        candidate = joined(mean, len(taken), states[position])
        found = loss(candidate) if choosy else 0.0
        if found <= best:
            mean, best = candidate, found
            taken.append(position)
    module.load_state_dict(mean)
    return tuple(taken)


def joined(mean: State | None, count: int, state: State) -> State:
    """The mean of `count` states and one more (Izmailov et al. 2018, algorithm 1, line 8).

    Running statistics of batch norm are averaged like weights. That is right where they are frozen, and else an
    approximation of a pass over the data.
    """
    if mean is None:
        return {name: value.detach().clone() for name, value in state.items()}
    return interpolated(mean, state, 1 / (count + 1))
