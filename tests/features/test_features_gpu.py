"""The way to a GPU: the same vectors as on the CPU within what bf16 costs, and training on it."""

import numpy as np
import pytest
import torch

from headstart.budget import Budget
from headstart.features import NetworkBody
from headstart.source import find
from headstart.strategy import Bench, make
from headstart.target.assemble import assemble
from headstart.target.embedded import digits
from headstart.target.inputs import ArrayInputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]

SOURCE = "bundled:efficientnet_lite0"


def test_vectors_equal_the_cpu_s_within_bf16():
    """300 pictures, more than one batch, so that copies and computation overlap."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 64, 64, 3), dtype=np.uint8)
    inputs, index = ArrayInputs(pixels), np.arange(300)
    cpu = NetworkBody.of(find(SOURCE)).compute(inputs, index).vectors
    gpu = NetworkBody.of(find(SOURCE), "cuda").compute(inputs, index).vectors
    assert np.isfinite(gpu).all()
    # bf16 keeps 8 bits: a network of fifty layers is off by a few hundredths of its largest value.
    assert np.abs(gpu - cpu).max() / np.abs(cpu).max() < 0.05
    cosine = (gpu * cpu).sum(1) / np.linalg.norm(gpu, axis=1) / np.linalg.norm(cpu, axis=1)
    assert cosine.min() > 0.99


def test_vectors_of_the_gpu_are_kept_apart_from_the_cpu_s():
    (cpu,) = NetworkBody.of(find(SOURCE)).parts()
    (gpu,) = NetworkBody.of(find(SOURCE), "cuda").parts()
    assert cpu.space != gpu.space


@pytest.mark.parametrize(("strategy", "parameters"), [("probe", {}), ("finetune", {"epochs": 2, "last": 1})])
def test_a_strategy_learns_there(strategy, parameters, tmp_path):
    view = assemble(digits(40), test_fraction=0.25, seed=0).episodes[0].view
    train, held = view.fold(0)
    bench = Bench(store=tmp_path, device="cuda")
    predictor = make(strategy, parameters)(find(SOURCE), train, budget=Budget(), seed=0, bench=bench)
    found = predictor.log_probabilities(bench.features(predictor.body, held.inputs, "held")).argmax(1)
    assert (found == held.labels).mean() > 0.3  # chance is a tenth
