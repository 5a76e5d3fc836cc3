"""Text encoders in folders, as the hub holds them: small networks with random weights, saved by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS = 1_100
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": WORDS,
    "max_position_embeddings": 66,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # configuration of transformers, and what it is told
    "bert": ("BertConfig", SIZES),
    "roberta": ("RobertaConfig", SIZES),
    "mpnet": ("MPNetConfig", SIZES),
    "distilbert": ("DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": WORDS}),
    "gpt2": (
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0},
    ),
    "llama": ("LlamaConfig", {**SIZES, "num_key_value_heads": 2}),
}


def word_tokenizer(marks: bool = True) -> str:
    """A tokenizer.json of words w0 ..., with marks around a text, and number 0 for a word like any other."""
    vocabulary = {f"w{i}": i for i in range(WORDS - 3)} | {"[UNK]": WORDS - 3, "[A]": WORDS - 2, "[Z]": WORDS - 1}
    pieces = [{"SpecialToken": {"id": "[A]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pieces.append({"SpecialToken": {"id": "[Z]", "type_id": 0}})
    special = {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in ("[A]", "[Z]")}
    template = {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": special}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": template if marks else None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        }
    )


def save_encoder(folder: Path, kind: str, pooling: dict[str, Any] | None = None, normalise: bool = False) -> Any:
    """Save a two-layer encoder with 32 values a token in `folder`, always the same, and give it back.

    Args:
        folder: is made.
        kind: of `KINDS`.
        pooling: what sentence-transformers writes of it; None: a plain checkpoint of transformers.
        normalise: whether its vectors are said to have length one.
    """
    import torch
    import transformers

    name, told = KINDS[kind]
    auto: Any = transformers.AutoModel  # untyped
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = auto.from_config(getattr(transformers, name)(**told))
    network.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(word_tokenizer())
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    if pooling:
        modules = [
            ("", "Transformer"),
            ("1_Pooling", "Pooling"),
            *([("2_Normalize", "Normalize")] if normalise else []),
        ]
        rows = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in modules]
        (folder / "modules.json").write_text(json.dumps(rows))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    return network.eval()


def encoded_by_hand(network: Any, text: str, pooling: str) -> NDArray[np.float32]:
    """(32,): the vector of one text, without padding, through transformers alone.

    Args:
        network: of :func:`save_encoder`.
        text: of words w0, w1, ...
        pooling: of `mean`, `cls`, `last` and `max`.
    """
    import torch

    numbers = [WORDS - 2, *(int(word[1:]) for word in text.split()), WORDS - 1]
    with torch.inference_mode():
        values = network(input_ids=torch.tensor([numbers])).last_hidden_state[0]
    pooled = {"mean": values.mean(0), "cls": values[0], "last": values[-1], "max": values.amax(0)}[pooling]
    return np.asarray(pooled)


def save_image_text(folder: Path, kind: str) -> Any:
    """Save a two-layer image-text model for pictures of 32 x 32 pixels in `folder`, always the same, and give it back.

    Args:
        folder: is made.
        kind: `clip` or `siglip`.
    """
    import torch
    import transformers

    pictures = {"image_size": 32, "patch_size": 16}
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    texts = {**shape, "vocab_size": WORDS, "max_position_embeddings": 20}
    auto: Any = transformers.AutoModel  # untyped
    if kind == "clip":
        texts |= {"bos_token_id": WORDS - 2, "eos_token_id": WORDS - 1, "pad_token_id": 0}
        config: Any = transformers.CLIPConfig(
            text_config=texts, vision_config={**shape, **pictures, "projection_dim": 24}, projection_dim=24
        )
        how = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}
    else:
        texts |= {"pad_token_id": 1, "projection_size": 32}
        config = transformers.SiglipConfig(text_config=texts, vision_config={**shape, **pictures})
        how = {"size": {"height": 32, "width": 32}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = auto.from_config(config)
        for parameter in network.parameters():  # far enough from nothing for a difference to be seen
            torch.nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else None
    network.save_pretrained(folder)
    how |= {"resample": 3, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(how))
    (folder / "tokenizer.json").write_text(word_tokenizer())
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return network.eval()
