"""The benchmark of domains in between: how chains are made, and what it says is shipped without such domains."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks import adapt_deep_record as record
from benchmarks import adapt_gradual, adapt_gradual_tasks
from benchmarks.adapt import SOURCE_ONLY, Case
from benchmarks.adapt_deep_tasks import CAMERAS
from docs.measured import record_table
from headstart import strategy as strategies
from headstart.domains.record import AHEAD, STEPS, Change
from headstart.search.adapt import AdaptOptions, called

pytestmark = pytest.mark.fast

N = 100


def test_domains_of_a_chain_share_no_example_and_have_all_classes_alike() -> None:
    codes = np.repeat([0, 1, 2], [40, 8, 20])
    parts = adapt_gradual_tasks.apart(codes, 4)
    assert sorted(np.concatenate(parts).tolist()) == list(range(68))
    assert [np.bincount(codes[rows]).tolist() for rows in parts] == [[10, 2, 5]] * 4


def test_each_step_is_further_from_the_picture_than_the_one_before() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((32, 32)).resize((256, 256))
    for camera in CAMERAS:
        seen = [
            np.asarray(camera(picture, np.random.default_rng(0), level), dtype=np.float64)
            for level in adapt_gradual_tasks.LEVELS[1:]
        ]
        far = [np.abs(each - np.asarray(picture)).mean() for each in seen]
        assert 0 < far[0] < far[1] < far[2], camera.__name__
    bar = np.zeros((16, 16))
    bar[7:9] = 1.0
    upright, quarter = (adapt_gradual_tasks._turned(bar.ravel(), angle) for angle in (0, 90))
    assert upright.shape == (32, 32)
    assert np.abs(upright.astype(int) - quarter.T).max() < 60


def test_every_way_that_is_measured_is_one_that_a_run_tries() -> None:
    names = {called(setting) for setting in AdaptOptions(("efficientnet_lite0",), intermediate=True).settings()}
    assert set(adapt_gradual.WAYS) <= names
    over = {kind.name for kind in strategies.ADAPTATIONS.values() if kind.needs.intermediate}
    assert over == {way.split(" ")[0] for way in adapt_gradual.WAYS} - {"adabn-tri-train"}
    pictures = STEPS.keys() - {"products"}
    assert {same for family in pictures for same in record.SAME[family]} == AHEAD.keys() | {"digits"}
    assert all(len(record.without(AHEAD, family)) == len(AHEAD) - 1 for family in pictures)


def test_without_domains_in_between_the_deep_way_is_shipped_where_the_guard_lets_it() -> None:
    def chain(drop: float) -> record.Examined:
        gains = {"tri-train": 0.1, "gradual": 0.15, "adabn-gradual": 0.3, "adabn-tri-train": 0.2}
        cases = {way: Case(Change(0.5, 0.1, drop), 0.99, np.full(N, gain)) for way, gain in gains.items()}
        right = {SOURCE_ONLY: np.arange(N) < N / 2} | {way: np.arange(N) < N * (0.5 + g) for way, g in gains.items()}
        return record.Examined("one over another to a third", (N, N), right, cases, cases)

    families = {family: [chain(0.2), chain(0.0)] for family in STEPS if family != "products"}
    found = record.summary(families, AHEAD)["rotated"]
    assert found["chosen"] == ["adabn-gradual", "tri-train"]
    assert found["ways"]["pick"]["gain"][0] == pytest.approx((0.3 + 0.1) / 2)
    assert found["ways"]["otherwise"]["gain"][0] == pytest.approx((0.2 + 0.1) / 2)
    assert found["record"] == {"gradual": 0.05, "adabn-gradual": 0.1, "adabn-tri-train": 0.1}
    text = record_table({"families": {"rotated": found}}, "domains in between")
    assert "| rotated | 2 | 50.0 % | +15.0 | +20.0, " in text
    assert "without domains in between" in text
