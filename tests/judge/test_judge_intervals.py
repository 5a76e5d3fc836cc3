"""Intervals: by hand, against independent formulas, by property, and by simulation."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from headstart.judge.intervals import (
    bootstrap,
    corrected_resampled_t,
    draws_t,
    paired_interval,
    score_interval,
    wilson,
)

fast = pytest.mark.fast
METRICS = ["accuracy", "balanced_accuracy"]


def counted(only_transfer, only_baseline, both, neither):
    """One seed each, from the four cells of the paired table."""
    transfer = np.repeat([1, 0, 1, 0], [only_transfer, only_baseline, both, neither])
    baseline = np.repeat([0, 1, 1, 0], [only_transfer, only_baseline, both, neither])
    return transfer[None], baseline[None], np.zeros(len(transfer), dtype=np.int64)


def bonett_price(f12, f21, n, critical):
    """Bonett & Price (2012), equation 3, with a given critical value."""
    p12, p21 = (f12 + 1) / (n + 2), (f21 + 1) / (n + 2)
    reach = critical * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    return p12 - p21 - reach, p12 - p21 + reach


@fast
@pytest.mark.parametrize("cells", [(20, 5, 150, 25), (0, 0, 190, 10), (3, 1, 180, 16), (60, 60, 60, 20)])
def test_one_class_and_seed_is_bonett_and_price(cells):
    transfer, baseline, labels = counted(*cells)
    found = bootstrap([transfer, baseline], labels, "accuracy")
    assert found.estimate == pytest.approx((cells[0] - cells[1]) / 200)
    # Ours divides by (n + 2)^2 (n - 1) / n^2 where theirs has n + 2: less than two per cent apart at n = 200.
    assert (found.low, found.high) == pytest.approx(bonett_price(*cells[:2], 200, found.critical), rel=0.02)
    assert 1.95 < found.critical < 2.35


@fast
@pytest.mark.parametrize("n", [20, 50, 300])
def test_routes_that_never_disagree_are_not_certain(n):
    """About the rule of three: with nothing seen in n, up to 3/n may be true."""
    right = np.ones((5, n))
    estimate, low, high = paired_interval(right, right, np.arange(n) % 2, "accuracy")
    assert estimate == 0
    assert low == pytest.approx(-high)
    assert 2 / n < high < 4 / n


@fast
@pytest.mark.parametrize("n", [20, 50, 300])
def test_a_route_that_is_never_wrong_is_not_perfect(n):
    estimate, low, high = score_interval(np.ones((1, n)), np.zeros(n, dtype=np.int64), "accuracy")
    assert (estimate, high) == (1.0, 1.0)
    assert low == pytest.approx(wilson(n, n)[0], abs=1.2 / n)


@fast
@pytest.mark.parametrize("k", [10, 50, 85, 97])
def test_one_route_is_close_to_wilson(k):
    correct = (np.arange(100) < k)[None]
    _, low, high = score_interval(correct, np.zeros(100, dtype=np.int64), "accuracy")
    assert (low, high) == pytest.approx(wilson(k, 100), abs=0.02)


@fast
def test_metrics_weigh_classes_as_they_should():
    labels = np.array([0] * 30 + [1] * 10)
    transfer = np.array([1] * 24 + [0] * 6 + [1] * 9 + [0])[None]
    baseline = np.array([1] * 15 + [0] * 15 + [1] * 10)[None]
    assert paired_interval(transfer, baseline, labels, "accuracy")[0] == pytest.approx(33 / 40 - 25 / 40)
    assert paired_interval(transfer, baseline, labels, "balanced_accuracy")[0] == pytest.approx((0.8 + 0.9 - 1.5) / 2)
    assert bootstrap([transfer], labels, "accuracy").n_effective == pytest.approx(40)
    # Weights 1/2 on 30 and on 10 examples: 1 / (1/120 + 1/40).
    assert bootstrap([transfer], labels, "balanced_accuracy").n_effective == pytest.approx(30)
    with pytest.raises(ValueError, match="accuracy or balanced_accuracy"):
        paired_interval(transfer, baseline, labels, "f1")


@fast
def test_standard_error_is_what_resampling_every_example_gives():
    """An example-by-example bootstrap, written differently, spreads as the closed form says."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [200, 120, 80])
    transfer, baseline = rng.uniform(size=(1, 400)) < 0.8, rng.uniform(size=(1, 400)) < 0.7
    found = bootstrap([transfer, baseline], labels, "balanced_accuracy")
    difference = transfer[0].astype(float) - baseline[0]
    classes = [np.flatnonzero(labels == c) for c in range(3)]
    drawn = [np.mean([difference[rng.choice(i, len(i))].mean() for i in classes]) for _ in range(4000)]
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.05)


@fast
def test_seeds_that_differ_widen_the_interval():
    """Five seeds with planted scores: the added variance is var(scores)/S less what luck explains."""
    n, rng = 2000, np.random.default_rng(0)
    labels = np.zeros(n, dtype=np.int64)
    levels = np.array([0.6, 0.65, 0.7, 0.75, 0.8])
    varied = rng.uniform(size=(5, n)) < levels[:, None]
    even = rng.uniform(size=(5, n)) < 0.7
    wide, narrow = (bootstrap([route, np.zeros((1, n))], labels, "accuracy") for route in (varied, even))
    assert wide.standard_error == pytest.approx(math.sqrt(levels.var(ddof=1) / 5), rel=0.15)
    assert narrow.standard_error < 0.3 * wide.standard_error
    # Nearly all of the variance has four degrees of freedom.
    assert 2.5 < wide.critical < 3.2


@fast
def test_equal_seeds_say_no_more_than_one():
    rng = np.random.default_rng(1)
    transfer, baseline = rng.uniform(size=(2, 1, 80)) < [[[0.9]], [[0.7]]]
    labels = np.arange(80) % 3
    once = paired_interval(transfer, baseline, labels, "accuracy")
    again = paired_interval(np.repeat(transfer, 5, 0), np.repeat(baseline, 3, 0), labels, "accuracy")
    assert again == pytest.approx(once)


@fast
@pytest.mark.parametrize("metric", METRICS)
def test_routes_that_share_their_seeds_are_still_compared(metric):
    """The same models on both sides but for a few answers: the degrees of freedom used to fall to a tenth there."""
    rng = np.random.default_rng(2)
    labels = np.arange(600) % 2
    one = rng.uniform(size=(3, 600)) < 0.75
    other = one[:2].copy()
    other[:, :6] = ~other[:, :6]
    found = bootstrap([one, other], labels, metric)
    assert found.critical < 1.1 * student.ppf(0.975, 1)  # the least of both: two seeds
    assert -0.6 < found.low <= found.estimate <= found.high < 0.6


@st.composite
def comparisons(draw):
    n, classes = draw(st.integers(4, 60)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(0, classes, n)
    routes = [rng.uniform(size=(draw(st.integers(1, 4)), n)) < draw(st.floats(0, 1)) for _ in range(2)]
    return routes[0], routes[1], labels, draw(st.sampled_from(METRICS))


@fast
@settings(max_examples=40, deadline=None)
@given(comparisons())
def test_properties(comparison):
    transfer, baseline, labels, metric = comparison
    found = paired_interval(transfer, baseline, labels, metric, resamples=2000)
    estimate, low, high = found
    assert -1 <= low <= estimate <= high <= 1
    assert high - low > 0

    mirrored = paired_interval(baseline, transfer, labels, metric, resamples=2000)
    assert mirrored[0] == pytest.approx(-estimate)
    assert (-mirrored[2], -mirrored[1]) == pytest.approx((low, high), abs=0.1 * (high - low))

    order = np.random.default_rng(0).permutation(len(labels))
    permuted = paired_interval(transfer[:, order], baseline[:, order], labels[order], metric, resamples=2000)
    assert permuted == pytest.approx(found)
    shuffled = paired_interval(transfer[::-1], baseline[::-1], labels, metric, resamples=2000)
    assert shuffled == pytest.approx(found)


@fast
def test_more_confidence_is_wider_and_the_seed_decides():
    transfer, baseline, labels = counted(15, 5, 60, 20)
    widths = [np.diff(paired_interval(transfer, baseline, labels, "accuracy", confidence=c)[1:]) for c in (0.8, 0.95)]
    assert widths[0] < widths[1]
    assert paired_interval(transfer, baseline, labels, "accuracy", seed=3) == paired_interval(
        transfer, baseline, labels, "accuracy", seed=3
    )


@fast
def test_nadeau_and_bengio_by_hand():
    # Mean 0.05, s^2 = 0.01/3, J = 4, n_test/n_train = 1/4: standard error sqrt(0.5 * 0.01/3), t(3) at 0.975 = 3.18245.
    differences = np.array([0.0, 0.05, 0.1, 0.05]) + np.array([0.05, -0.05, -0.05, 0.05])
    s2 = ((differences - 0.05) ** 2).sum() / 3
    reach = 3.182446 * math.sqrt((1 / 4 + 1 / 4) * s2)
    assert corrected_resampled_t(differences, 80, 20, 0.95) == pytest.approx((0.05, 0.05 - reach, 0.05 + reach))
    assert corrected_resampled_t(np.array([0.1]), 80, 20, 0.95) == (0.1, -math.inf, math.inf)


@fast
@pytest.mark.parametrize(("pool", "noise"), [(80, 0.0), (80, 1.0), (16, 0.0), (16, 1.0)])
def test_intervals_over_draws_cover_whether_or_not_draws_share_labels(pool, noise):
    """Ten draws of 8 from a pool; a draw's gain is the mean of what its labels are worth, and luck of its own.

    1,500 studies: three standard errors of 95 % are 1.7 points. Where gains are all labels, the correction is exact;
    luck that is not shared makes it too wide.
    """
    rng = np.random.default_rng(0)
    # Two hands of one deck have nothing in common, two of different decks half of their 8 of 16: 40 of 45 pairs.
    share = 0.0 if pool == 80 else 0.5 * 40 / 45
    covered = 0
    for _ in range(1500):
        worth = rng.normal(size=pool)
        hands = np.concatenate([rng.permutation(pool) for _ in range(80 // pool)]).reshape(10, 8)
        gains = worth[hands].mean(axis=1) + noise * rng.normal(size=10)
        found = draws_t(gains, share, 100)
        covered += found.low <= 0 <= found.high
    assert covered / 1500 > 0.933
    assert covered / 1500 < 0.967 or (pool == 16 and noise)


@fast
def test_wilson_solves_its_equation():
    """Both ends are the proportions from which k is exactly z standard errors away."""
    z = NormalDist().inv_cdf(0.975)
    for end in wilson(7, 30):
        assert abs(7 / 30 - end) == pytest.approx(z * math.sqrt(end * (1 - end) / 30))
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="0 <= k <= n"):
        wilson(11, 10)


def planted(rng, n, classes, seeds, transfer, baseline, seed_sd):
    """A probit model: (S, N) right or wrong per route, on examples whose difficulty the routes share in part."""
    labels, difficulty = np.arange(n) % classes, math.sqrt(0.4) * rng.normal(size=n)
    routes = []
    for score in (transfer, baseline):
        level = norm.ppf(score) * math.sqrt(1 + seed_sd**2)
        noise = math.sqrt(0.6) * rng.normal(size=(seeds, n))
        routes.append(level + seed_sd * rng.normal(size=(seeds, 1)) + difficulty + noise > 0)
    return routes, labels


def simulated(repeats, metric, *design):
    """Coverage of the true gain, and how often helped and hurt were said."""
    rng = np.random.default_rng(0)
    covered = helped = hurt = 0
    for i in range(repeats):
        routes, labels = planted(rng, *design)
        _, low, high = paired_interval(*routes, labels, metric, resamples=499, seed=i)
        covered += low <= design[3] - design[4] <= high
        helped += low > 0
        hurt += high < 0
    return covered / repeats, helped / repeats, hurt / repeats


@fast
@pytest.mark.parametrize(
    ("design", "verdict"),
    [
        ((100, 2, 1, 0.75, 0.75, 0.0), "undetermined"),
        ((150, 4, 5, 0.9, 0.65, 0.05), "helped"),
        ((100, 2, 3, 0.6, 0.85, 0.05), "hurt"),
    ],
)
def test_small_simulation(design, verdict):
    """400 test sets: three standard errors of a 95 % coverage are 3.3 points, of a 2.5 % rate 2.3."""
    coverage, helped, hurt = simulated(400, "accuracy", *design)
    assert 0.917 < coverage < 0.983
    if verdict == "helped":
        assert helped > 0.95
        assert hurt == 0
    elif verdict == "hurt":
        assert hurt > 0.95
        assert helped == 0
    else:
        assert helped < 0.048
        assert hurt < 0.048


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_large_simulation():
    """1,000 test sets per design: 93 to 97 %, *helped* at most 3 % under the null, gains recognised.

    A single coverage has a standard error of 0.7 points, a 2.5 % rate one of 0.5: each design may miss by two of them
    (one small design with three seeds is known to be cautious), the means may not.
    """
    coverages, nulls = [], []
    for n, classes, transfer, baseline in [
        (40, 2, 0.7, 0.7),
        (100, 5, 0.8, 0.8),
        (150, 2, 0.95, 0.66),
        (400, 12, 0.85, 0.85),
        (400, 3, 0.5, 0.7),
    ]:
        for seeds in (1, 3, 5):
            metric = METRICS[seeds % 4 == 3]
            coverage, helped, hurt = simulated(
                1000, metric, n, classes, seeds, transfer, baseline, 0.05 if seeds > 1 else 0.0
            )
            coverages.append(coverage)
            assert 0.93 - 0.015 < coverage < 0.97 + 0.02, (n, classes, seeds)
            if transfer == baseline:
                nulls += [helped, hurt]
                assert max(helped, hurt) <= 0.03 + 0.01
            elif transfer > baseline:
                assert helped > 0.99
            else:
                assert hurt > 0.95
                assert helped == 0
    assert 0.945 < np.mean(coverages) < 0.97
    assert np.mean(nulls) < 0.027
