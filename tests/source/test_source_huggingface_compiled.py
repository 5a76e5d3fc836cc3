"""Every kind of text encoder, compiled; tests/source/test_source_huggingface.py does the same through torch."""

import numpy as np
import pytest

from headstart.features import body_of
from headstart.source import find
from headstart.target.inputs import StringInputs
from headstart.testing.encoders import encoded_by_hand, save_encoder

pytestmark = pytest.mark.slow

pytest.importorskip("transformers")

TEXTS = [f"w{i} w{i + 7} w{3 * i}" for i in range(90)] + ["w1", " ".join(f"w{i}" for i in range(50))]


@pytest.mark.parametrize(
    ("kind", "told", "pooling"),
    [
        ("bert", None, "mean"),
        ("roberta", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ("distilbert", {"pooling_mode": "max"}, "max"),
        ("mpnet", {"pooling_mode_mean_tokens": True}, "mean"),
        ("gpt2", None, "last"),
        ("llama", {"pooling_mode_lasttoken": True}, "last"),
    ],
)
def test_compiled_vectors_are_those_of_transformers(kind, told, pooling, tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 1)
    network = save_encoder(tmp_path / kind, kind, told)
    body = body_of(find(f"hf:{tmp_path / kind}"))
    body.prepare(91)
    assert type(body._engine).__name__ == "CompiledEngine"
    texts = TEXTS[:91]
    expected = np.stack([encoded_by_hand(network, text, pooling) for text in texts])
    found = body.compute(StringInputs(texts), np.arange(len(texts))).vectors
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
