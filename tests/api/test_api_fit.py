"""The Python interface: fit, open_run, load, check, sources."""

import numpy as np
import pytest

import headstart as hs
from headstart.errors import OptionError, RunError, SourceError, TargetError
from headstart.testing import positive

pytestmark = pytest.mark.fast


def test_fit_on_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
    planted = positive(140, 0)
    from headstart.budget import Budget

    run = hs.fit(
        (planted.pictures, list(planted.labels)),
        budget=Budget(trials=4),
        source=["toy:detail"],
        strategy=["probe"],
        out=tmp_path / "run",
        name="planted",
    )
    assert run.evidence.verdict == "helped"
    assert (run.evidence.target.name, run.evidence.target.split) == ("planted", "made")
    assert run.report.is_file()
    fresh = positive(2, 60, seed=8)
    assert (np.array(run.predictor.predict(fresh.pictures)) == np.array(fresh.labels)).mean() >= 0.95
    assert hs.open_run(tmp_path / "run").evidence == run.evidence
    assert hs.load(tmp_path / "run").classes == ("minus", "plus")
    assert "helped" in repr(run)
    (tmp_path / "run" / "evidence.json").write_text("{")
    with pytest.raises(RunError, match="is damaged") as caught:
        hs.open_run(tmp_path / "run")
    assert "headstart report" in str(caught.value)
    assert hs.Run(tmp_path / "run").rebuild().is_file()
    assert hs.open_run(tmp_path / "run").evidence == run.evidence


def test_wrong_arguments_are_said_before_the_data_is_read():
    class Unread:
        def __iter__(self):
            raise AssertionError("the data was read")

    for options, error in (
        ({"budget": "soon"}, OptionError),
        ({"source": ["nobody"]}, SourceError),
        ({"strategy": ["magic"]}, OptionError),
        ({"device": "gpu"}, OptionError),
    ):
        with pytest.raises(error):
            hs.fit(Unread(), **options)
    with pytest.raises(TargetError, match="a dict as data"):
        hs.fit({})


def test_check_sources_and_absent_runs(tmp_path):
    planted = positive(20, 0)
    found = hs.check((planted.pictures, list(planted.labels)))
    assert {name: sum(sides.values()) for name, sides in found.counts.items()} == {"minus": 10, "plus": 10}
    assert [card.name for card in hs.sources()][-2:] == ["scratch:small_cnn", "scratch:text_cnn"]
    with pytest.raises(RunError, match="no finished run"):
        hs.open_run(tmp_path)
