"""Shipping: the better finalist as `model/`, calibrated, with where it comes from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from headstart import source as sources
from headstart.judge.evidence import Evidence, Side
from headstart.predictor import Predictor
from headstart.search import seen
from headstart.search.assemble import Judged, most_common
from headstart.search.finalist import Finalist
from headstart.source.run import earlier
from headstart.source.saved import MODEL
from headstart.target.target import Target
from headstart.trial import SAID, Spec

KEPT = ("zero_shot", *SAID)  # of what a strategy says of a model: it stays with it
CHECKED = 7  # inputs that a saved model is tried on: a handful, for which no engine is built anew


def ship(
    folder: Path,
    target: Target,
    evidence: Evidence,
    text: str,
    verdict: Judged,
    model_of: Callable[[Spec, Side], Predictor],
) -> None:
    """Save the finalist that the evidence ships; nothing is done where the folder has it already.

    Args:
        folder: the run's directory.
        target: what was learned.
        evidence: of the run.
        text: the evidence as it was written.
        verdict: the opened seals with the finalists' predictions.
        model_of: gives the trained model of a finalist, whose temperature is set and provenance written here.
    """
    chosen: list[Finalist] = [pair[evidence.shipped] for pair, _ in verdict.episodes]
    digest = hashlib.sha256(text.encode()).hexdigest()
    model = folder / MODEL
    if _shipped_digest(model) == digest:
        return
    spec = most_common(f.finals[0] for f in chosen).spec
    predictor = model_of(spec, evidence.shipped)
    same = [f for f in chosen if f.finals[0].spec.setting == spec.setting]
    pooled = Finalist(evidence.shipped, [r for f in same for r in f.search], same[0].finals)
    source = sources.find(spec.source)
    card = source.card
    predictor.temperature = pooled.temperature()
    predictor.provenance = {
        **{key: value for key, value in predictor.provenance.items() if key in KEPT},
        "target": evidence.target.model_dump(mode="json"),
        "side": evidence.shipped,
        "source": spec.source,
        "revision": source.revision(),
        "licence": card.licence,
        "pretraining": card.pretraining,
        "strategy": spec.strategy,
        "parameters": spec.parameters,
        "seed": spec.seed,
        "verdict": evidence.verdict,
        "metric": evidence.metric,
        "score": getattr(evidence, evidence.shipped).score,
        **({"shots": evidence.shots.labels, "draw": evidence.shots.shipped_draw} if evidence.shots else {}),
        **({"target_labels": evidence.adaptation.used} if evidence.adaptation else {}),
        "evidence_sha256": digest,
        **({"earlier": [run.provenance for run in runs]} if (runs := earlier(source)) else {}),
    }
    seen.remember(folder, target, spec.source)
    inputs = target.everything.examples.inputs
    predictor.save(model, check=inputs.take(list(range(min(CHECKED, len(inputs))))))
    shutil.rmtree(folder / "finalists", ignore_errors=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _shipped_digest(model: Path) -> str:
    try:
        document = json.loads((model / "predictor.json").read_text(encoding="utf-8"))
        return str(document["provenance"]["evidence_sha256"])
    except (OSError, ValueError, KeyError):
        return ""
