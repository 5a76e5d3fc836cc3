"""Every score against its definition, computed in another way, and against what must not change it."""

import math
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.neighbors import KNeighborsClassifier

from headstart import score
from headstart.score import SCORES
from headstart.score.ridge import COARSE, solve, standardise

pytestmark = pytest.mark.fast

SHAPES = {"N < D": (24, 40), "N > D": (90, 12), "N = D": (20, 20)}
PLAIN = {name: each.function for name, each in SCORES.items() if not each.probabilities}
CLOSED = {name: function for name, function in PLAIN.items() if SCORES[name].closed}


def problem(N, D, classes=3, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(N) % (classes + 2) % classes)  # two classes are twice as large
    return rng.normal(size=(classes, D))[y] + noise * rng.normal(size=(N, D)) + rng.normal(size=D), y


@pytest.fixture(params=SHAPES)
def fixed(request):
    return problem(*SHAPES[request.param])


def one_hot(y):
    return (y[:, None] == np.unique(y)).astype(float)


def rotation(D, seed=3):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(D, D)))[0]


# -- LogME ------------------------------------------------------------------------------------------------------------


def evidence(X, y, log_alpha, log_beta):
    """log p(y) as the D x D form of the paper gives it, for given precisions."""
    (N, D), alpha, beta = X.shape, math.exp(log_alpha), math.exp(log_beta)
    A = alpha * np.eye(D) + beta * X.T @ X
    m = beta * np.linalg.solve(A, X.T @ y)
    residual = X @ m - y
    return 0.5 * (
        D * log_alpha
        + N * log_beta
        - N * math.log(2 * math.pi)
        - beta * residual @ residual
        - alpha * m @ m
        - np.linalg.slogdet(A)[1]
    )


@pytest.mark.parametrize("noise", [0.5, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_logme_is_the_largest_evidence_found_numerically(shape, noise):
    X, y = problem(*SHAPES[shape], noise=noise)
    found, bounds = [], [(-20.0, 20.0)] * 2  # labels that fit exactly want no noise at all, where this form only rounds
    for target in one_hot(y).T:
        runs = [
            minimize(
                lambda p, target=target: -evidence(X, target, *p),
                start,
                bounds=bounds,
                method="Nelder-Mead",
                options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 2000},
            )
            for start in ([0.0, 0.0], [3.0, 3.0])
        ]
        found.append(-min(run.fun for run in runs) / len(X))
    assert score.logme(X, y) == pytest.approx(np.mean(found), abs=1e-6)


def test_logme_is_the_density_of_the_labels():
    X, y = problem(24, 40)
    # At the best precisions the evidence is a normal density of N numbers; no other precisions give more.
    target = one_hot(y)[:, 0]
    C = np.eye(24) / math.exp(1.3) + X @ X.T / math.exp(0.4)
    assert evidence(X, target, 0.4, 1.3) == pytest.approx(
        stats.multivariate_normal.logpdf(target, np.zeros(24), C), abs=1e-8
    )


def test_logme_ranks_information_above_noise_with_few_examples_of_many_features():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y = np.arange(100) % 4
        noise = rng.normal(size=(100, 1024))
        informative = rng.normal(size=(100, 1024))
        informative[:, :32] += 1.5 * rng.normal(size=(4, 32))[y]
        assert score.logme(informative, y) > score.logme(noise, y), seed


def test_logme_stays_finite_where_features_say_everything_or_nothing():
    y = np.arange(40) % 4
    exact, nothing, noise = one_hot(y), np.zeros((40, 3)), np.random.default_rng(0).normal(size=(40, 3))
    none = -0.5 * (math.log(2 * math.pi * 10 / 40) + 1)  # N(0, n_k / N) for each label
    assert score.logme(nothing, y) == pytest.approx(none, abs=1e-9)
    assert none - 1e-6 <= score.logme(noise, y) < none + 0.2
    assert 3 < score.logme(exact, y) < 50


# -- H-scores ---------------------------------------------------------------------------------------------------------


def between(X, y):
    """The covariance of the class means, example by example."""
    means = np.stack([X[y == label].mean(axis=0) for label in y])
    return np.cov(means, rowvar=False, bias=True)


def test_h_score_by_explicit_covariances(fixed):
    X, y = fixed
    expected = np.trace(np.linalg.pinv(np.cov(X, rowvar=False, bias=True), hermitian=True, rcond=1e-10) @ between(X, y))
    assert score.h_score(X, y) == pytest.approx(expected, abs=1e-6)
    if len(X) - 1 <= X.shape[1]:
        assert score.h_score(X, y) == pytest.approx(2, abs=1e-6)  # K - 1, whatever the features


def test_h_score_is_unchanged_by_any_linear_map():
    X, y = problem(90, 12)
    A = np.random.default_rng(1).normal(size=(12, 12))
    assert score.h_score(X @ A + 3, y) == pytest.approx(score.h_score(X, y), abs=1e-6)


def test_regularised_h_score_with_scikit_learns_shrinkage(fixed):
    X, y = fixed
    shrunk = LedoitWolf().fit(X)
    expected = (1 - shrunk.shrinkage_) * np.trace(np.linalg.inv(shrunk.covariance_) @ between(X, y))
    assert score.regularised_h_score(X, y) == pytest.approx(expected, abs=1e-6)


# -- from source probabilities -----------------------------------------------------------------------------------------


def test_leep_and_nce_by_hand():
    X, y = np.zeros((4, 1)), [0, 0, 1, 1]
    p = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.6, 0.4]])
    # P(z) = (2.3, 1.7) / 4; P(y = 0, z) = (1.4, 0.6) / 4.
    zero = np.array([1.4 / 2.3, 0.6 / 1.7])
    expected = np.mean(np.log([p[0] @ zero, p[1] @ zero, p[2] @ (1 - zero), p[3] @ (1 - zero)]))
    assert score.leep(X, y, p) == pytest.approx(expected, abs=1e-12)
    # Hard: z = 0, 0, 1, 0. Given z = 0: two of three are y = 0; given z = 1 all is known.
    hard = 2 / 4 * math.log(2 / 3) + 1 / 4 * math.log(1 / 3)
    assert score.nce(X, y, p) == pytest.approx(hard, abs=1e-12)


def test_probabilities_that_know_all_or_nothing():
    y = np.arange(60) % 3
    X, knows, ignorant = np.zeros((60, 1)), one_hot(y), np.full((60, 5), 0.2)
    for each in (score.leep, score.nce):
        assert each(X, y, knows) == pytest.approx(0, abs=1e-12)
        assert each(X, y, ignorant) == pytest.approx(-math.log(3), abs=1e-12)
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), size=60)
    order = rng.permutation(60)
    for each in (score.leep, score.nce):
        assert each(X, y, p) == pytest.approx(each(X, y[order], p[order]), abs=1e-12)
        assert each(X, y, p) == pytest.approx(each(X, 7 - y, p[:, ::-1]), abs=1e-12)
    with pytest.raises(ValueError, match="sum to 1"):
        score.leep(X, y, 2 * p)
    with pytest.raises(ValueError, match="expected"):
        score.leep(X, y, p[:3])


def test_n_leep_on_clusters_and_on_noise():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    clusters = 20 * np.eye(3, 8)[y] + rng.normal(size=(120, 8))
    noise = rng.normal(size=(120, 8))
    assert score.n_leep(clusters, y) == pytest.approx(0, abs=1e-6)
    assert -math.log(3) < score.n_leep(noise, y) < -0.3
    # With a component of the mixture for source class, it is LEEP by definition.
    assert score.n_leep(np.zeros((120, 8)), y) == pytest.approx(-math.log(3), abs=1e-12)


# -- geometry ---------------------------------------------------------------------------------------------------------


def test_transrate_by_determinants(fixed):
    X, y = fixed
    D, Z = X.shape[1], X - X.mean(axis=0)
    Z = Z / math.sqrt(np.trace(Z.T @ Z) / len(Z))

    def rate(part):
        return 0.5 * np.log(np.linalg.eigvalsh(np.eye(D) + part.T @ part / (len(part) * 1e-4))).sum()

    expected = rate(Z) - sum((y == k).mean() * rate(Z[y == k]) for k in np.unique(y))
    assert score.transrate(X, y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(90, 12), (24, 40), (100, 80)])
def test_gbc_by_covariance_matrices(shape):
    X, y = problem(*shape)
    Z = X - X.mean(axis=0)
    axes = np.linalg.svd(Z, full_matrices=False)[2][: min(64, len(X) - 1)]
    Z = Z @ axes.T
    d, expected = Z.shape[1], 0.0
    gaussians = {}
    for k in np.unique(y):
        part = Z[y == k]
        gaussians[k] = part.mean(axis=0), np.eye(d) * np.trace(np.cov(part, rowvar=False, bias=True)) / d
    for i, (m, S) in gaussians.items():
        for j, (n, T) in gaussians.items():
            if i != j:
                M = (S + T) / 2
                far = (m - n) @ np.linalg.inv(M) @ (m - n) / 8
                logs = [np.linalg.slogdet(matrix)[1] for matrix in (M, S, T)]
                expected -= math.exp(-far - 0.5 * (logs[0] - 0.5 * (logs[1] + logs[2])))
    assert score.gbc(X, y) == pytest.approx(expected, abs=1e-6)


def test_gbc_of_classes_with_one_example_each():
    assert score.gbc(np.eye(3), [0, 1, 2]) == pytest.approx(0, abs=1e-6)
    assert score.gbc(np.ones((6, 2)), [0, 0, 1, 1, 2, 2]) == -6  # they overlap whole


def test_parc_pair_by_pair(fixed):
    X, y = fixed
    Y = one_hot(y)
    pairs = [(i, j) for i in range(len(X)) for j in range(i)]
    features = [1 - np.corrcoef(X[i], X[j])[0, 1] for i, j in pairs]
    labels = [round(1 - np.corrcoef(Y[i], Y[j])[0, 1], 9) for i, j in pairs]
    assert score.parc(X, y) == pytest.approx(stats.spearmanr(features, labels).statistic, abs=1e-6)


# -- classifiers ------------------------------------------------------------------------------------------------------


def test_linear_accuracy_by_leaving_every_example_out():
    X, y = problem(40, 15, noise=2.5)
    X = X.astype(np.float32)
    solution = solve(X, y, 3, COARSE)
    mean, scale = standardise(X)
    Z, Y = (X - mean) / scale, 2 * one_hot(y) - 1
    left_out, known = np.empty((2, 40, 3))
    for i in range(40):
        others = np.arange(40) != i
        left_out[i] = SklearnRidge(solution.penalty).fit(Z[others], Y[others]).predict(Z[[i]])[0]
        known[i] = left_out[i] - Y[others].mean(axis=0) + Y.mean(axis=0)  # the frequencies of all 40
    np.testing.assert_allclose(solution.left_out, left_out, atol=1e-4)
    assert 0.4 < score.linear_accuracy(X, y) < 1
    assert score.linear_accuracy(X, y) == pytest.approx((known.round(5).argmax(axis=1) == y).mean(), abs=1e-6)


def test_linear_accuracy_of_features_that_say_nothing_is_chance_not_zero():
    y = np.arange(200) % 2
    assert score.linear_accuracy(np.zeros((200, 3)), y) == 0.5
    noise = [score.linear_accuracy(np.random.default_rng(seed).normal(size=(200, 20)), y) for seed in range(10)]
    assert 0.42 < np.mean(noise) < 0.58


def test_knn_by_leaving_every_example_out():
    X, y = problem(60, 8, noise=3.0)
    right = []
    for i in range(60):
        others = np.arange(60) != i
        near = KNeighborsClassifier(5).fit(X[others], y[others]).kneighbors(X[[i]], return_distance=False)[0]
        voters = y[others][near]
        most = np.bincount(voters, minlength=3)
        tied = np.flatnonzero(most == most.max())
        # Of tied classes, the one whose neighbours come first, compared place by place.
        places = {k: tuple(np.flatnonzero(voters == k)) for k in tied}
        right.append(min(places, key=places.get) == y[i])
    assert score.knn_accuracy(X, y) == pytest.approx(np.mean(right), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_pactran_by_an_independent_fit_and_the_bound_before_its_minimum(shape):
    X, y = problem(*SHAPES[shape], noise=2.0)
    X = X - X.mean(axis=0)
    X /= np.sqrt((X**2).mean())
    (N, D), K = X.shape, 3
    # Mean loss + |w|^2 / (2 N) is scikit-learn's with C = 1.
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(X, y)
    w, p = model.coef_, model.predict_proba(X)
    loss = -np.log(p[np.arange(N), y]).mean()
    # tr H by the second difference of the loss along every weight.
    f, step, trace = X @ w.T + model.intercept_, 1e-4, 0.0
    for k in range(K):
        for j in range(D):
            values = []
            for sign in (-1, 0, 1):
                g = f.copy()
                g[:, k] += sign * step * X[:, j]
                values.append((np.log(np.exp(g).sum(axis=1)) - g[np.arange(N), y]).mean())
            trace += (values[0] - 2 * values[1] + values[2]) / step**2
    s, b = 1 / D, N * D

    def bound(log_q):
        q = math.exp(log_q)
        divergence = 0.5 * (D * K * q / s - D * K + (w**2).sum() / s + D * K * math.log(s / q))
        return loss + q / 2 * trace + divergence / b

    smallest = min(bound(log_q) for log_q in np.linspace(math.log(s) - 8, math.log(s), 20_001))
    assert score.pactran_gaussian(X, y) == pytest.approx(-smallest, abs=2e-6)


# -- what must not matter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAIN)
def test_order_and_names_of_classes_do_not_matter(name, fixed):
    X, y = fixed
    given = PLAIN[name](X, y)
    assert PLAIN[name](X, np.array([40, -3, 7])[y]) == pytest.approx(given, abs=1e-6)
    if name != "n_leep":  # its mixture starts from examples drawn by position
        order = np.random.default_rng(2).permutation(len(X))
        assert PLAIN[name](X[order], y[order]) == pytest.approx(given, abs=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_scale_and_rotation_do_not_matter_where_the_theory_says_so(name, fixed):
    X, y = fixed
    given = PLAIN[name](X, y)
    assert PLAIN[name](8 * X, y) == pytest.approx(given, abs=1e-5)
    if name not in ("linear", "parc", "n_leep"):
        assert PLAIN[name](X @ rotation(X.shape[1]), y) == pytest.approx(given, abs=1e-5)
    if name not in ("logme", "parc", "linear"):
        assert PLAIN[name](X + 5, y) == pytest.approx(given, abs=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_information_scores_above_noise(name):
    rng = np.random.default_rng(5)
    y = np.arange(150) % 5
    noise = rng.normal(size=(150, 30))
    assert PLAIN[name](noise + 2 * rng.normal(size=(5, 30))[y], y) > PLAIN[name](noise, y)


@pytest.mark.parametrize("name", PLAIN)
def test_features_that_say_nothing(name):
    y = np.arange(30) % 3
    assert np.isfinite(PLAIN[name](np.zeros((30, 4)), y))


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_refused(name):
    X, y = problem(12, 3)
    with pytest.raises(ValueError, match="at least two"):
        PLAIN[name](X, np.zeros(12))
    with pytest.raises(ValueError, match="expected"):
        PLAIN[name](X, y[:5])
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        PLAIN[name](X, y)


def test_large_targets_are_thinned_where_pairs_are_compared(monkeypatch):
    X, y = problem(300, 6, noise=2.0)
    whole = {name: CLOSED[name](X, y) for name in ("parc", "knn")}
    for module in ("parc", "neighbours"):
        monkeypatch.setattr(sys.modules[f"headstart.score.{module}"], "MOST", 150)
    for name, value in whole.items():
        assert CLOSED[name](X, y) == pytest.approx(value, abs=0.1)


def test_when_a_score_cannot_be_used():
    assert "own classifier" in SCORES["leep"].lacking(100, 10)
    assert SCORES["leep"].lacking(100, 10, classifier=True) == ""
    assert "same for all features" in SCORES["h_score"].lacking(100, 1280)
    assert SCORES["h_score"].lacking(2000, 1280) == ""
    assert SCORES["logme"].lacking(100, 1280) == ""
