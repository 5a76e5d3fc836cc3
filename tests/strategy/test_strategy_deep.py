"""Deep ways of domain adaptation on a planted shift: what they are for, they do, and nothing where nothing moved."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.predictor import Predictor, load
from headstart.source import Preprocessing, SourceCard, architecture, find
from headstart.strategy import ADAPTATIONS, Bench
from headstart.strategy.adapt.shot import Shot
from headstart.strategy.adapt.tent import Tent
from headstart.strategy.deep import Deep
from headstart.strategy.source_free import SourceFree
from headstart.target.inputs import ArrayInputs, Inputs
from headstart.target.view import Examples, TrainView
from headstart.testing import check_adapt, check_all, registered
from headstart.testing import texts as _texts  # noqa: F401 - registers toy_text:words

pytestmark = pytest.mark.fast

SIDE = 16
DEEP = ["adabn", "dann", "cdan", "deep-coral", "dan", "mcc", "mcd", "deep-self-train", "shot", "tent"]
QUICK = {"rate": 1e-2, "batch": 60, "views": 0}
"""Of the toy network, which is small: no augmented views, and a fast head."""


class Toy(nn.Module):
    """The brightness of the four quarters of a picture, mixed by random numbers, with batch norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 1, SIDE // 2, stride=SIDE // 2, bias=False)
        self.mix = nn.Sequential(nn.Conv2d(1, 16, 2), nn.BatchNorm2d(16), nn.Tanh())
        self.out = nn.Conv2d(16, 16, 1)
        self.num_features = self.head_hidden_size = 16
        self.classifier: nn.Module = nn.Identity()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.mix(self.stem(x)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        self.classifier = nn.Linear(16, num_classes) if num_classes else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        return {"stem": r"^stem", "blocks": r"^(mix|out)"}


architecture.register("toy_quarters", Toy)


class Quarters:
    """The source with that network."""

    card = SourceCard(
        name="toys:quarters",
        modality="image",
        architecture="toy_quarters",
        pretraining="planted by hand",
        licence="Apache-2.0",
        origin="made in memory",
        preprocessing=Preprocessing(size=SIDE, squash=True, interpolation="bilinear"),
        parameters=sum(p.numel() for p in Toy().parameters()),
        features=16,
        flops=1e4,
        stages=architecture.stages("toy_quarters", SIDE),
        batch_norm=True,
    )

    def revision(self) -> str:
        return "toys:quarters 1"

    def module(self, seed: int = 0) -> nn.Module:
        """Always the same: bright quarters are large numbers, and batch norm has seen pictures of all kinds."""
        network = architecture.build("toy_quarters", 1)
        with torch.no_grad():
            network.stem.weight.fill_(1 / (3 * (SIDE // 2) ** 2))
            stem = network.stem(torch.rand(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1)
            network.mix[1].running_mean.copy_(network.mix[0](stem).mean(dim=(0, 2, 3)))
            network.mix[1].running_var.fill_(0.1)
        return network


def pictures(n: int, seed: int, moved: float) -> tuple[ArrayInputs, np.ndarray]:
    """Two classes. The left half tells them in the source domain, and is `moved` in the target; the right is weaker.

    Brightness of the left half is -0.3 or 0.3, and `moved`; that of the right half -0.2 or 0.2; both with noise 0.08.
    """
    rng = np.random.default_rng([seed, n])
    y = rng.permutation(np.arange(n) % 2)
    left, right = ((2 * y - 1) * size + rng.normal(0, 0.08, n) for size in (0.3, 0.2))
    grey = np.concatenate(
        [np.tile(half[:, None, None], (1, SIDE, SIDE // 2)) for half in (left + moved, right)], axis=2
    )
    grey = np.clip(127.5 + 127.5 * (grey + rng.normal(0, 0.02, grey.shape)), 0, 255).astype(np.uint8)
    return ArrayInputs(np.repeat(grey[..., None], 3, axis=3)), y


def domains(moved: float, n: int = 120) -> tuple[TrainView, ArrayInputs, np.ndarray]:
    (inputs, y), (target, truth) = pictures(n, 1, 0.0), pictures(n, 2, moved)
    return TrainView(Examples(inputs, y), ("a", "b"), "accuracy", unlabelled=target), target, truth


@pytest.fixture(scope="module", autouse=True)
def source():
    with registered(Quarters()) as made:
        yield made


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def right(name: str, view: TrainView, target: Inputs, truth: np.ndarray, store, seed: int = 0, **how) -> float:
    quick = QUICK if ADAPTATIONS[name].needs.gradients else {}
    made = ADAPTATIONS[name](**quick | how)(find("toys:quarters"), view, budget=Budget(), seed=seed, bench=Bench(store))
    return float((made.predict_proba(target).argmax(axis=1) == truth).mean())


SHIFT = {"shot": 0.42, "tent": 0.42, "mcc": 0.42, "mcd": 0.42, "deep-self-train": 0.42}
"""By clusters and pseudo-labels a shift is undone that leaves most predictions right; by alignment any."""


@pytest.mark.parametrize("name", DEEP)
def test_a_shift_is_undone(name, store) -> None:
    planted = domains(SHIFT.get(name, 0.6))
    usual = right("source-only", *planted, store)
    found = right(name, *planted, store)
    print(name, usual, found)
    assert usual < 0.85
    assert found > usual + 0.1


@pytest.mark.parametrize("name", DEEP)
def test_nothing_is_lost_where_nothing_moved(name, store) -> None:
    planted = domains(0.0)
    assert right(name, *planted, store) > right("source-only", *planted, store) - 0.03
