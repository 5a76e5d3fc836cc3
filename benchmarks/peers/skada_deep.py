"""skada's deep methods on one pair of domains, from pictures or from the values at which the trained part begins.

The network is timm's with the pretrained weights. Its last stage and a new head are trained; what comes before is
frozen by `timm.utils.freeze`, batch norm included. `pictures`: the whole network is run in every step, as skada's
examples do. `cut`: what the frozen part gives is computed once, and skada is fitted on that; both are the same network
on the same examples. skada takes arrays, so that there is no augmentation.

The head begins as logistic regression on frozen features of the source: from a random one, in so few epochs, every
method is worse than that regression alone. Losses are skada's with their default weights. Two things are not left as
they are: DeepCORAL looks at the logits, as its paper does; and the critic of DANN and CDAN ends in a sigmoid, because
skada's own (0.6.0) ends in a softmax over one number, which is 1 whatever it is shown, so that nothing of the domains
is learned.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import timm
import timm_features
import timm_frozen_finetune
import torch
from PIL import Image
from skada.deep import CDAN, DANN, DeepCoral
from skada.deep.modules import DomainClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler
from torch import nn

SOURCE, TARGET = 1, -2  # skada's way of telling domains: sources not below zero, targets below
MASKED = -1  # in the place of a target's label
WIDTH = 1280  # of pooled features
WIDEST = 4096  # numbers that a critic of CDAN is shown, skada's default
RATE, DECAY, WARM_UP = timm_frozen_finetune.RATE, timm_frozen_finetune.DECAY, timm_frozen_finetune.WARM_UP
TRUNK = 0.03  # share of the rate for the pretrained stage: at the whole of it what was learned before is lost
FROZEN = ["conv_stem", "bn1", *(f"blocks.{i}" for i in range(6))]


class Network(nn.Module):
    """A network with the argument by which skada calls one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, X: torch.Tensor, sample_weight: None = None) -> torch.Tensor:
        """(B, 3, S, S), or values at the cut, to logits (B, C)."""
        found: torch.Tensor = self.model(X.contiguous(memory_format=torch.channels_last))
        return found


def parts(classes: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The network, what is frozen of it, and the rest; they share their weights."""
    model: Any = timm_frozen_finetune.load(classes)
    timm.utils.freeze(model, FROZEN)
    before = nn.Sequential(model.conv_stem, model.bn1, *model.blocks[:6])
    names = ("conv_head", "bn2", "global_pool", "classifier")
    after = nn.Sequential()
    after.add_module("blocks", model.blocks[6])
    for name in names:
        after.add_module(name, getattr(model, name))
    return model, before, after


def critic(width: int) -> nn.Module:
    """skada's, with a sigmoid in the place of the softmax."""
    made = DomainClassifier(num_features=width)
    made.classifier[-1] = nn.Sigmoid()
    return made


def deep_coral(network: nn.Module, classes: int, **how: Any) -> Any:
    """DeepCORAL on logits."""
    return DeepCoral(network, layer_name="model.classifier", **how)


def dann(network: nn.Module, classes: int, **how: Any) -> Any:
    """DANN on pooled features."""
    return DANN(network, layer_name="model.global_pool", domain_classifier=critic(WIDTH), **how)


def cdan(network: nn.Module, classes: int, **how: Any) -> Any:
    """CDAN on pooled features; where their products with logits are too many, skada draws random ones."""
    width = min(WIDTH * classes, WIDEST)
    return CDAN(network, layer_name="model.global_pool", domain_classifier=critic(width), **how)


METHODS: dict[str, Callable[..., Any]] = {"deep-coral": deep_coral, "dann": dann, "cdan": cdan}


def pictures(model: nn.Module, paths: list[str]) -> torch.Tensor:
    """(N, 3, S, S) float32, as timm prepares them for prediction."""
    prepare = timm_features.preprocessing(model)
    found = []
    for path in paths:
        with Image.open(path) as picture:
            found.append(prepare(picture.convert("RGB")))
    return torch.stack(found)


def at_cut(before: nn.Module, X: torch.Tensor, batch: int) -> torch.Tensor:
    """What the frozen part gives of pictures."""
    before.eval()
    with torch.inference_mode():
        parts = [before(part.contiguous(memory_format=torch.channels_last)).contiguous() for part in X.split(batch)]
    return torch.cat(parts)


def probed(body: nn.Module, X: torch.Tensor, y: Any, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logistic regression on standardised pooled features of the source: weights (C, D) and biases (C,) on raw ones."""
    body.eval()
    with torch.inference_mode():
        features = torch.cat([body(part.contiguous(memory_format=torch.channels_last)) for part in X.split(batch)])
    scale = StandardScaler().fit(features.numpy())
    found = LogisticRegression(max_iter=1000).fit(scale.transform(features.numpy()), y)
    weight = found.coef_ / scale.scale_
    bias = found.intercept_ - weight @ scale.mean_
    return torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))


def fitted(
    name: str, begin: str, X: Any, y: Any, domain: Any, head: Any, given: Any, epochs: int, seed: int
) -> dict[str, Any]:
    """One method fitted on both domains: predictions of the target, and CPU seconds."""
    torch.manual_seed(seed)
    classes = int(y.max()) + 1
    model, _, after = parts(classes)
    with torch.no_grad():
        model.classifier.weight.copy_(head[0])
        model.classifier.bias.copy_(head[1])
    network = Network(model if begin == "pictures" else after)
    each = [int((domain == side).sum()) // given.batch for side in (SOURCE, TARGET)]
    schedule = LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR,
        step_every="batch",
        max_lr=[given.rate, given.rate * given.trunk],
        total_steps=epochs * max(each) + 1,
        pct_start=WARM_UP,
        cycle_momentum=False,
    )
    net = METHODS[name](
        network,
        classes,
        base_criterion=nn.CrossEntropyLoss(label_smoothing=timm_frozen_finetune.SMOOTHING),
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=DECAY,
        lr=given.rate * given.trunk,
        optimizer__param_groups=[("*classifier*", {"lr": given.rate})],  # the head, and the critic
        max_epochs=epochs,
        batch_size=given.batch,
        train_split=None,
        callbacks=[("schedule", schedule)],
        verbose=0,
    )
    began = time.process_time()
    net.fit(X, y, sample_domain=domain)
    between = time.process_time()
    mine = domain == TARGET
    said = net.predict(X[mine], sample_domain=domain[mine])
    return {
        "predictions": said.tolist(),
        "losses": [float(each) for each in net.history[:, "train_loss"]],
        "fit_cpu_seconds": between - began,
        "predict_cpu_seconds": time.process_time() - between,
    }


def main() -> None:
    watch = common.Stopwatch()
    parser = common.parser(__doc__)
    parser.add_argument("pair", type=Path, help="JSON: source and target, lists of paths; labels, of the source")
    parser.add_argument("--begin", choices=("pictures", "cut"), default="cut")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, nargs="+", default=[10], help="skada's own default is 10")
    parser.add_argument("--batch", type=int, default=32, help="of each domain")
    parser.add_argument("--rate", type=float, default=RATE, help="of the head and of the critic")
    parser.add_argument("--trunk", type=float, default=TRUNK, help="share of it for the stage")
    given = parser.parse_args()
    torch.set_num_threads(1)  # more wait for each other on a busy machine, and CPU seconds count that
    watch.lap("arguments")
    pair = json.loads(given.pair.read_text(encoding="utf-8"))
    y = np.array([*pair["labels"], *([MASKED] * len(pair["target"]))])
    domain = np.repeat([SOURCE, TARGET], [len(pair["labels"]), len(pair["target"])])
    began = time.process_time()
    model, before, after = parts(int(y.max()) + 1)
    X = pictures(model, pair["source"] + pair["target"])
    decoded = time.process_time()
    if given.begin == "cut":
        X = at_cut(before, X, given.batch)
    cut = time.process_time()
    body = [*([before] if given.begin == "pictures" else []), *after[:-1]]
    head = probed(nn.Sequential(*body), X[: len(pair["labels"])], y[: len(pair["labels"])], given.batch)
    spent = {"decode": decoded - began, "cut": cut - decoded, "head": time.process_time() - cut}
    values = X.numpy()
    found: dict[str, Any] = {
        name: {
            str(epochs): {
                str(seed): fitted(name, given.begin, values, y, domain, head, given, epochs, seed)
                for seed in given.seeds
            }
            for epochs in given.epochs
        }
        for name in given.methods
    }
    watch.lap("methods")
    watch.seconds["process"] = common.process_seconds()
    measured = {
        "begin": given.begin,
        "epochs": given.epochs,
        "batch": given.batch,
        "rate": given.rate,
        "trunk": given.trunk,
        "cpu_seconds": spent,
        "methods": found,
        "seconds": watch.seconds,
    }
    common.report("skada_deep", measured, given.json)


if __name__ == "__main__":
    main()
