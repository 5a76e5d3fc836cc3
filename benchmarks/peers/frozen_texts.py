"""What users write: sentence-transformers' vectors, then scikit-learn's logistic regression, cross-validated."""

from __future__ import annotations

import json
import time
from pathlib import Path

import common
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("task", type=Path, help='JSON: {"train": {"texts", "labels"}, "test": likewise}')
    given = parser.parse_args()
    task = json.loads(given.task.read_text(encoding="utf-8"))
    began = time.process_time()
    model = SentenceTransformer(common.encoder(), device="cpu")
    vectors = {part: model.encode(task[part]["texts"], show_progress_bar=False) for part in ("train", "test")}
    encoded = time.process_time() - began
    found = {}
    for name, steps in (("as they are", ()), ("standardised", (StandardScaler(),))):
        classifier = make_pipeline(*steps, LogisticRegressionCV(Cs=10, cv=5, max_iter=1000))
        classifier.fit(vectors["train"], task["train"]["labels"])
        found[name] = float(classifier.score(vectors["test"], task["test"]["labels"]))
    seconds = {"encode_cpu_seconds": encoded, "fit_cpu_seconds": time.process_time() - began - encoded}
    common.report("frozen_texts", {"accuracies": found, **seconds}, given.json)


if __name__ == "__main__":
    main()
