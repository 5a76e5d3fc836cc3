"""The reader of Hugging Face data sets (in the slow lane: importing `datasets` takes seconds)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from headstart.errors import TargetError
from headstart.target.readers import load_target
from headstart.target.target import Target

pytestmark = pytest.mark.slow

Picture = Callable[..., Image.Image]


def refusal(data: object, **options: object) -> str:
    with pytest.raises(TargetError) as caught:
        load_target(data, **options)
    return str(caught.value)


def label_of(target: Target, name: str) -> str:
    examples = target.everything.examples
    return next(target.classes[examples.labels[i]] for i in range(len(examples)) if examples.inputs.name(i) == name)


def test_a_hugging_face_dataset(picture: Picture) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["bee", "ant"])})

    def rows(first: int, labels: list[int]) -> object:
        pictures = [picture(first + i, 16) for i in range(len(labels))]
        return datasets.Dataset.from_dict({"picture": pictures, "kind": labels}, features=features)

    single = load_target(rows(0, [0, 1] * 5))
    assert (single.classes, single.split, single.n_examples) == (("ant", "bee"), "cross-fit", 10)
    assert label_of(single, "row 3") == "ant"
    assert np.array_equal(np.asarray(single.everything.examples.inputs.image(3)), np.asarray(picture(3, 16)))
    parts = datasets.DatasetDict(
        train=rows(0, [0, 1] * 4), validation=rows(20, [0, 1]), test=rows(40, [1, 1, 0]), empty=rows(60, [])
    )
    target = load_target(datasets.DatasetDict({k: v for k, v in parts.items() if k != "empty"}))
    assert (target.split, target.n_train, target.n_test) == ("given", 10, 3)
    assert target.episodes[0].seal.inputs.name(0) == "test[0]"
    assert label_of(target, "validation[1]") == "ant"
    # On hubs a test split without labels is marked by -1; the validation split is then what can be judged on.
    parts["test"] = rows(40, [-1, -1, -1])
    target = load_target(datasets.DatasetDict({k: v for k, v in parts.items() if k != "empty"}))
    assert (target.n_train, target.n_test, len(target.everything.unlabelled)) == (8, 2, 3)
    assert "did you mean 'kind'" in refusal(rows(0, [0, 1]), label="kinds")
    assert "input column is not clear" in refusal(datasets.Dataset.from_dict({"number": [1], "label": [0]}))
    assert "streamed" in refusal(rows(0, [0, 1]).to_iterable_dataset())
