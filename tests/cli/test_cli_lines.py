"""The lines that a run prints: the table of trials, and what the answer says of time and of what was not tried."""

import io
import time

import pytest
from rich.console import Console

from headstart import cli, profile
from headstart.judge.evidence import Evidence, LeaderboardRow
from headstart.trial import Result, Spec

pytestmark = pytest.mark.fast

PROBE = Spec("test", "search", "bundled:efficientnet_lite0", "probe", {})
CLASSICAL = Spec("test", "search", "scratch", "classical", {})
FINETUNE = Spec("test", "search", "bundled:efficientnet_lite0", "finetune", {})


def result(spec, phase="final", seed=0, *, status="ok", wall=0.25, episode="test", error="", memory=500.0, labels=30):
    labels = labels if phase == "label curve" else None
    spec = Spec(episode, phase, spec.source, spec.strategy, spec.parameters, seed, labels)
    side = "baseline" if spec.source == "scratch" else "transfer"
    return Result(spec, side, status, wall=wall, memory_mb=memory, error=error)


@pytest.fixture
def shown():
    """A listener, and what it has printed: the lines with their spaces made single."""
    stream = io.StringIO()
    listener = cli.live.run_listener(Console(file=stream, force_terminal=False, width=80))
    listener.lines = lambda: [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    return listener


def test_finals_of_routes_that_train_no_network_make_a_line_each(shown):
    with shown as listener:
        for seed in range(5):
            listener.ended(result(CLASSICAL, seed=seed, wall=0.1, memory=400.0 + seed), None, 60.0)
            listener.ended(result(PROBE, seed=seed), None, 60.0)
        assert listener.lines() == []
        for seed in range(2):
            for labels in (30, 60):
                listener.ended(result(PROBE, "label curve", seed, labels=labels), None, 60.0)
                listener.ended(result(FINETUNE, "label curve", seed, labels=labels), None, 60.0)
    assert [line for line in listener.lines() if "finetune" not in line] == [
        "baseline classical seeds 1 to 5 predicted the test 0.5 s 404 MiB",
        "transfer probe on efficientnet_lite0 seeds 1 to 5 predicted the test 1.2 s 500 MiB",
        "transfer probe on efficientnet_lite0 seeds 1 to 2: 30, 60 labels 1.0 s 500 MiB",
    ]
    assert (
        listener.lines()[2] == "transfer finetune on efficientnet_lite0 seed 1 with 30 labels 0.2 s 500 MiB 60 s left"
    )


def test_finals_of_routes_that_train_a_network_make_a_line_a_seed(shown):
    with shown as listener:
        for seed in range(3):
            listener.ended(result(CLASSICAL, seed=seed), None, float("inf"))
            listener.ended(result(FINETUNE, seed=seed), None, float("inf"))
        listener.judging()
        assert listener.lines() == [
            "transfer finetune on efficientnet_lite0 seed 1 predicted the sealed test 0.2 s 500 MiB",
            "transfer finetune on efficientnet_lite0 seed 2 predicted the sealed test 0.2 s 500 MiB",
            "transfer finetune on efficientnet_lite0 seed 3 predicted the sealed test 0.2 s 500 MiB",
            "baseline classical seeds 1 to 3 predicted the test 0.8 s 500 MiB",
        ]
    assert len(listener.lines()) == 4


def test_draws_are_called_draws_and_their_finals_make_a_line(shown):
    with shown as listener:
        listener.ended(result(PROBE, "search", 2, episode="draw3"), (0.5, 0.25, 0.75), 60.0)
        for seed in range(4):
            listener.ended(result(PROBE, seed=seed, episode=f"draw{seed + 1}"), None, 60.0)
    assert listener.lines() == [
        "transfer probe on efficientnet_lite0 draw 3 50.0 % (25.0 to 75.0) 0.2 s 500 MiB 60 s left",
        "transfer probe on efficientnet_lite0 draws 1 to 4 predicted the test 1.0 s 500 MiB",
    ]


def test_no_final_is_lost_and_episodes_are_told_apart(shown):
    def interrupted():
        with shown as listener:
            listener.ended(result(PROBE, episode="fold 1"), None, float("inf"))
            listener.ended(result(PROBE, episode="fold 2"), None, float("inf"))
            listener.ended(result(PROBE, status="failed", seed=1, error="no room"), None, float("inf"))
            listener.ended(result(PROBE, episode="fold 2", seed=2), None, float("inf"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert shown.lines() == [
        "failed probe on efficientnet_lite0: no room",
        "transfer probe on efficientnet_lite0 seed 1 predicted the test 0.2 s 500 MiB",
        "transfer probe on efficientnet_lite0 seeds 1, 3 predicted the test 0.5 s 500 MiB",
    ]


def test_the_columns_of_all_kinds_of_lines_stand_below_their_words():
    stream = io.StringIO()
    with cli.live.run_listener(Console(file=stream, force_terminal=False, width=80)) as listener:
        listener.began(PROBE, 1.0, float("inf"))
        listener.ended(result(PROBE, "search"), (0.5, 0.4, 0.6), float("inf"))
        listener.ended(result(FINETUNE), None, float("inf"))
        listener.ended(result(PROBE, "label curve"), None, float("inf"))
        for seed in range(5):
            listener.ended(result(CLASSICAL, seed=seed), None, float("inf"))
    head, *lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert {len(line) for line in lines} == {len(head)}
    for line in lines:
        assert line.endswith(" MiB")
        assert line[: head.index("time") + 4].endswith(" s")
    assert head.endswith("  process peak")


def test_the_time_line_names_the_parts_that_took_time():
    with profile.opened(1.0) as spent:
        with profile.phase("train"):
            time.sleep(0.07)
        with profile.phase("judge"):
            pass
    line = cli.words._time_line(spent)
    assert line.startswith("  time      1.")
    assert " s: import 1.0, train 0." in line
    assert "judge" not in line
    assert "other" not in line
    with profile.opened() as spent:
        pass
    assert cli.words._time_line(spent) == "  time      0.0 s"


@pytest.mark.parametrize(
    ("budget", "partial", "why"),
    [
        ("8 trials", False, "the 8 trials were spent on others"),
        ("2 min 0 s", False, "the budget had no room"),
        ("2 min 0 s", True, "the run was interrupted"),
        ("8 trials", True, "the run was interrupted"),
    ],
)
def test_what_was_not_tried_is_told_and_why(evidence, budget, partial, why):
    missing = LeaderboardRow(
        source="scratch:small_cnn", strategy="scratch", side="baseline", trials=0, status="skipped", note="",
        score=None, low=None, high=None, seconds=0.0, memory_mb=0.0,
    )  # fmt: skip
    rows = [*evidence.leaderboard, missing, missing]
    found = evidence.model_copy(update={"budget": budget, "partial": partial, "leaderboard": rows})
    with profile.opened() as spent:
        pass
    lines = list(cli.words.verdict_lines(found, spent))
    assert f"  untried   2 routes (scratch): {why}; the report lists them" in lines
    assert not any("untried" in line for line in cli.words.verdict_lines(evidence, spent))


@pytest.fixture(scope="session")
def evidence(tmp_path_factory) -> Evidence:
    """Of a run in which everything was tried."""
    from headstart.budget import Budget
    from headstart.search import Options, run
    from headstart.testing import positive

    planted = positive(60, 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
        options = Options((planted.source,), ("probe",), Budget(trials=4))
        return run(planted.target(), tmp_path_factory.mktemp("lines") / "run", options).evidence
