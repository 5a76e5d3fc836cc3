"""Word and character n-grams, weighted by how rare they are: what texts were classified by before networks.

The counts grow with their logarithm and each is multiplied by the logarithm of how rare its term is (tf-idf, Spärck
Jones 1972); every text's vector has length 1. The vocabulary is fitted on the training texts alone, and saved.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.features.body import Body, Forward, Progress, Tensors
from headstart.target.inputs import Inputs, texts_in
from headstart.target.unreadable import Unreadable

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

VOCABULARY = "vocabulary.json"
MOST_TERMS = 100_000
"""Of each kind the commonest are kept."""

KINDS: dict[str, dict[str, Any]] = {
    # Marks of exclamation and question say something, too; single letters are words.
    "words": {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b|[!?]", "min_df": 1},
    "characters": {"ngram_range": (2, 5), "analyzer": "char_wb", "min_df": 2},
}
"""What is counted, as scikit-learn calls it."""


def vectoriser(kind: str, **options: Any) -> TfidfVectorizer:
    """Scikit-learn's vectoriser for one of :data:`KINDS`."""
    with profile.phase("import"):
        from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(**(KINDS[kind] | {"sublinear_tf": True, "dtype": np.float32} | options))


class TfidfBody(Body):
    """Texts to sparse vectors: the n-grams of each kind, side by side.

    Args:
        vocabulary: kind -> its terms, in the order of the columns.
        rarity: kind -> (terms,) float32, the weight of each term.
    """

    modality = "text"

    def __init__(self, vocabulary: dict[str, Sequence[str]], rarity: dict[str, NDArray[np.float32]]) -> None:
        self.vocabulary, self.rarity = vocabulary, rarity
        self.width = sum(len(terms) for terms in vocabulary.values())

    @classmethod
    def fitted(cls, kinds: Iterable[str], texts: Sequence[str]) -> tuple[TfidfBody, Any]:
        """The vocabulary and its weights in `texts`, and their vectors; kinds without a single term are left out."""
        from scipy import sparse

        vocabulary: dict[str, Sequence[str]] = {}
        rarity: dict[str, NDArray[np.float32]] = {}
        found: list[Any] = []
        for kind in kinds:
            options: dict[str, Any] = {"max_features": MOST_TERMS} | ({"min_df": 1} if len(texts) < 100 else {})
            made = vectoriser(kind, **options)
            try:
                found.append(made.fit_transform(texts))
            except ValueError:  # no text has a term
                continue
            vocabulary[kind] = made.get_feature_names_out().tolist()
            rarity[kind] = made.idf_.astype(np.float32)
        body = cls(vocabulary, rarity)
        return body, sparse.hstack(found, format="csr", dtype=np.float32) if found else body.matrix(texts)

    @classmethod
    def restored(cls, document: str, tensors: Tensors) -> TfidfBody:
        """From what :meth:`documents` and :meth:`tensors` gave."""
        vocabulary: dict[str, Sequence[str]] = json.loads(document)
        return cls(vocabulary, {kind: tensors[f"rarity.{kind}"] for kind in vocabulary})

    @functools.cached_property
    def _vectorisers(self) -> list[TfidfVectorizer]:
        made = []
        for kind, terms in self.vocabulary.items():
            one = vectoriser(kind, vocabulary={term: at for at, term in enumerate(terms)})
            one.idf_ = self.rarity[kind]
            made.append(one)
        return made

    def matrix(self, texts: Sequence[str]) -> Any:
        """(N, D) scipy CSR, float32."""
        from scipy import sparse

        if not self.vocabulary:
            return sparse.csr_matrix((len(texts), 0), dtype=np.float32)
        return sparse.hstack([one.transform(texts) for one in self._vectorisers], format="csr", dtype=np.float32)

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """(N, D) sparse; a text that cannot be read has no terms."""
        texts, read, unreadable = texts_in(inputs), [], {}
        with profile.phase("decode"):
            for i in np.asarray(index).tolist():
                try:
                    read.append(texts.text(i))
                except Unreadable as error:
                    unreadable[i] = str(error)
                    read.append("")
        with profile.phase("forward"):
            vectors = self.matrix(read)
        if progress is not None:
            progress(len(read), len(read))
        return Forward(vectors, unreadable)

    def spec(self) -> dict[str, Any]:
        """The kind; the vocabulary is a document of its own."""
        return {"kind": "tfidf"}

    def tensors(self) -> Tensors:
        """The weight of each term."""
        return {f"rarity.{kind}": weights for kind, weights in self.rarity.items()}

    def documents(self) -> dict[str, str]:
        """The vocabulary."""
        return {VOCABULARY: json.dumps(self.vocabulary, ensure_ascii=False)}
