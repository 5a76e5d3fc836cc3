"""A linear probe as users write it: timm features, then StandardScaler and LogisticRegression of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import common
import timm_features
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchvision.datasets import ImageFolder

ITERATIONS = 1000  # scikit-learn's 100 do not converge on 1,280 features


def main() -> None:
    watch = common.Stopwatch()
    parser = common.parser(__doc__)
    parser.add_argument("train", type=Path, help="a folder with a folder for each class")
    parser.add_argument("test", type=Path, help="the same classes")
    parser.add_argument("--batch", type=int, default=timm_features.BATCH)
    parser.add_argument("--workers", type=int, default=timm_features.WORKERS)
    given = parser.parse_args()

    watch.lap("arguments")
    model = timm_features.load()
    watch.lap("model")
    transform = timm_features.preprocessing(model)
    train, test = (ImageFolder(str(folder), transform) for folder in (given.train, given.test))
    if train.classes != test.classes:
        parser.error(f"the classes differ: {train.classes} and {test.classes}")
    how = {"batch": given.batch, "workers": given.workers}
    X_train, y_train = timm_features.extract(model, train, **how)
    watch.lap("train_features")
    X_test, y_test = timm_features.extract(model, test, **how)
    watch.lap("test_features")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS)).fit(X_train, y_train)
    watch.lap("fit")
    accuracy = float(probe.score(X_test, y_test))
    watch.lap("score")
    watch.seconds["process"] = common.process_seconds()
    measured = {"train_images": len(train), "test_images": len(test), "accuracy": accuracy, **how}
    common.report("timm_probe", measured | {"seconds": watch.seconds}, given.json)


if __name__ == "__main__":
    main()
