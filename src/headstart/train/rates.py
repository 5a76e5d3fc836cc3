"""The learning-rate range test: how fast can this network learn before it diverges?"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import nn

from headstart.train.fused import fused
from headstart.train.task import Batch, Task
from headstart.train.trainable import Trainable

KEPT = 0.8  # of the running mean of the losses, at each step
WORSE = 2.0  # times the best loss at which the test ends
BELOW = 10.0  # the rate that is taken is this much below the one with the lowest loss

Curve = list[tuple[float, float]]


def range_test(
    module: nn.Module,
    task: Task,
    epoch: Callable[[int], Iterator[Batch]],
    trainable: Trainable,
    *,
    low: float = 1e-5,
    high: float = 1.0,
    steps: int = 40,
    decay: float = 0.0,
    clip: float = 1.0,
    seed: int = 0,
) -> Curve:
    """Train with a rate that rises from `low` to `high` in equal ratios, and note the losses (Smith 2017, section 3.3).

    It ends early where the loss is not finite or twice the lowest so far. Weights, modes and the random state are as
    before afterwards.

    Args:
        module: on its device.
        task: forward and loss.
        epoch: batches of one epoch, given a seed.
        trainable: what to train.
        low: the first rate.
        high: the last rate.
        steps: of the optimiser, over as many epochs as that takes.
        decay: decoupled weight decay.
        clip: gradient norm limit.
        seed: of the batches, augmentation and dropout.

    Returns:
        (rate, running mean of the losses, without the bias of its beginning) for every step.
    """
    device = next(module.parameters()).device
    kept = copy.deepcopy(module.state_dict())
    curve: Curve = []
    running = 0.0
    batches = itertools.chain.from_iterable(epoch(seed * 100_003 + number) for number in itertools.count())
    quick = fused(module, frozen=trainable.batch_norm == "frozen")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), quick, trainable.applied(module):
        torch.manual_seed(seed)
        optimiser = torch.optim.AdamW(trainable.groups(module, 1.0, decay), lr=1.0)
        shares = [group["lr"] for group in optimiser.param_groups]
        for step, batch in enumerate(itertools.islice(batches, steps)):
            rate = low * (high / low) ** (step / max(1, steps - 1))
            loss = task(module, batch)["loss"]
            if not math.isfinite(float(loss.detach())):
                break
            running = KEPT * running + (1 - KEPT) * float(loss.detach())
            curve.append((rate, running / (1 - KEPT ** (step + 1))))
            if curve[-1][1] > WORSE * min(value for _, value in curve):
                break
            for group, share in zip(optimiser.param_groups, shares, strict=True):
                group["lr"] = rate * share
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
            optimiser.step()
    module.load_state_dict(kept)
    return curve


def chosen_rate(curve: Curve) -> float:
    """A tenth of the rate at which the loss was lowest: on the slope that leads there, and away from divergence.

    >>> chosen_rate([(0.001, 2.0), (0.01, 1.0), (0.1, 3.0)])
    0.001

    Raises:
        ValueError: the curve is empty.
    """
    if not curve:
        raise ValueError("no rate has a finite loss")
    return min(curve, key=lambda point: point[1])[0] / BELOW
