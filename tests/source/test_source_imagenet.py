"""The bundled weights do on real ImageNet photos what their authors say: weights and preprocessing belong together."""

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from headstart.features.preprocess import decoded, normalise
from headstart.source import find, weights
from headstart.target.inputs import PathInputs

pytestmark = pytest.mark.bench

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HEADSTART_BENCH_DATA", ROOT.parent / "shared" / "data")) / "imagenet_sample"


@pytest.mark.skipif(not DATA.is_dir(), reason="imagenet_sample is not in HEADSTART_BENCH_DATA")
# lite0's floor is what this project promises. Those of the others only tell sound weights from damaged ones: lite1 was
# measured at 88.4 % when this was written, two photos below lite0, well within the luck of 250 photos (about 2 points).
@pytest.mark.parametrize(("name", "least"), [("lite0", 0.89), ("lite1", 0.86), ("lite2", 0.86)])
def test_top_1_on_the_sample(name, least, record_property, capsys):
    source = find(f"efficientnet_{name}")
    how = source.card.preprocessing
    module = timm.create_model(source.card.architecture, pretrained=False).eval()
    weights.load(module, weights.rename_by_order(weights.read(source.path()), module, name), name)
    files = sorted(DATA.glob("*.JPEG"))
    truth = np.array([int(file.name[:4]) for file in files])
    assert len(files) == 250
    guesses = []
    with torch.inference_mode():
        batch = []
        for i, pixels in decoded(PathInputs(files), how, np.arange(len(files))):
            assert not isinstance(pixels, str), files[i]
            batch.append(pixels)
            if len(batch) == 25:
                guesses.append(module(torch.from_numpy(normalise(np.stack(batch), how))).argmax(1).numpy())
                batch.clear()
    top_1 = float((np.concatenate(guesses) == truth).mean())
    with capsys.disabled():
        print(f"\n{name}: top-1 {top_1:.1%} of {len(files)}")
    assert top_1 >= least
