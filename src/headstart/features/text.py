"""Texts to vectors: token numbers, in batches of texts that are about equally long, through the same engines.

A text that is longer than the network reads at once is read in windows, and its vector is the mean of theirs, weighted
by their tokens. Nothing is cut off in silence: :func:`longer` counts the texts that this happens to.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.features import compiled
from headstart.features.body import EXTRACTOR_VERSION, Forward, Part, Progress, Tensors
from headstart.features.engine import MAP, POOLED, Engine, TorchEngine
from headstart.features.network import NetworkBody
from headstart.features.precision import F32, Precision
from headstart.source.card import Preprocessing, Source, SourceCard, Stage, TextSource, Tokens
from headstart.target.inputs import Inputs, texts_in
from headstart.target.unreadable import Unreadable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
STEP = 8
"""Batches are padded to a multiple of so many tokens: every new shape has to be planned by the engine once."""

AT_ONCE = 2_048
"""So many texts are read and cut into tokens at a time; they are sorted by length before they are put into batches."""

TOKENS = (256, 512, 1_024)
"""Tokens per batch that are tried once per network and machine."""


class Words:
    """A tokenizer, and how its tokens become a network's input.

    Args:
        document: the tokenizer, as the `tokenizers` package writes it.
        how: length, windows.
    """

    def __init__(self, document: str, how: Tokens) -> None:
        self.document, self.how = document, how
        self.digest = hashlib.sha256(document.encode()).hexdigest()

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        with profile.phase("import"):
            from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.document)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @functools.cached_property
    def _special(self) -> tuple[list[int], list[int]]:
        """The numbers that are put before and behind the tokens of a text."""
        plain, full = (self._tokenizer.encode("a", add_special_tokens=add).ids for add in (False, True))
        at = next(i for i in range(len(full)) if full[i : i + len(plain)] == plain)
        return full[:at], full[at + len(plain) :]

    @property
    def room(self) -> int:
        """Tokens of a text that one window holds."""
        return self.how.length - len(self._special[0]) - len(self._special[1])

    def windows(self, texts: Sequence[str]) -> list[list[NDArray[np.int32]]]:
        """The token numbers of each text, in as many windows as it takes; one at least, and no window is empty."""
        before, behind = self._special
        room, shift = self.room, self.how.shift
        found = []
        for encoded in self._tokenizer.encode_batch(list(texts), add_special_tokens=False):
            ids = encoded.ids
            starts = range(0, max(1, len(ids)), room) if self.how.windows else (0,)
            rows = [np.array([*before, *ids[at : at + room], *behind], dtype=np.int32) + shift for at in starts]
            # A tokenizer may find no token in a text at all; padding alone would be read as nothing.
            found.append([row if len(row) else np.zeros(1, dtype=np.int32) for row in rows])
        return found

    def count(self, texts: Sequence[str]) -> int:
        """How many of the texts do not fit into one window."""
        # A token has a character at least, so that short texts need not be cut up.
        candidates = [text for text in texts if len(text) > self.room]
        if not candidates:
            return 0
        return sum(len(e.ids) > self.room for e in self._tokenizer.encode_batch(candidates, add_special_tokens=False))


def tokenizer_of(source: Source) -> str:
    """The tokenizer that comes with a source.

    Raises:
        TypeError: none does.
    """
    if not isinstance(source, TextSource):
        raise TypeError(f"{source.card.name} comes without a tokenizer")
    return source.tokenizer()


def fit_words(texts: Iterable[str], vocabulary: int) -> str:
    """A tokenizer of words, fitted on `texts`: the commonest that occur twice, in lower case; others are all one token.

    Args:
        texts: what may be learned from.
        vocabulary: how many words at most, padding and the unknown word included.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.WordLevel(unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocabulary, min_frequency=2, special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    return str(tokenizer.to_str())


def longer(card: SourceCard, document: str, inputs: Inputs) -> int:
    """How many of the texts are longer than the source reads at once; unreadable ones are not.

    Args:
        card: of a source that takes texts.
        document: its tokenizer.
        inputs: N texts.
    """
    assert isinstance(card.preprocessing, Tokens)
    words, texts = Words(document, card.preprocessing), texts_in(inputs)
    return sum(
        words.count([text for _, text in _read(texts, range(start, min(start + AT_ONCE, len(inputs))), {})])
        for start in range(0, len(inputs), AT_ONCE)
    )


def _read(inputs: Inputs, index: Iterable[int], unreadable: dict[int, str]) -> list[tuple[int, str]]:
    texts, found = texts_in(inputs), []
    for row, i in enumerate(index):
        try:
            found.append((row, texts.text(int(i))))
        except Unreadable as error:
            unreadable[int(i)] = str(error)
    return found


def padded(rows: Sequence[NDArray[np.int32]], most: int) -> NDArray[np.int32]:
    """Token numbers of several texts as one array (B, L), L a multiple of `STEP`, or `most` where that is less."""
    longest = max(len(row) for row in rows)
    batch = np.zeros((len(rows), min(-(-longest // STEP) * STEP, max(most, longest))), dtype=np.int32)
    for place, row in zip(batch, rows, strict=True):
        place[: len(row)] = row
    return batch


def batches(lengths: Sequence[int], tokens: int) -> list[NDArray[np.int64]]:
    """Positions of texts in batches of about equal length, the shortest first, of at most `tokens` with padding."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    found: list[NDArray[np.int64]] = []
    start = 0
    for at in range(1, len(order) + 1):
        if at == len(order) or (at + 1 - start) * (-(-lengths[order[at]] // STEP) * STEP) > tokens:
            found.append(order[start:at].astype(np.int64))
            start = at
    return found


class TextBody(NetworkBody):
    """The pooled output of a network that reads texts, or the pooled values of its stages.

    Args:
        module: as for :class:`~headstart.features.network.NetworkBody`; a
            :class:`headstart.source.encoder.TextNetwork`.
        architecture: likewise.
        tokens: how texts become inputs.
        document: the tokenizer.
        width: D, of the pooled output.
        revision: likewise.
        device: likewise.
        stages: of which the pooled values can be had.
        outputs: `pooled`, or names of stages.
        tensors: likewise.
        digest: likewise.
        precision: likewise.
    """

    modality = "text"
    chunk = AT_ONCE

    def __init__(
        self,
        module: Any,
        architecture: str,
        tokens: Tokens,
        document: str,
        width: int,
        revision: str | None = None,
        device: str = "cpu",
        *,
        stages: tuple[Stage, ...] = (),
        outputs: tuple[str, ...] = (POOLED,),
        tensors: Tensors | None = None,
        digest: str = "",
        precision: Precision = F32,
    ) -> None:
        if maps := [name for name in outputs if name.endswith(MAP)]:
            raise ValueError(f"{architecture}: values at every token are not kept ({', '.join(maps)})")
        super().__init__(
            module,
            architecture,
            Preprocessing(size=0),  # of pictures: none
            width,
            revision,
            device,
            stages=stages,
            outputs=outputs,
            tensors=tensors,
            digest=digest,
            precision=precision,
        )
        self.tokens, self.words = tokens, Words(document, tokens)

    @classmethod
    def of_text(
        cls, source: Source, device: str = "cpu", outputs: tuple[str, ...] = (POOLED,), precision: Precision = F32
    ) -> TextBody:
        """The body of a source as it is. The network is only loaded when something must be computed."""
        card = source.card
        assert isinstance(card.preprocessing, Tokens)
        return cls(
            source.module,
            card.architecture,
            card.preprocessing,
            tokenizer_of(source),
            card.features,
            source.revision(),
            device,
            stages=card.stages,
            outputs=outputs,
            precision=precision,
        )

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """In batches of about equal length; memory does not grow with N beyond the vectors."""
        index = np.asarray(index, dtype=np.int64)
        vectors = np.full((len(index), self.width), np.nan, dtype=np.float32)
        unreadable: dict[int, str] = {}
        for start in range(0, len(index), AT_ONCE):
            part = index[start : start + AT_ONCE]
            with profile.phase("decode"):
                read = _read(inputs, part, unreadable)
                cut = self.words.windows([text for _, text in read])
            if read:
                with profile.phase("forward"):
                    vectors[[row + start for row, _ in read]] = self._of_windows(cut)
            if progress is not None:
                progress(min(start + AT_ONCE, len(index)), len(index))
        return Forward(self._scaled(vectors), unreadable)

    def _of_windows(self, cut: list[list[NDArray[np.int32]]]) -> NDArray[np.float32]:
        """(M, D) of M texts: the mean of their windows', weighted by their tokens."""
        flat = [window for windows in cut for window in windows]
        found = self._forward(flat)
        if len(flat) == len(cut):
            return found
        first = np.cumsum([0, *(len(windows) for windows in cut[:-1])])
        weights = np.array([len(window) for window in flat], dtype=np.float64)[:, None]
        total = np.add.reduceat(found * weights, first, axis=0) / np.add.reduceat(weights, first, axis=0)
        return np.asarray(total.astype(np.float32))

    def _forward(self, flat: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Windows to vectors (M, D)."""
        out = np.empty((len(flat), self.width), dtype=np.float32)
        for rows in batches([len(window) for window in flat], self._batch()):
            self._start(padded([flat[row] for row in rows], self.tokens.length), rows.tolist(), out)
        self._finish()
        return out

    def _scaled(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The pooled output scaled to length 1, where the source's card says so."""
        if self.tokens.normalise and POOLED in self.outputs:
            at = sum(int(np.prod(shape)) for shape in self._shapes[: self.outputs.index(POOLED)])
            pooled = vectors[:, at : at + self._pooled]
            pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return vectors

    def engine_folder(self) -> Path | None:
        """As for pictures."""
        if self._digest is None or self.device != "cpu":
            return None
        return compiled.place(self.architecture, f"{self._digest} {[s.name for s in self.stages]}", None)

    def _staged(self, stages: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
        from headstart.source.encoder import Pooled

        trunk: Any = self.module
        return Pooled(trunk, stages).eval(), stages

    def _eager(self, module: Any, stages: tuple[str, ...], count: int) -> Engine:
        return _TorchTexts(module, stages, self.outputs, self.preprocessing, self.device)

    def _convert(self, module: Any, stages: tuple[str, ...], folder: Any, state: Tensors | None) -> None:
        import torch

        longest = self.tokens.length
        numbers = np.random.default_rng(0).integers(1, 100, (4, min(40, longest)), dtype=np.int32)
        numbers[1, 3:] = numbers[2, 20:] = 0  # padding
        example = torch.from_numpy(numbers.astype(np.int64))

        def made() -> Any:
            openvino = compiled._openvino()
            dimensions = {
                0: torch.export.Dim("batch", min=1, max=4_096),
                1: torch.export.Dim("length", min=2, max=longest),
            }
            exported = torch.export.export(module, (example,), dynamic_shapes=(dimensions,))
            network = openvino.convert_model(exported)
            network.reshape([-1, -1])
            return _with_int32(network)

        compiled.keep(
            module,
            stages,
            folder,
            state,
            self.architecture,
            example=example,
            given=numbers,
            made=made,
            fastest=lambda building: _fastest(building, self._pooled),
        )

    def spec(self) -> dict[str, Any]:
        """As for pictures, with how texts become tokens."""
        common = {key: value for key, value in super().spec().items() if key != "preprocessing"}
        return {**common, "kind": "text network", "tokens": self.tokens.to_json(), "tokenizer": self.words.digest}

    def parts(self) -> list[Part]:
        """Architecture, tokens, tokenizer, revision, precision, output, dtype, and the extractor's version."""
        if self.revision is None:
            return []
        common = self._common()
        return [
            Part(name, {**common, "stage": name, "dtype": "float32", "extractor": EXTRACTOR_VERSION}, shape)
            for name, shape in zip(self.outputs, self._shapes, strict=True)
        ]

    def documents(self) -> dict[str, str]:
        """The tokenizer."""
        return {TOKENIZER: self.words.document}


class _TorchTexts(TorchEngine):
    """Token numbers through torch."""

    def __init__(
        self, module: Any, stages: tuple[str, ...], outputs: tuple[str, ...], how: Preprocessing, device: str
    ) -> None:
        super().__init__(module, stages, outputs, how, device)
        self.batch = 8_192 if self.cuda else 1_024

    def _input(self, pixels: NDArray[Any]) -> Any:
        return self._torch.from_numpy(pixels.astype(np.int64)).to(self.device)


def _with_int32(network: Any) -> Any:
    """Token numbers are given as int32: half the bytes."""
    openvino = compiled._openvino()
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(network)
    steps.input().tensor().set_element_type(openvino.Type.i32)
    return steps.build()


def _fastest(folder: Any, width: int) -> int:
    """Tokens per batch with the most tokens per second, on texts of the length that cards are written for."""
    engine = compiled.CompiledEngine(folder)
    length = Tokens.TYPICAL
    into = [np.empty((max(TOKENS) // length, width), dtype=np.float32)]
    speeds = {
        tokens: compiled.speed(engine, np.ones((tokens // length, length), dtype=np.int32), into, seconds=0.2)
        for tokens in TOKENS
    }
    return max(speeds, key=lambda tokens: speeds[tokens])
