"""Compiled networks compute what torch computes, are converted once, and are never in the way."""

import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch

from headstart.features import NetworkBody, Tally, compiled, extract, extract_parts, restore
from headstart.features.engine import TorchEngine
from headstart.features.precision import has_bf16
from headstart.features.preprocess import normalise
from headstart.source import architecture, cuts, find
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


def place(revision="r"):
    return compiled.place("small_cnn", f"{revision} []", HOW)


def converts(module, folder):
    return compiled.convert(cuts.Pooled(module), (), HOW, folder, dict(body()[0].tensors()))


def uses_torch(network):
    return isinstance(network._engine, TorchEngine)


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
        assert converts(body()[1], place())
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
    assert folder == place()
    assert json.loads((folder / "about.json").read_text())["architecture"] == "small_cnn"  # for headstart cache
    assert not uses_torch(network)
    expected = by_torch(module, inputs, HOW)
    assert relative(many, expected) < 1e-4
    assert relative(few, expected[:5]) < 1e-5


@pytest.mark.fast
def test_an_engine_gives_its_memory_back(converted):
    """OpenVINO's requests are no part of what Python's garbage collector sees, so they must not hold the engine."""
    engine = compiled.CompiledEngine(place())
    into = [np.empty((2, 192), dtype=np.float32)]
    engine.start(np.zeros((2, 32, 32, 3), dtype=np.uint8), [0, 1], into)
    engine.finish()
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None


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
    assert uses_torch(again)
    assert relative(vectors, by_torch(module, inputs, HOW)) < 1e-6


@pytest.mark.fast
def test_a_network_that_disagrees_is_not_used(cache, tmp_path, caplog, monkeypatch):
    """A converter that gets the weights wrong is caught by comparing with torch."""

    class Wrong(compiled.CompiledEngine):
        def finish(self):
            super().finish()
            if self.results is not None:
                self.results *= np.float32(1.01)

        results = None

        def start(self, pixels, rows, into):
            super().start(pixels, rows, into)
            self.results = into[0]

    real = compiled.CompiledEngine
    monkeypatch.setattr(compiled, "CompiledEngine", Wrong)
    network, module = body()
    inputs = pictures(64)
    with caplog.at_level(logging.WARNING, "headstart"):
        vectors = extracted(network, inputs, tmp_path / "a")
    assert "differ from torch's by 1.0e-02" in caplog.text
    assert relative(vectors, by_torch(module, inputs, HOW)) < 1e-6
    monkeypatch.setattr(compiled, "CompiledEngine", real)
    again, _ = body()
    extracted(again, inputs, tmp_path / "b")
    assert uses_torch(again), "the network that was refused is used by the next process"


@pytest.mark.fast
def test_what_cannot_be_converted_runs_in_torch(cache, tmp_path, caplog, monkeypatch):
    class Stub:
        def convert_model(self, *args, **how):
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
    network, how = NetworkBody.of(source), source.card.preprocessing
    smooth = [
        np.asarray(picture)
        for picture in (pictures(64, side=9, seed=3).image(i).resize((250, 230), 3) for i in range(64))
    ]
    inputs = ArrayInputs(smooth)
    vectors = extract(network, inputs, store=tmp_path / "a")
    assert not uses_torch(network)
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
from headstart.source import architecture, cuts
from headstart.source.card import Preprocessing
from pathlib import Path
folder = Path(sys.argv[1])
assert compiled.convert(cuts.Pooled(architecture.build("small_cnn").eval()), (), Preprocessing(32), folder)
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


@pytest.mark.fast
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_several_stages_in_one_pass(engine, cache, tmp_path):
    """Pooled, a stage's mean and a stage's values come from one pass, each kept by itself, and equal torch's."""
    module = architecture.build("small_cnn", 1).eval()
    stages = architecture.stages("small_cnn", 32)
    assert [stage.name for stage in stages] == ["blocks.0", "blocks.1", "blocks.2"]
    outputs = ("pooled", "blocks.0", "blocks.1:map")

    def network(outputs):
        return NetworkBody(module, "small_cnn", HOW, 192, "r", stages=stages, outputs=outputs)

    inputs = pictures(70 if engine == "openvino" else 9)
    made = network(outputs)
    tally = Tally()
    found = extract_parts(made, inputs, store=tmp_path, tally=tally)
    assert uses_torch(made) == (engine == "torch")
    assert tally.computed == len(inputs), "the forward pass ran more than once"
    from headstart.features.preprocess import to_pixels

    pixels = np.stack([to_pixels(inputs.image(i), HOW) for i in range(len(inputs))])
    with torch.inference_mode():
        first = module.blocks[0](torch.from_numpy(normalise(pixels, HOW)))
        second = module.blocks[1](first)
    assert relative(found["pooled"], by_torch(module, inputs, HOW)) < 1e-4
    assert relative(found["blocks.0"], first.mean((2, 3)).numpy()) < 1e-4
    assert found["blocks.1:map"].dtype == np.float16
    assert relative(found["blocks.1:map"].astype(np.float32), second.flatten(1).numpy()) < 1e-3
    # Each is now found by a body that asks for it alone.
    for name in outputs:
        again = Tally()
        extract_parts(network((name,)), inputs, store=tmp_path, tally=again)
        assert (again.computed, again.recalled) == (0, len(inputs)), name
    with pytest.raises(KeyError):
        network(("blocks.9",))


@pytest.mark.fast
@pytest.mark.parametrize("name", ["small_cnn", "test_resnet", "test_convnext", "test_efficientnet"])
def test_prefix_and_tail_are_the_network(name):
    module = architecture.build(name, 2).eval()
    traced = cuts.trace(module)
    assert len(traced.cuts) >= 3
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32))
    with torch.inference_mode():
        expected = cuts.Pooled(module)(x)
        pooled, *values = traced.with_stages(tuple(traced.cuts))(x)
        assert torch.equal(pooled, expected)
        for stage, value in zip(traced.cuts, values, strict=True):
            tail = traced.after(stage)
            assert torch.allclose(tail(value), expected, rtol=1e-4, atol=1e-6), stage
            before = {name for name, _ in traced.root.named_parameters()}
            assert {name for name, _ in tail.named_parameters()} < before, "names changed, or nothing was cut off"


@pytest.mark.fast
def test_a_view_is_drawn_once_for_each_picture(cache, tmp_path):
    """Two computations of one view agree, two views differ, and neither is the plain picture."""
    from headstart.features import Augmentation, View

    module, inputs = architecture.build("small_cnn", 1).eval(), pictures(6, side=40)

    def vectors(view, store):
        network = NetworkBody(module, "small_cnn", HOW, 192, "r", view=view)
        return extract(network, inputs, store=tmp_path / store)

    change = Augmentation(crop=0.4, flip=True, colour=0.2)
    first, again, other = vectors(View(change, 0), "a"), vectors(View(change, 0), "b"), vectors(View(change, 1), "a")
    plain = vectors(None, "a")
    np.testing.assert_array_equal(first, again)
    assert (np.abs(first - other).max(axis=1) > 1e-3).all()
    assert (np.abs(first - plain).max(axis=1) > 1e-3).all()


@pytest.mark.fast
def test_a_refused_network_is_not_tried_again(cache, tmp_path, monkeypatch, caplog):
    class Stub:
        def convert_model(self, *args, **how):
            raise RuntimeError("no such operation")

    monkeypatch.setattr(compiled, "_openvino", Stub)
    extracted(body()[0], pictures(64), tmp_path / "a")
    monkeypatch.undo()
    monkeypatch.setenv("HEADSTART_CACHE", str(cache))
    caplog.clear()
    again, _ = body()
    extracted(again, pictures(64, seed=1), tmp_path / "a")
    assert uses_torch(again)
    assert caplog.text == "", "it is said once, not by every process"


def in_bf16(monkeypatch, able=True, **changes):
    monkeypatch.setattr("headstart.features.network.has_bf16", lambda: able)
    module = architecture.build("small_cnn").eval()
    return NetworkBody(module, "small_cnn", HOW, 192, "r", precision="bf16", **changes)


@pytest.mark.fast
def test_features_in_bf16_are_others_and_kept_apart(cache, monkeypatch):
    """Few inputs are computed in it, too: a picture must not have other features alone than among many."""
    network = in_bf16(monkeypatch)
    plain = NetworkBody(network.module, "small_cnn", HOW, 192, "r")
    assert network.parts()[0].space == plain.parts()[0].space | {"precision": "bf16"}
    assert network.spec() == plain.spec() | {"precision": "bf16"}
    inputs = pictures(3)
    found = extract(network, inputs)
    assert not uses_torch(network)
    precise, tally = extract(plain, inputs), Tally()
    assert relative(found, precise) < 0.05
    if has_bf16():
        assert relative(found, precise) > 1e-5, "it was computed in f32"
    assert np.array_equal(extract(network, inputs, tally=tally), found)
    assert tally.recalled == 3


@pytest.mark.fast
def test_without_the_arithmetic_f32_stands_in_and_it_is_said(cache, monkeypatch, caplog):
    network = in_bf16(monkeypatch, able=False)
    plain = NetworkBody(network.module, "small_cnn", HOW, 192, "r")
    assert network.parts() == plain.parts(), "what is computed in f32 is kept as such"
    with caplog.at_level(logging.WARNING, logger="headstart"):
        found = network.compute(pictures(3), np.arange(3)).vectors
    assert "in bf16 where the processor has it; here f32 is used" in caplog.text
    assert np.array_equal(found, plain.compute(pictures(3), np.arange(3)).vectors)


@pytest.mark.fast
def test_a_saved_body_comes_back_in_its_precision(monkeypatch):
    network = in_bf16(monkeypatch)
    assert restore(network.spec(), network.tensors()).precision == "bf16"
    assert restore({**network.spec(), "precision": "f32"}, network.tensors()).spec().get("precision") is None


@pytest.mark.fast
def test_a_process_may_end_while_batches_are_under_way(converted):
    """Python must not be needed by a thread of the engine's once it is at its end: it would abort the process."""
    code = """
import sys
from pathlib import Path
import numpy as np
from headstart.features.compiled import CompiledEngine
engine = CompiledEngine(Path(sys.argv[1]))
into = [np.empty((8, 192), dtype=np.float32)]
for _ in range(3):
    engine.start(np.zeros((8, 32, 32, 3), dtype=np.uint8), range(8), into)
"""
    done = subprocess.run([sys.executable, "-c", code, str(place())], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
