"""The showcase survives its file, and scales put values where they belong."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.report import Showcase, thumbnail
from headstart.report.charts import Axis
from headstart.report.words import duration, large, percent, points

pytestmark = pytest.mark.fast


def test_a_showcase_comes_back_from_its_file(showcase):
    assert Showcase.from_json(json.loads(json.dumps(showcase.to_json()))) == showcase


@pytest.mark.parametrize(
    "document", [{}, {"fixed": [], "broke": [{"name": "x"}], "credit": ""}, {"fixed": 3, "broke": [], "credit": ""}]
)
def test_a_foreign_document_is_refused(document):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Showcase.from_json(document)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_a_thumbnail_is_small_and_leaves_the_picture_alone(mode):
    image = Image.new(mode, (300, 200))
    small = Image.open(io.BytesIO(thumbnail(image)))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (112, 75))
    assert (image.mode, image.size) == (mode, (300, 200))


def test_the_data_address_names_the_kind_of_picture(showcase):
    assert showcase.fixed[0].data_uri.startswith("data:image/jpeg;base64,/9j/")
    assert showcase.broke[0].data_uri.startswith("data:image/png;base64,iVBOR")


@given(st.lists(st.floats(0, 1), max_size=5))
def test_a_scale_holds_its_values(values):
    axis = Axis.over(values, within=(0, 1))
    assert 0 <= axis.low < axis.high <= 1
    assert 2 <= len(axis.ticks) <= 8
    for value in values:
        assert axis.low - 1e-6 <= value <= axis.high + 1e-6
        assert 0 <= axis.at(value) <= 100
    assert (axis.at(axis.low), axis.at(axis.high)) == (0, 100)


@given(st.lists(st.floats(-1, 1), max_size=5))
def test_a_gain_scale_shows_zero(values):
    axis = Axis.over(values, zero=True, within=(-1, 1))
    assert axis.low <= 0 <= axis.high
    assert 0.0 in axis.ticks


def test_a_scale_passes_over_what_is_absent():
    assert Axis.over([None, float("nan"), 0.42, 0.58], within=(0, 1)).ticks == (0.4, 0.45, 0.5, 0.55, 0.6)


def test_a_number_that_rounds_to_nothing_has_no_sign():
    assert points(-0.0004) == points(0.0) == "0.0"
    assert percent(-0.0004) == "0.0\xa0%"


def test_rounding_never_prints_sixty_seconds():
    assert duration(59.7) == "1\xa0min"
    assert duration(3599.8) == "1\xa0h"
    assert duration(0.0) == "0\xa0s"
    assert duration(0.998) == "1.0\xa0s"
    assert large(999_999) == "1\xa0million"
