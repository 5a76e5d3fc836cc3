"""The benchmark of a GPU, tried on the CPU with a network that is known by heart."""

from __future__ import annotations

import pytest

from benchmarks import gpu
from headstart.source.card import Preprocessing

pytestmark = pytest.mark.fast


def test_without_a_gpu_it_says_that_there_is_nothing_to_measure(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == {"skipped": "no CUDA device"}


def test_the_share_of_the_peak_counts_the_operations_of_the_network():
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 16))
    peak = 1e9
    found = gpu._network(network, Preprocessing(size=8), "cpu", pictures=64, peak=peak)
    assert found["gflops_per_image"] == round(2 * 3 * 8 * 8 * 16 / 1e9, 3)
    assert found["share_of_peak"] == pytest.approx(
        found["resident_images_per_second"] * 2 * 3 * 8 * 8 * 16 / peak, rel=1e-3, abs=1e-4
    )
    assert found["images_per_second"] > 0
    assert found["cosine"] == pytest.approx(1, abs=1e-6)


def test_the_peak_counts_two_operations_per_element_of_a_product(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(gpu, "seconds", lambda work: (work(), 0.5)[1])
    assert gpu._peak("cpu", 32) == 2 * 32**3 / 0.5
