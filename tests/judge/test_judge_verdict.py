"""compare and guard on planted comparisons with known answers."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp, ttest_rel
from scipy.stats import t as student

from headstart.judge import Round, compare, guard
from headstart.judge.intervals import corrected_resampled_t, paired_interval
from headstart.judge.metrics import all_metrics

pytestmark = pytest.mark.fast


def predictions(right, labels, classes, rng):
    """(S, N, C) probabilities whose highest is the label exactly where `right` (S, N) says so."""
    right = np.asarray(right, dtype=bool)
    predicted = np.where(right, labels, (labels + 1 + rng.integers(0, classes - 1, right.shape)) % classes)
    return (
        0.4 * np.eye(classes)[predicted] + 0.6 * rng.dirichlet(np.full(classes, 5.0), right.shape) * 0.5 + 0.3 / classes
    )


def drawn(transfer, baseline, n=120, classes=3, seeds=(3, 2), n_train=240, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    routes = [
        predictions(rng.uniform(size=(s, n)) < p, labels, classes, rng)
        for s, p in zip(seeds, (transfer, baseline), strict=True)
    ]
    return Round(labels, routes[0], routes[1], n_train)


NAMES = ["ant", "bee", "wasp"]


@pytest.mark.parametrize(
    ("transfer", "baseline", "verdict"), [(0.95, 0.6, "helped"), (0.6, 0.95, "hurt"), (0.8, 0.8, "undetermined")]
)
@pytest.mark.parametrize("rounds", [1, 10])
def test_planted_transfer_is_recognised(transfer, baseline, verdict, rounds):
    n = 120 if rounds == 1 else 30
    judged = [drawn(transfer, baseline, n=n, n_train=120, seed=s) for s in range(rounds)]
    found = compare(judged, NAMES, "accuracy")
    assert found.verdict == verdict
    assert (found.examples_to_settle is not None) == (verdict == "undetermined")
    assert found.method == ("paired stratified bootstrap" if rounds == 1 else "corrected resampled t-test")
    assert found.n_test == (120 if rounds == 1 else 150)
    assert 0 < found.minimal_detectable_gain < 0.35


def test_one_round_is_put_together_from_its_parts():
    judged = drawn(0.9, 0.7)
    found = compare([judged], NAMES, "balanced_accuracy", seed=4)
    transfer, baseline = judged.correct("transfer"), judged.correct("baseline")
    expected = paired_interval(transfer, baseline, judged.labels, "balanced_accuracy", seed=4)
    assert (found.gain.estimate, found.gain.low, found.gain.high) == expected
    assert found.transfer_score[0] - found.baseline_score[0] == pytest.approx(found.gain.estimate)
    for name, value in found.transfer_metrics.items():
        assert value == pytest.approx(np.mean([all_metrics(p, judged.labels)[name] for p in judged.transfer]))
    assert set(found.baseline_metrics) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc", "ece"}

    assert [c.name for c in found.per_class] == NAMES
    for c, row in enumerate(found.per_class):
        assert row.n_test == 40
        assert row.transfer == pytest.approx(transfer[:, judged.labels == c].mean())
        assert row.low <= row.gain <= row.high
        assert row.gain == pytest.approx(row.transfer - row.baseline)
        assert found.confusion_transfer[c, c] == pytest.approx(40 * row.transfer)
    assert np.mean([row.gain for row in found.per_class]) == pytest.approx(found.gain.estimate)
    assert found.confusion_baseline.sum(axis=1) == pytest.approx([40, 40, 40])


def test_mcnemar_is_the_median_of_exact_binomial_tests():
    judged = drawn(0.85, 0.75, seeds=(3, 2))
    found = compare([judged], NAMES, "accuracy").mcnemar
    p, wins, losses = [], [], []
    for t in judged.correct("transfer"):
        for b in judged.correct("baseline"):
            wins.append(int(np.sum(t & ~b)))
            losses.append(int(np.sum(~t & b)))
            p.append(binomtest(wins[-1], wins[-1] + losses[-1], 0.5).pvalue)
    assert found.p_value == pytest.approx(np.median(p))
    assert (found.only_transfer_right, found.only_baseline_right) == (np.mean(wins), np.mean(losses))


def test_mcnemar_without_disagreement_is_one():
    judged = drawn(1.0, 1.0)
    found = compare([judged], NAMES, "accuracy")
    assert (found.mcnemar.only_transfer_right, found.mcnemar.p_value) == (0.0, 1.0)
    assert found.verdict == "undetermined"
    assert found.gain.low < 0 < found.gain.high


def test_cross_fitting_is_nadeau_and_bengio_over_rounds():
    judged = [drawn(0.9, 0.7, n=30, n_train=120, seed=s) for s in range(10)]
    found = compare(judged, NAMES, "accuracy")
    differences = [r.correct("transfer").mean() - r.correct("baseline").mean() for r in judged]
    expected = corrected_resampled_t(np.array(differences), 120, 30, 0.95)
    assert (found.gain.estimate, found.gain.low, found.gain.high) == pytest.approx(expected)
    assert found.mcnemar is None
    assert found.confusion_transfer.sum() == pytest.approx(300)
    assert [row.n_test for row in found.per_class] == [50, 50, 50]


def test_draws_are_a_paired_t_test_that_shared_labels_widen():
    judged = [drawn(0.8, 0.7, n=30, seeds=(1, 1), n_train=6, seed=s) for s in range(10)]
    alone, shared = (compare(judged, NAMES, "accuracy", shared=share) for share in (0.0, 0.5))
    scores = [[r.correct(side).mean() for r in judged] for side in ("transfer", "baseline")]
    low, high = ttest_rel(*scores).confidence_interval(0.95)
    assert (alone.gain.low, alone.gain.high) == pytest.approx((low, high))
    assert alone.transfer_score[1:] == pytest.approx(tuple(ttest_1samp(scores[0], 0).confidence_interval(0.95)))
    # Half of the labels in common: variance 1/10 + 0.5 / 0.5 instead of 1/10, and half the degrees of freedom.
    wider = np.sqrt(11) * student.ppf(0.975, 4.5) / student.ppf(0.975, 9)
    assert shared.gain.high - shared.gain.low == pytest.approx((high - low) * wider)
    assert (alone.method, alone.n_test, alone.mcnemar) == ("paired t-test over draws", 300, None)
    assert [row.n_test for row in alone.per_class] == [100, 100, 100]
    assert shared.verdict == "undetermined"
    assert shared.examples_to_settle is None


def test_one_draw_and_draws_that_all_agree_prove_nothing():
    one = compare([drawn(1.0, 0.0, n=30, seeds=(1, 1))], NAMES, "accuracy", shared=0.0)
    assert (one.verdict, one.gain.low, one.gain.high) == ("undetermined", -1.0, 1.0)
    assert (one.transfer_score[1], one.minimal_detectable_gain) == (0.0, 1.0)
    equal = compare([drawn(1.0, 1.0, n=12, seeds=(1, 1), seed=s) for s in range(10)], NAMES, "accuracy", shared=0.0)
    assert 0.01 < equal.gain.high < 0.05


def test_rounds_that_all_agree_are_not_certain():
    found = compare([drawn(1.0, 1.0, n=12, n_train=48, seed=s) for s in range(15)], NAMES, "accuracy")
    assert found.verdict == "undetermined"
    assert found.gain.low < -0.01
    assert found.gain.high > 0.01
    assert found.transfer_score[1] < 1.0


def test_classes_that_do_not_occur_are_left_out():
    judged = drawn(0.9, 0.7)
    known = judged.labels != 2
    part = Round(judged.labels[known], judged.transfer[:, known], judged.baseline[:, known], judged.n_train)
    found = compare([part], NAMES, "balanced_accuracy")
    assert [row.name for row in found.per_class] == ["ant", "bee"]
    assert found.confusion_transfer.shape == (3, 3)
    rounds = [part, judged, drawn(0.9, 0.7, seed=5)]
    assert [row.name for row in compare(rounds, NAMES, "accuracy").per_class] == NAMES


def test_swapping_the_routes_swaps_the_verdict():
    judged = drawn(0.92, 0.7)
    swapped = Round(judged.labels, judged.baseline, judged.transfer, judged.n_train)
    one, other = compare([judged], NAMES, "accuracy"), compare([swapped], NAMES, "accuracy")
    assert (one.verdict, other.verdict) == ("helped", "hurt")
    assert one.gain.estimate == pytest.approx(-other.gain.estimate)
    assert one.minimal_detectable_gain == pytest.approx(other.minimal_detectable_gain, rel=0.05)
    assert one.transfer_score == other.baseline_score


def test_what_does_not_fit_is_refused():
    judged = drawn(0.9, 0.7)
    with pytest.raises(ValueError, match="at least one round"):
        compare([], NAMES, "accuracy")
    with pytest.raises(ValueError, match="4 classes"):
        compare([judged], [*NAMES, "fly"], "accuracy")
    with pytest.raises(ValueError, match="accuracy or balanced_accuracy"):
        compare([judged], NAMES, "auroc")
    with pytest.raises(ValueError, match="transfer must be"):
        Round(judged.labels, judged.transfer[0], judged.baseline, 10)
    with pytest.raises(ValueError, match="baseline must be"):
        Round(judged.labels, judged.transfer, judged.baseline[:0], 10)
    with pytest.raises(ValueError, match="3 classes, the baseline 2"):
        Round(judged.labels, judged.transfer, judged.baseline[:, :, :2], 10)
    with pytest.raises(ValueError, match="at least one test example"):
        Round(judged.labels[:0], judged.transfer[:, :0], judged.baseline[:, :0], 10)


@pytest.mark.parametrize(
    ("verdict", "transfer", "baseline", "shipped", "says"),
    [
        ("helped", 0.7, 0.9, "transfer", "Transfer helped"),
        ("hurt", 0.9, 0.7, "baseline", "Transfer hurt"),
        ("undetermined", 0.8, 0.8, "baseline", "at least as good"),
        ("undetermined", 0.7, 0.8, "baseline", "at least as good"),
        ("undetermined", 0.9, 0.8, "transfer", "undetermined"),
    ],
)
def test_guard(verdict, transfer, baseline, shipped, says):
    comparison = dataclasses.replace(compare([drawn(0.8, 0.8)], NAMES, "accuracy"), verdict=verdict)
    side, reason = guard(comparison, transfer, baseline)
    assert side == shipped
    assert says in reason
    assert "95 % interval" in reason


def test_importing_judge_is_light():
    code = (
        "import sys, headstart.judge; print([m for m in ('scipy', 'sklearn', 'torch', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_top_five_accuracy_where_there_are_more_classes_than_five():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 90)
    transfer = rng.random((2, 90, 8))
    transfer[:, np.arange(60), labels[:60]] = 2.0  # 60 of 90 are first, whatever the others are
    baseline = np.zeros((1, 90, 8))
    baseline[0, np.arange(90), labels] = -1.0  # always last
    parts = [Round(labels[k::3], transfer[:, k::3], baseline[:, k::3], 60) for k in range(3)]
    for judged in ([Round(labels, transfer, baseline, 180)], parts):
        found = compare(judged, [str(c) for c in range(8)], "accuracy")
        order = np.argsort(-transfer, axis=2)[..., :5]
        assert found.transfer_top.score == pytest.approx((order == labels[:, None]).any(axis=2).mean())
        assert found.transfer_top.low < found.transfer_top.score < found.transfer_top.high
        assert (found.baseline_top.k, found.baseline_top.score) == (5, 0.0)
    assert compare([drawn(0.9, 0.5)], NAMES, "accuracy").transfer_top is None
