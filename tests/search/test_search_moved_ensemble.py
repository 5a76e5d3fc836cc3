"""A run whose transfer finalist is an ensemble looks at what moved, too: its sources have no network together."""

import pytest

from headstart.budget import Budget
from headstart.search import Ledger, Options, run
from headstart.target import load_target

pytestmark = pytest.mark.fast


def test_a_run_with_an_ensemble_as_finalist_says_what_moved(tmp_path, monkeypatch):
    import headstart.testing  # noqa: F401 - its toys can be found
    from headstart.search import moved

    monkeypatch.setattr(moved, "FEWEST", 1)
    target = load_target("embedded:digits")
    options = Options(("toy:detail", "toy:pixels"), ("ensemble", "majority"), budget=Budget(trials=4))
    run(target, tmp_path / "run", options)
    ledger = Ledger(tmp_path / "run")
    assert ledger.first("moved") is not None
