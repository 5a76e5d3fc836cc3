"""The examples that a report shows of a run, and the file in the run's folder that keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from headstart.predictor.calibration import apply_temperature
from headstart.report.showcase import Showcase, Shown, Telling, beginning, thumbnail
from headstart.report.telling import suspects, telling_words
from headstart.search.run import Run
from headstart.target.embedded import OPENMOJI_ATTRIBUTION
from headstart.target.inputs import Inputs, TextInputs, pictures_in

NAME = "showcase.json"
SHOWN = 12  # examples in each part


def showcase(run: Run) -> Showcase:
    """Examples that most seeds of one finalist got right and most of the other got wrong, and labels in doubt."""
    classes = run.evidence.target.classes
    by_name = {episode.name: episode for episode in run.episodes}
    parts: dict[str, list[tuple[float, Shown]]] = {"fixed": [], "broke": [], "doubted": []}
    examples: dict[int, tuple[float, str]] = {}  # class -> the text the shipped model is surest of
    seen: set[str] = set()

    def show(part: str, inputs: Inputs, i: int, truth: int, transfer: Any, baseline: int) -> None:
        if (name := inputs.name(i)) in seen:
            return
        seen.add(name)
        sure = float(transfer.max())
        words: dict[str, Any] = {
            "name": name,
            "truth": classes[truth],
            "transfer": classes[int(transfer.argmax())],
            "baseline": classes[baseline],
            "transfer_probability": sure,
        }
        looks: dict[str, Any]
        if isinstance(inputs, TextInputs):
            looks = {"text": beginning(inputs.text(i))}
        else:
            looks = {"thumbnail": thumbnail(pictures_in(inputs).image(i))}
        parts[part].append((sure, Shown(**words, **looks)))

    for (pair, truth), judged in zip(run.judged.episodes, run.judged.rounds, strict=True):
        episode = by_name[pair["transfer"].finals[0].spec.episode]
        inputs = episode.seal.inputs
        transfer, baseline = judged.transfer.mean(axis=0), judged.baseline.mean(axis=0)
        right = {side: p.argmax(axis=1) == truth for side, p in (("t", transfer), ("b", baseline))}
        for rows, part in ((right["t"] & ~right["b"], "fixed"), (~right["t"] & right["b"], "broke")):
            # The clearest first: sure where transfer is right, sure where it is wrong.
            for i in np.flatnonzero(rows)[np.argsort(-transfer[rows].max(axis=1), kind="stable")][:SHOWN].tolist():
                show(part, inputs, i, truth[i], transfer[i], int(baseline[i].argmax()))
        if isinstance(inputs, TextInputs):
            shipped = transfer if run.evidence.shipped == "transfer" else baseline
            for i in np.flatnonzero(shipped.argmax(axis=1) == truth).tolist():
                if shipped[i].max() > examples.get(int(truth[i]), (0.0, ""))[0]:
                    examples[int(truth[i])] = (float(shipped[i].max()), beginning(inputs.text(i)))
        # Every example is held out once by the search trials of a finalist that were run on all folds.
        for result in pair["transfer"].search:
            if result.log_probabilities is None or result.labels is None:
                continue
            # Few-shot draws choose together: their trials are of any of them.
            known = by_name[result.spec.episode].view.examples
            _, held = by_name[result.spec.episode].view.fold_index(result.spec.seed)
            scaled = apply_temperature(np.exp(result.log_probabilities), pair["transfer"].temperature())
            for i in suspects(scaled, result.labels, SHOWN):
                at = int(held[i])
                show("doubted", known.inputs, at, int(result.labels[i]), scaled[i], int(result.labels[i]))
    credit = OPENMOJI_ATTRIBUTION if run.evidence.target.name == "pictograms" else ""
    best = {part: [shown for _, shown in sorted(rows, key=lambda row: -row[0])[:SHOWN]] for part, rows in parts.items()}
    return Showcase(**best, telling=_told(run, examples), credit=credit)


def _told(run: Run, examples: dict[int, tuple[float, str]]) -> list[Telling]:
    """What tells the classes apart: words of the first episode's training texts, and the surest test texts."""
    view = run.episodes[0].view.training()
    if not isinstance(view.examples.inputs, TextInputs):
        return []
    inputs = view.examples.inputs
    texts = [inputs.text(i) for i in range(len(inputs))]
    words = telling_words(texts, view.examples.labels, len(view.classes))
    return [
        Telling(name, tuple(words[code]), examples.get(code, (0.0, ""))[1]) for code, name in enumerate(view.classes)
    ]


def kept(folder: Path) -> Showcase | None:
    """What a run's folder has; None: nothing, or nothing that can be read."""
    try:
        return Showcase.from_json(json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
