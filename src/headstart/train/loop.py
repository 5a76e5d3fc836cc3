"""The one training loop. What is learned is a Task; what is trainable is a Trainable; this only runs them."""

from __future__ import annotations

import copy
import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from headstart import files
from headstart.budget import Budget
from headstart.errors import DivergedError
from headstart.train import average
from headstart.train.fused import fused
from headstart.train.task import Batch, Task
from headstart.train.trainable import Trainable

log = logging.getLogger("headstart")

LOWEST = 32  # the slanted schedule begins and ends at the peak divided by this


@dataclass(frozen=True)
class Plan:
    """How to train.

    Args:
        epochs: at most this many.
        rate: peak learning rate of AdamW (Loshchilov & Hutter 2019), for parameters with a share of 1.
        decay: decoupled weight decay.
        warmup: share of the steps over which the rate rises linearly; afterwards it falls along the schedule.
        schedule: `cosine`: half a cosine from the peak to zero. `slanted`: a straight line to a 32nd of the peak, from
            which the rise begins too (slanted triangular, Howard & Ruder 2018, equation 3). `constant`: the peak.
        accumulate: batches per optimiser step.
        patience: epochs without a better evaluation before stopping; None: never stop early.
        precision: `fp32`, or `bf16` (autocast).
        clip: gradient norm limit.
        seed: order of the batches, augmentation and dropout.
        average: stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of the epochs
            of the second half is kept, unless the evaluation prefers the best epoch. It goes with a rate that stays up.
    """

    epochs: int
    rate: float
    decay: float = 0.05
    warmup: float = 0.1
    schedule: Literal["cosine", "slanted", "constant"] = "cosine"
    accumulate: int = 1
    patience: int | None = None
    precision: str = "fp32"
    clip: float = 1.0
    seed: int = 0
    average: bool = False


@dataclass
class History:
    """What happened.

    Args:
        losses: mean training loss of each epoch.
        evaluations: value of `evaluate` after each epoch; lower is better.
        best_epoch: index of the epoch whose weights were kept.
        stopped: why it ended: `epochs`, `patience`, or `budget`.
        resumed: epoch it resumed from, 0 for none.
        steps: of the optimiser.
        averaged: epochs whose weights were averaged into those that were kept; 0: those of one epoch were kept.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    best_epoch: int = -1
    stopped: str = "epochs"
    resumed: int = 0
    steps: int = 0
    averaged: int = 0


def train(
    module: nn.Module,
    task: Task,
    epoch: Callable[[int], Iterator[Batch]],
    steps_per_epoch: int,
    plan: Plan,
    trainable: Trainable,
    *,
    budget: Budget,
    evaluate: Callable[[], float] | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Train `module` in place.

    With `evaluate`, the weights of the best epoch are put back at the end; without, those of the last epoch stay.

    Args:
        module: on its device.
        task: forward and loss.
        epoch: batches of one epoch, given a seed.
        steps_per_epoch: number of batches of one epoch.
        plan: how to train.
        trainable: what to train.
        budget: no epoch is begun that would overrun it; the first is cut short rather than overrun it. Its steps, where
            they are given, are those after which that happened before.
        evaluate: a loss on held-out examples, lower is better.
        checkpoint: written after every epoch, read at the start if it exists, removed by the caller.
        progress: called as `progress(steps done, steps in all)`.

    Raises:
        DivergedError: the loss or the gradient's norm is not a finite number.
    """
    device = next(module.parameters()).device
    history = History()
    best: tuple[float, dict[str, Any]] | None = None
    mean: dict[str, Any] | None = None
    averaged = 0
    optimiser = torch.optim.AdamW(trainable.groups(module, plan.rate, plan.decay), lr=plan.rate, fused=True)
    peaks = [group["lr"] for group in optimiser.param_groups]
    total = max(1, plan.epochs * math.ceil(steps_per_epoch / plan.accumulate))
    step, first = 0, 0

    if checkpoint is not None and checkpoint.exists():
        state = _read(checkpoint)
        if state is not None and state["plan"] == repr((plan, trainable)):
            module.load_state_dict(state["module"])
            optimiser.load_state_dict(state["optimiser"])
            best = (state["best"], state["best_module"]) if state["best_module"] is not None else None
            mean, averaged = state["mean"], state["averaged"]
            history = History(**state["history"])
            step, first = state["step"], state["epoch"]
            history.resumed = first

    devices = [device] if device.type == "cuda" else []
    quick = fused(module, frozen=trainable.batch_norm == "frozen")
    with torch.random.fork_rng(devices=devices), quick, trainable.applied(module):
        for number in range(first, plan.epochs):
            began = time.monotonic()
            torch.manual_seed(plan.seed * 100_003 + number)
            trainable.begin(module, number)
            losses: list[float] = []
            optimiser.zero_grad(set_to_none=True)
            cut_short = False
            for position, batch in enumerate(epoch(plan.seed * 100_003 + number), 1):
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=plan.precision == "bf16"):
                    loss = task(module, batch)["loss"]
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise DivergedError(f"the loss became {value} in epoch {number + 1}; a lower rate may help")
                (loss / plan.accumulate).backward()  # type: ignore[no-untyped-call]
                losses.append(value)
                if position % plan.accumulate == 0 or position == steps_per_epoch:
                    for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                        group["lr"] = peak * _schedule(step / total, plan.warmup, plan.schedule)
                    norm = nn.utils.clip_grad_norm_(
                        [p for group in optimiser.param_groups for p in group["params"]], plan.clip
                    )
                    if not math.isfinite(float(norm)):
                        raise DivergedError(f"the gradient became {float(norm)} in epoch {number + 1}")
                    optimiser.step()
                    optimiser.zero_grad(set_to_none=True)
                    history.steps = step = step + 1
                if progress is not None:
                    progress(number * steps_per_epoch + position, plan.epochs * steps_per_epoch)
                if number == 0 and (budget.left() <= 0 or step == budget.steps):
                    cut_short = True
                    break
            history.losses.append(sum(losses) / max(1, len(losses)))
            if evaluate is not None:
                module.eval()
                with torch.inference_mode():
                    value = evaluate()
                history.evaluations.append(value)
                if not math.isfinite(value):
                    raise DivergedError(f"the validation loss became {value} in epoch {number + 1}")
                if best is None or value < best[0]:
                    best = (value, copy.deepcopy(module.state_dict()))
                    history.best_epoch = number
            else:
                history.best_epoch = number
            if plan.average and number + 1 > plan.epochs // 2:
                mean, averaged = average.joined(mean, averaged, module.state_dict()), averaged + 1
            took = time.monotonic() - began
            if cut_short or budget.left() < took or step == budget.steps:
                history.stopped = "budget" if number + 1 < plan.epochs or cut_short else "epochs"
                break
            if plan.patience is not None and best is not None and number - history.best_epoch >= plan.patience:
                history.stopped = "patience"
                break
            if checkpoint is not None and number + 1 < plan.epochs:
                state = {"mean": mean, "averaged": averaged, "step": step, "epoch": number + 1}
                _write(checkpoint, module, optimiser, best, history, {**state, "plan": repr((plan, trainable))})
    module.eval()
    if mean is not None:
        module.load_state_dict(mean)
        with torch.inference_mode():
            if evaluate is None or best is None or evaluate() <= best[0]:
                history.averaged, best = averaged, None
    if best is not None:
        module.load_state_dict(best[1])
    return history


def _schedule(position: float, warmup: float, kind: str = "cosine") -> float:
    """Share of the peak rate at `position` in [0, 1]: linear rise over `warmup`, then down, or on."""
    if kind == "slanted":
        height = position / warmup if position < warmup else 1 - (position - warmup) / (1 - warmup)
        return (1 + height * (LOWEST - 1)) / LOWEST
    if position < warmup:
        return (position + 1e-3) / warmup
    if kind == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (position - warmup) / (1 - warmup))))


def _write(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: tuple[float, dict[str, Any]] | None,
    history: History,
    more: dict[str, Any],
) -> None:
    buffer = io.BytesIO()
    torch.save(
        {
            **more,
            "module": module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "best": best[0] if best else 0.0,
            "best_module": best[1] if best else None,
            "history": vars(history),
        },
        buffer,
    )
    try:
        files.write_bytes(path, buffer.getvalue())
    except OSError as error:
        log.warning("no checkpoint was written (%s); training goes on", error)


def _read(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None where it is damaged: the training then starts anew."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        log.warning("the checkpoint %s is damaged (%s) and is not used", path.name, error)
        return None
    return state
