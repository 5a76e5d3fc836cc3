"""skada's shallow methods on pairs of domains, and which of them its own label-free scorers pick.

Every method has its default hyper-parameters, but for three that fail with those on hundreds of features (`CHANGED`).
Features are standardised, as skada's examples do. The base estimator is logistic regression or, for points in the
plane, a support vector machine with a Gaussian kernel. A method is picked by its score on a fifth of both domains that
it was not fitted on, then fitted on all of both.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import common
import numpy as np
import skada
from skada import metrics
from skada.model_selection import StratifiedDomainShuffleSplit
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

SOURCE, TARGET = 1, -2  # skada's way of telling domains: sources above zero, targets below
MASKED = -1  # in the place of a target's label

METHODS: dict[str, Any] = {
    "source-only": None,
    "coral": skada.CORALAdapter,
    "linear_ot": skada.LinearOTMappingAdapter,
    "ot": skada.OTMappingAdapter,
    "entropic_ot": skada.EntropicOTMappingAdapter,
    "class_ot": skada.ClassRegularizerOTMappingAdapter,
    "subspace": skada.SubspaceAlignmentAdapter,
    "tca": skada.TransferComponentAnalysisAdapter,
    "jdot": skada.JDOTClassifier,
    "density": skada.DensityReweightAdapter,
    "gaussian": skada.GaussianReweightAdapter,
    "discriminator": skada.DiscriminatorReweightAdapter,
    "nearest": skada.NearestNeighborReweightAdapter,
    "kmm": skada.KMMReweightAdapter,
}
NARROW = {"n_components": 30}  # its default is every feature, which fails where there are fewer examples
SCALED = {"norm": "median"}  # of costs: without, entropies on hundreds of features underflow
CHANGED: dict[str, dict[str, Any]] = {
    "entropic_ot": SCALED,
    "subspace": NARROW,
    "tca": NARROW,
}
"""What is not left at its default on features; in the plane everything is."""
SCORERS: dict[str, Any] = {
    "importance_weighted": metrics.ImportanceWeightedScorer,
    "dev": metrics.DeepEmbeddedValidation,
    "entropy": metrics.PredictionEntropyScorer,
    "neighbourhood": metrics.SoftNeighborhoodDensity,
    "circular": metrics.CircularValidation,
}


def base(kernel: bool) -> BaseEstimator:
    """The classifier of every method."""
    made = SVC(probability=True, random_state=0) if kernel else LogisticRegression(max_iter=1000)
    return made.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)


def pipeline(name: str, kernel: bool) -> Any:
    """A method with its defaults, but for `CHANGED`."""
    kind = METHODS[name]
    how = {} if kernel else CHANGED.get(name, {})
    if kind is skada.JDOTClassifier:
        return skada.make_da_pipeline(StandardScaler(), kind(base(kernel)))
    return skada.make_da_pipeline(StandardScaler(), *([] if kind is None else [kind(**how)]), base(kernel))


def examine(Xs: Any, ys: Any, Xt: Any, yt: Any, kernel: bool) -> dict[str, Any]:
    """Every method on one pair: accuracy on the target, scores, and CPU and wall seconds of fitting and of scoring."""
    X, y = np.concatenate([Xs, Xt]).astype(np.float64), np.concatenate([ys, np.full(len(yt), MASKED)])
    domain = np.repeat([SOURCE, TARGET], [len(Xs), len(Xt)])
    split = StratifiedDomainShuffleSplit(n_splits=1, test_size=0.2, random_state=0)
    ((train, test),) = split.split(X, y, domain)
    found: dict[str, Any] = {}
    for name in METHODS:
        began = time.process_time(), time.perf_counter()
        try:
            fitted = pipeline(name, kernel).fit(X, y.copy(), sample_domain=domain)
            accuracy = float((fitted.predict(Xt.astype(np.float64)) == yt).mean())
            after = time.process_time(), time.perf_counter()
            half = clone(pipeline(name, kernel)).fit(X[train], y[train].copy(), sample_domain=domain[train])
        except Exception as error:  # whatever a peer cannot do is a result, too
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:200]}
            continue
        scores = {}
        for scorer, kind in SCORERS.items():
            try:
                score = float(kind()(half, X[test], y[test].copy(), sample_domain=domain[test]))
                scores[scorer] = score if np.isfinite(score) else None
            except Exception as error:
                scores[scorer] = None
                print(f"{name}, {scorer}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        found[name] = {
            "accuracy": accuracy,
            "scores": scores,
            "fit_cpu_seconds": after[0] - began[0],
            "fit_wall_seconds": after[1] - began[1],
            "score_cpu_seconds": time.process_time() - after[0],
            "score_wall_seconds": time.perf_counter() - after[1],
        }
    return found


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("task", type=Path, help="npz: Xs, ys, Xt, yt, and kernel (0 or 1)")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with np.load(given.task) as task, threadpool_limits(1):
        found = examine(task["Xs"], task["ys"], task["Xt"], task["yt"], bool(task["kernel"]))
    document = {"methods": found, "versions": {name: metadata.version(name) for name in ("skada", "pot")}}
    text = json.dumps(document, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
