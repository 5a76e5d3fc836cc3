"""Checkpoints in folders as the hub holds them: small networks with random weights, saved by transformers."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headstart.budget import Budget
from headstart.errors import SourceError, WeightsError
from headstart.features import body_of
from headstart.predictor import load
from headstart.source import find
from headstart.strategy import Bench
from headstart.strategy.adapt.lora import Lora
from headstart.strategy.adapt.probe import Probe
from headstart.target.inputs import StringInputs
from headstart.target.view import Examples, TrainView
from headstart.testing import check_source
from headstart.testing.encoders import WORDS, encoded_by_hand, save_encoder, word_tokenizer

pytestmark = pytest.mark.fast

transformers = pytest.importorskip("transformers")

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
def test_vectors_are_those_of_transformers(kind, told, pooling, tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
    network = save_encoder(tmp_path / kind, kind, told)
    body = body_of(find(f"hf:{tmp_path / kind}"))
    body.prepare(91)
    assert type(body._engine).__name__ == "_TorchTexts"
    texts = TEXTS[:91]
    expected = np.stack([encoded_by_hand(network, text, pooling) for text in texts])
    found = body.compute(StringInputs(texts), np.arange(len(texts))).vectors
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_it_keeps_the_contract_of_sources(kind, tmp_path):
    save_encoder(tmp_path / kind, kind)
    source = find(f"hf:{tmp_path / kind}")
    assert check_source(source) == 11
    assert source.card.licence == "mit"
    assert [stage.shape for stage in source.card.stages] == [(32,), (32,)]
    assert source.card.stages[1].flops == 0 < source.card.stages[0].flops < source.card.flops


def test_the_card_says_length_and_norm_and_long_texts_are_read_in_windows(tmp_path):
    save_encoder(tmp_path / "m", "bert", {"pooling_mode": "mean"}, normalise=True)
    source = find(f"hf:{tmp_path / 'm'}")
    how = source.card.preprocessing
    assert (how.length, how.normalise, how.shift) == (20, True, 1)
    body = body_of(source)
    assert [len(row) for row in body.words.windows([TEXTS[-1]])[0]] == [20, 20, 16]
    vectors = body.compute(StringInputs(TEXTS[-3:]), np.arange(3)).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    save_encoder(tmp_path / "r", "roberta")
    assert find(f"hf:{tmp_path / 'r'}").card.preprocessing.length == 64, "two positions are not for tokens"


def test_the_same_weights_have_the_same_revision(tmp_path):
    for name in ("a", "b"):
        save_encoder(tmp_path / name, "bert")
    a, b = (find(f"hf:{tmp_path / name}") for name in ("a", "b"))
    assert a.revision() == b.revision()
    state = load_file(tmp_path / "b" / "model.safetensors")
    state["embeddings.word_embeddings.weight"][5] += 1
    save_file(state, tmp_path / "b" / "model.safetensors", {"format": "pt"})
    assert find(f"hf:{tmp_path / 'b'}").revision() != a.revision()


def test_weights_that_are_missing_are_an_error_and_not_random(tmp_path):
    save_encoder(tmp_path / "m", "bert")
    file = tmp_path / "m" / "model.safetensors"
    state = {key: value for key, value in load_file(file).items() if "layer.1.output" not in key}
    save_file(state, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"no weights for encoder\.layer\.1\.output"):
        find(f"hf:{tmp_path / 'm'}").module()


def _use(name):
    source = find(name)
    return source.card, source.tokenizer(), source.module()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "no weights in"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "the weights cannot be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "no such"}'), "config.json is of no use"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda f: (f / "modules.json").write_text('[{"type": "a.Dense", "path": "2"}]'), "asks for Dense"),
        (lambda f: (f / "1_Pooling" / "config.json").write_text('{"pooling_mode": "weightedmean"}'), "weightedmean"),
        (lambda f: (f / "modules.json").write_text("[{"), "cannot be read"),
        (lambda f: transformers.T5Config(num_layers=1).save_pretrained(f), "an encoder with a decoder"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(harm, words, tmp_path):
    save_encoder(tmp_path / "m", "bert", {"pooling_mode": "mean"})
    harm(tmp_path / "m")
    with pytest.raises(SourceError, match=words):
        _use(f"hf:{tmp_path / 'm'}")


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    def refuse(name, **kind):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    for kind in ("hf", "static"):
        with pytest.raises(SourceError, match=r"the hub did not give it \(OSError\)") as caught:
            _ = find(f"{kind}:somebody/something").card
        assert "hf:FOLDER" in str(caught.value)
    with pytest.raises(SourceError, match="no folder"):
        _ = find("hf:./nowhere/at/all").card
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"pip install 'headstart\[hf\]'"):
        _ = find("hf:somebody/something").card


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_what_is_learned_from_it_is_saved_and_comes_back_without_the_folder(kind, tmp_path):
    save_encoder(tmp_path / "m", kind)
    source = find(f"hf:{tmp_path / 'm'}")
    y = np.arange(24) % 2
    view = TrainView(Examples(StringInputs(TEXTS[:24]), y), ("a", "b"), "accuracy")
    bench = Bench(store=tmp_path / "store")
    for number, strategy in enumerate((Probe(), Lora(rank=2, epochs=1))):
        made = strategy(source, view, budget=Budget(), seed=0, bench=bench)
        made.save(tmp_path / f"model{number}", check=StringInputs(TEXTS[24:40]))
    (tmp_path / "m").rename(tmp_path / "gone")
    again = load(tmp_path / "model1")
    np.testing.assert_array_equal(made.predict_proba(TEXTS[24:40]), again.predict_proba(TEXTS[24:40]))
    before, after = source_state(tmp_path / "gone"), again.body.tensors()
    moved = {key for key in after if not np.array_equal(after[key], before[key])}
    assert len(moved) == (4 if kind == "bert" else 2), "queries and values; GPT-2 has one layer for both"


def source_state(folder):
    return {key: value.numpy() for key, value in find(f"hf:{folder}").module().state_dict().items()}


# -- static embeddings ------------------------------------------------------------------------------------------------


def static(folder, **changes):
    folder.mkdir()
    rng = np.random.default_rng(0)
    table = torch.tensor(rng.normal(size=(WORDS, 6)), dtype=torch.float16)
    save_file({"embeddings": table} | changes.pop("tensors", {}), folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(word_tokenizer())
    (folder / "config.json").write_text(json.dumps({"normalize": False} | changes))
    return table.float().numpy()


def test_static_embeddings_are_the_mean_of_known_tokens(tmp_path):
    table = static(tmp_path / "s")
    source = find(f"static:{tmp_path / 's'}")
    assert check_source(source) == 11
    texts = ["w0 w5 w5", "w7 unheard w9", "unheard", " ".join(["w3"] * 700)]
    found = body_of(source).compute(StringInputs(texts), np.arange(4)).vectors
    expected = [(table[0] + 2 * table[5]) / 3, (table[7] + table[9]) / 2, np.zeros(6), table[3]]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)


def test_static_embeddings_with_weights_and_shared_vectors(tmp_path):
    mapping, weights = torch.arange(WORDS) // 2, torch.linspace(0.5, 2, WORDS)
    table = static(tmp_path / "s", normalize=True, tensors={"mapping": mapping, "weights": weights})
    source = find(f"static:{tmp_path / 's'}")
    found = body_of(source).compute(StringInputs(["w4 w9"]), np.arange(1)).vectors[0]
    expected = table[2] * weights[4].item() + table[4] * weights[9].item()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_static_embeddings_are_compiled_and_saved(tmp_path):
    static(tmp_path / "s")
    source = find(f"static:{tmp_path / 's'}")
    view = TrainView(Examples(StringInputs(TEXTS[:80]), np.arange(80) % 2), ("a", "b"), "accuracy")
    made = Probe()(source, view, budget=Budget(), seed=0, bench=Bench(store=tmp_path / "store"))
    assert type(made.body._engine).__name__ == "CompiledEngine"
    made.save(tmp_path / "model", check=StringInputs(TEXTS[80:]))
    assert "layers" not in Lora.needs.lacking(source.card)
    assert "stages" in Lora.needs.lacking(source.card)


def test_a_folder_that_holds_no_static_embeddings_is_refused(tmp_path):
    static(tmp_path / "s")
    save_file({"other": torch.zeros(3)}, tmp_path / "s" / "model.safetensors")
    with pytest.raises(SourceError, match="the weights hold other"):
        _ = find(f"static:{tmp_path / 's'}").card


def test_the_tokenizer_of_an_older_checkpoint_is_made_from_its_words(tmp_path):
    save_encoder(tmp_path / "m", "bert")
    (tmp_path / "m" / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (tmp_path / "m" / "vocab.txt").write_text("\n".join(words))
    rows = body_of(find(f"hf:{tmp_path / 'm'}")).words.windows(["good bad", "odd"])
    assert [row.tolist() for (row,) in rows] == [[3, 6, 7, 4], [3, 2, 4]], "all numbers are one more than in the file"
