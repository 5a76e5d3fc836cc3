"""Several bodies side by side, for predictors made of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.features.body import Body, Forward, Progress, Tensors
from headstart.features.precision import BF16, F32, Precision
from headstart.target.inputs import Inputs


class JoinedBody(Body):
    """The vectors of several bodies, one behind the other.

    Args:
        bodies: two or more, of the same modality, each of one part.
    """

    def __init__(self, bodies: Sequence[Body]) -> None:
        self._bodies = tuple(bodies)
        self.modality = bodies[0].modality
        self.width = sum(body.width for body in bodies)

    @property
    def bodies(self) -> tuple[Body, ...]:
        """Its bodies; the store keeps the vectors of each."""
        return self._bodies

    @property
    def precision(self) -> Precision:
        """bf16 where each computes in it, else f32."""
        return BF16 if all(getattr(body, "precision", F32) == BF16 for body in self._bodies) else F32

    def prepare(self, count: int) -> None:
        """Of each."""
        for body in self._bodies:
            body.prepare(count)

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """Each over all inputs; an input that one of them cannot read has no vector."""
        total = len(self._bodies) * len(index)
        vectors: list[NDArray[np.float32]] = []
        unreadable: dict[int, str] = {}
        for number, body in enumerate(self._bodies):

            def report(done: int, _total: int, before: int = number * len(index)) -> None:
                if progress is not None:
                    progress(before + done, total)

            forward = body.compute(inputs, index, report)
            vectors.append(forward.vectors)
            unreadable |= forward.unreadable
        return Forward(np.concatenate(vectors, axis=1), unreadable)

    def spec(self) -> dict[str, Any]:
        """Those of its bodies."""
        return {"kind": "joined", "bodies": [body.spec() for body in self._bodies]}

    def frozen(self) -> Body | None:
        """None: it is not kept as one, but each of its :attr:`bodies` is."""
        return None

    def portable(self) -> Body:
        """Of each."""
        return JoinedBody([body.portable() for body in self._bodies])

    def tensors(self) -> Tensors:
        """Those of each, under its number."""
        return {f"{i}.{key}": value for i, body in enumerate(self._bodies) for key, value in body.tensors().items()}

    def documents(self) -> dict[str, str]:
        """Those of each, with its number before the name of the file."""
        return {f"{i}-{name}": text for i, body in enumerate(self._bodies) for name, text in body.documents().items()}

    @classmethod
    def restored(
        cls,
        spec: dict[str, Any],
        tensors: Tensors,
        digest: str,
        documents: dict[str, str],
        restore: Callable[[dict[str, Any], Tensors, str, dict[str, str]], Body],
    ) -> JoinedBody:
        """From what :meth:`spec`, :meth:`tensors` and :meth:`documents` gave.

        Args:
            spec: of it.
            tensors: of it.
            digest: of the tensors.
            documents: of it.
            restore: makes one body; see :func:`headstart.features.restore`.
        """
        bodies = []
        for i, part in enumerate(spec["bodies"]):
            mine = {key.partition(".")[2]: value for key, value in tensors.items() if key.partition(".")[0] == str(i)}
            own = {name.partition("-")[2]: text for name, text in documents.items() if name.partition("-")[0] == str(i)}
            bodies.append(restore(part, mine, f"{digest} {i}" if digest else "", own))
        return cls(bodies)
