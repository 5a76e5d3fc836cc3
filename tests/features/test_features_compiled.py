"""Compiled networks compute what torch computes, are converted once, and are never in the way."""

import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from headstart.features import NetworkBody, compiled, extract
from headstart.features.preprocess import normalise
from headstart.source import architecture, find
from headstart.source.card import Preprocessing
from headstart.target.inputs import ArrayInputs

HOW = Preprocessing(size=32, squash=True, interpolation="bilinear")


def pictures(count, side=32, seed=0):
    return ArrayInputs(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def by_torch(module, inputs, how):
    from headstart.features.preprocess import to_pixels

    pixels = np.stack([to_pixels(inputs.image(i), how) for i in range(len(inputs))])
    with torch.inference_mode():
        x = torch.from_numpy(normalise(pixels, how))
        return module.forward_head(module.forward_features(x), pre_logits=True).numpy()


def relative(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def body(revision="r", calls=None):
    module = architecture.build("small_cnn", 1).eval()

    def load():
        if calls is not None:
            calls.append(1)
        return module

    return NetworkBody(load, "small_cnn", HOW, 192, revision), module


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A cache that holds the converted network of :func:`body`."""
    folder = tmp_path_factory.mktemp("converted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        assert compiled.convert(body()[1], 32, compiled.place("small_cnn", "r", 32)) is not None
    return folder


@pytest.fixture
def converted(once, cache):
    """The same, for one test alone."""
    shutil.copytree(once, cache)
    return cache


def extracted(network, inputs, store):
    return extract(network, inputs, store=store)


@pytest.mark.fast
def test_many_inputs_compile_and_few_do_not(cache, tmp_path):
    network, module = body()
    inputs = pictures(70)
    few = extracted(network, inputs.take(range(5)), tmp_path / "a")
    assert not (cache / "compiled").exists()
    many = extracted(network, inputs, tmp_path / "b")
    [folder] = (cache / "compiled").iterdir()
    assert folder == compiled.place("small_cnn", "r", 32)
    assert network._compiled is not None
    expected = by_torch(module, inputs, HOW)
    assert relative(many, expected) < 1e-4
    assert relative(few, expected[:5]) < 1e-5


@pytest.mark.fast
def test_the_converted_network_is_used_again_without_loading_torch_s(converted, tmp_path, monkeypatch):
    _, module = body()
    inputs = pictures(70)

    def never(*args):
        raise AssertionError("converted twice")

    monkeypatch.setattr(compiled, "convert", never)
    calls = []
    again, _ = body(calls=calls)
    vectors = extracted(again, inputs.take(range(3)), tmp_path / "b")
    assert relative(vectors, by_torch(module, inputs.take(range(3)), HOW)) < 1e-4
    assert calls == [], "the weights were loaded although the compiled network was there"
    other, _ = body(revision="another")
    monkeypatch.setattr(compiled, "convert", lambda *args: calls.append("converted"))
    extracted(other, inputs, tmp_path / "c")
    assert "converted" in calls, "another revision must not be served by this network"


@pytest.mark.fast
@pytest.mark.parametrize("harm", ["xml cut", "bin cut", "bin bit flipped", "bin missing", "empty folder"])
def test_a_damaged_conversion_falls_back_to_torch(harm, converted, tmp_path, caplog):
    inputs = pictures(64)
    [folder] = (converted / "compiled").iterdir()
    xml, weights = folder / "network.xml", folder / "network.bin"
    data = bytearray(weights.read_bytes())
    if harm == "xml cut":
        xml.write_bytes(xml.read_bytes()[:500])
    elif harm == "bin cut":
        weights.write_bytes(bytes(data[: len(data) // 2]))
    elif harm == "bin bit flipped":
        data[len(data) // 2] ^= 0x40
        weights.write_bytes(bytes(data))
    elif harm == "bin missing":
        weights.unlink()
    else:
        for file in folder.iterdir():
            file.unlink()
    again, module = body()
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors = extracted(again, inputs, tmp_path / "b")
    assert "torch is used" in caplog.text
    assert again._compiled is None
    assert relative(vectors, by_torch(module, inputs, HOW)) < 1e-6


@pytest.mark.fast
def test_a_network_that_disagrees_is_not_used(cache, tmp_path, caplog, monkeypatch):
    """A converter that gets the weights wrong is caught by comparing with torch."""
    real = compiled.load
    monkeypatch.setattr(compiled, "load", lambda folder: lambda batch: real(folder)(batch) * 1.01)
    network, module = body()
    inputs = pictures(64)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors = extracted(network, inputs, tmp_path / "a")
    assert "differs from torch by 1.0e-02" in caplog.text
    assert relative(vectors, by_torch(module, inputs, HOW)) < 1e-6
    monkeypatch.setattr(compiled, "load", real)
    again, _ = body()
    extracted(again, inputs, tmp_path / "b")
    assert again._compiled is None, "the network that was refused is used by the next process"


@pytest.mark.fast
def test_what_cannot_be_converted_runs_in_torch(cache, tmp_path, caplog, monkeypatch):
    class Stub:
        def convert_model(self, *args):
            raise RuntimeError

    monkeypatch.setattr(compiled, "_openvino", Stub)
    network, module = body()
    inputs = pictures(64)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors = extracted(network, inputs, tmp_path / "a")
    assert "cannot be compiled (RuntimeError); torch is used" in caplog.text
    assert relative(vectors, by_torch(module, inputs, HOW)) < 1e-6


@pytest.mark.fast
def test_trained_here_is_neither_compiled_nor_kept(cache, tmp_path):
    network, module = body(revision=None)
    inputs = pictures(70)
    vectors = extracted(network, inputs, tmp_path / "a")
    assert relative(vectors, by_torch(module, inputs, HOW)) < 1e-6
    assert not (cache / "compiled").exists()
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_lite0_compiled_equals_torch(cache, tmp_path):
    source = find("efficientnet_lite0")
    network, how = NetworkBody.frozen(source), source.card.preprocessing
    smooth = [
        np.asarray(picture)
        for picture in (pictures(64, side=9, seed=3).image(i).resize((250, 230), 3) for i in range(64))
    ]
    inputs = ArrayInputs(smooth)
    vectors = extract(network, inputs, store=tmp_path / "a")
    assert network._compiled is not None
    expected = by_torch(source.module().eval(), inputs, how)
    assert relative(vectors, expected) < 1e-3
    # The largest over all hides small vectors: every picture by itself as well.
    own = np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert own.max() < 1e-3


@pytest.mark.slow
def test_telemetry_is_never_imported(tmp_path):
    program = """
import sys
import numpy as np
from headstart.features import compiled
from headstart.source import architecture
from pathlib import Path
folder = Path(sys.argv[1])
assert compiled.convert(architecture.build("small_cnn").eval(), 32, folder) is not None
assert sys.modules["openvino_telemetry"] is None
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
import openvino
print("converted with", openvino.__version__)
"""
    environment = {**os.environ, "HEADSTART_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "net")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "converted with" in done.stdout
