"""Weights, maps, transport and propagation: closed forms and planted answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import eigh

from headstart.domains import weights as density
from headstart.domains.align import coral, mean_gaps, reduced, subspace, tca
from headstart.domains.spread import graph, propagate
from headstart.domains.transport import carried, class_transport, sinkhorn
from headstart.domains.two_sample import squared_distances
from headstart.domains.weights import WEIGHTS, effective
from headstart.score.ridge import Design

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_follow_the_planted_density_ratio(name: str) -> None:
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(1000, 1)), 0.8 + rng.normal(size=(750, 1))
    kept = A.copy()
    weights = WEIGHTS[name](A, B)
    assert weights.mean() == pytest.approx(1, abs=1e-6)
    assert weights.min() >= 0
    assert np.array_equal(A, kept)
    true = np.exp(0.8 * A[:, 0] - 0.32)
    if name == "rulsif":  # it estimates the relative ratio, which no example can make large
        true = true / (0.1 * true + 0.9)
    assert np.corrcoef(weights, true)[0, 1] > 0.85
    # What they are for: the weighted mean of the source is the target's mean.
    assert (weights * A[:, 0]).mean() == pytest.approx(B.mean(), abs=0.25)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_flat_where_nothing_moved(name: str) -> None:
    rng = np.random.default_rng(1)
    weights = WEIGHTS[name](rng.normal(size=(120, 2)), rng.normal(size=(120, 2)))
    assert effective(weights) > 60


def test_the_projection_has_mean_one_within_its_bounds_and_no_nearer_point_has() -> None:
    rng = np.random.default_rng(9)
    v = 5 * rng.normal(size=200)
    for start in (0.0, 1e3):
        w, shift = density._onto_simplex(v, 2.5, start)
        assert w.mean() == pytest.approx(1)
        assert w == pytest.approx(np.clip(v - shift, 0, 2.5))  # the conditions of Karush, Kuhn and Tucker
        assert (w == 0).any()
        assert (w == 2.5).any()


def test_the_bound_of_the_largest_eigenvalue_is_above_it_and_close() -> None:
    X = np.random.default_rng(10).normal(size=(60, 2))
    K = np.exp(-squared_distances(X, X)).astype(np.float32)
    largest = float(np.linalg.eigvalsh(K.astype(np.float64))[-1])
    assert largest * (1 - 1e-6) <= density._largest(K) <= 1.05 * largest


def test_mixtures_are_those_of_most_likelihood_each_on_the_examples_that_it_is_fitted_on() -> None:
    U = np.repeat(np.eye(2, dtype=np.float32) + 0.001, [30, 70], axis=0)
    kept = np.stack([np.ones(100), np.arange(100) < 60], axis=1).astype(np.float32)
    assert density._mixture(U, kept, 200)[0] == pytest.approx([0.3, 0.5], abs=0.05)


def test_losses_of_folds_are_those_of_fits_without_them() -> None:
    rng = np.random.default_rng(11)
    S, U = rng.random((50, 4)), rng.random((40, 4))
    of_source, of_target = np.arange(50) % 5, np.arange(40) % 5
    losses = density._held_out_losses(S, U, of_source, of_target, 0.1)
    direct = 0.0
    for k in range(5):
        s, u = S[of_source != k], U[of_target != k]
        H = 0.1 * u.T @ u / len(u) + 0.9 * s.T @ s / len(s)
        theta = np.linalg.solve(H + density.PENALTIES[1] * np.eye(4), u.mean(axis=0))
        s, u = S[of_source == k] @ theta, U[of_target == k] @ theta
        direct += 0.05 * (u**2).mean() + 0.45 * (s**2).mean() - u.mean()
    assert losses[1] == pytest.approx(direct)


def test_tca_solves_its_generalised_eigenproblem() -> None:
    rng = np.random.default_rng(12)
    S, T = rng.normal(size=(40, 6)), rng.normal(size=(30, 6)) + 0.5
    ys, yt, mu = np.arange(40) % 2, np.arange(30) % 2, 0.3
    start = reduced(S, T)
    W = tca(start, width=3, mu=mu, ys=ys, yt=yt)
    Z, gaps = np.concatenate([start.source, start.target]), mean_gaps(start.source, start.target, ys, yt)
    against = 70 * gaps.T @ gaps / len(gaps) + mu * np.eye(6)
    centred = Z - Z.mean(axis=0)
    _, V = eigh(centred.T @ centred, against)
    assert np.abs(np.einsum("rd,rs,sd->d", W, against, V[:, :2:-1])) == pytest.approx(np.ones(3), abs=1e-6)


def test_coral_gives_the_source_the_covariance_of_the_target() -> None:
    rng = np.random.default_rng(2)
    S, T = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(150, 4)) @ rng.normal(size=(4, 4))
    (of_source, of_target) = (Design(X).axes for X in (S, T))
    maps = coral(of_source, of_target, ridge=0.0)
    assert np.cov((S @ maps.source).T) == pytest.approx(np.cov(T.T), abs=1e-8)
    assert coral(of_source, of_source).source == pytest.approx(np.eye(4), abs=1e-8)


@pytest.mark.parametrize("n", [40, 6])
def test_subspace_alignment_of_a_domain_with_itself_changes_nothing(n: int) -> None:
    S = np.random.default_rng(3).normal(size=(n, 10)) * np.arange(1, 11)
    axes = Design(S).axes
    maps = subspace(axes, axes, width=4)
    assert maps.source == pytest.approx(maps.target, abs=1e-9)
    assert maps.target.T @ maps.target == pytest.approx(np.eye(4), abs=1e-9)


def test_tca_leaves_out_what_parts_the_domains() -> None:
    rng = np.random.default_rng(4)
    S, T = rng.normal(size=(120, 5)), rng.normal(size=(100, 5))
    T[:, 2] += 4.0
    start = reduced(S, T)
    onto = start.axes @ tca(start, width=4, mu=1e-3)
    gap = np.abs((S @ onto).mean(axis=0) - (T @ onto).mean(axis=0)) / (S @ onto).std(axis=0)
    assert gap.max() < 0.3
    assert np.linalg.matrix_rank(onto[[0, 1, 3, 4]], tol=1e-6) == 4


def test_mean_gaps_are_those_of_the_domains_and_of_each_shared_class() -> None:
    S, T = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0], [5.0]])
    found = mean_gaps(S, T, np.array([0, 0, 1]), np.array([0, 2]))
    assert found.ravel() == pytest.approx([2 - 3, 1 - 1])


def test_subspace_alignment_is_silent_where_the_subspaces_do_not_meet() -> None:
    rng = np.random.default_rng(8)
    S, T = np.zeros((40, 6)), np.zeros((50, 6))
    S[:, :3], T[:, 2:5] = rng.normal(size=(40, 3)), rng.normal(size=(50, 3))
    maps = subspace(Design(S).axes, Design(T).axes, width=3)
    # Only the third axis is in both: the products of the paper, x_s' Ps Ps' Pt Pt' x_t, see nothing else.
    assert maps.source @ maps.target.T == pytest.approx(np.diag([0, 0, 1.0, 0, 0, 0]), abs=1e-9)
    assert np.linalg.norm(T @ maps.target, axis=1) == pytest.approx(np.abs(T[:, 2]))


def test_sinkhorn_keeps_its_marginals_and_finds_the_cheapest_assignment() -> None:
    rng = np.random.default_rng(5)
    S = rng.normal(size=(6, 2))
    order = rng.permutation(6)
    cost = squared_distances(S, S[order] + 0.05)
    coupling = sinkhorn(cost, 0.005, rounds=2000)
    assert coupling.sum(axis=0) == pytest.approx(np.full(6, 1 / 6), abs=1e-6)
    assert coupling.sum(axis=1) == pytest.approx(np.full(6, 1 / 6), abs=1e-4)
    best = min(itertools.permutations(range(6)), key=lambda p: cost[np.arange(6), p].sum())
    assert coupling.argmax(axis=1).tolist() == list(best)
    assert np.isfinite(sinkhorn(1e4 * cost, 0.5, rounds=500)).all()


def test_sinkhorn_goes_on_from_the_last_potentials() -> None:
    rng = np.random.default_rng(7)
    cost = squared_distances(rng.normal(size=(30, 2)), rng.normal(size=(40, 2)))
    start = np.zeros(40)
    found = sinkhorn(cost, 0.05, rounds=2000, tolerance=1e-6, start=start)
    assert found == pytest.approx(sinkhorn(cost, 0.05, rounds=2000, tolerance=1e-6))
    again = sinkhorn(cost + 0.001, 0.05, rounds=1, start=start)
    assert again == pytest.approx(found, abs=1e-6)
    assert np.abs(sinkhorn(cost, 0.05, rounds=1) - found).max() > 1e-3


def test_transport_carries_a_translation_back() -> None:
    S = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    assert carried(sinkhorn(squared_distances(S, S + 1), 0.5), S + 1) == pytest.approx(S + 1, abs=1e-3)


def test_a_target_example_receives_mass_of_one_class() -> None:
    S, T = np.array([[0.0], [1.0], [0.2], [1.2]]), np.array([[0.05], [0.6], [0.15], [1.1]])
    ys = np.array([0, 1, 0, 1])
    cost = squared_distances(S, T)

    def mixed(G: np.ndarray) -> float:
        mass = np.stack([G[ys == c].sum(axis=0) for c in (0, 1)])
        return float(mass.min(axis=0).sum())

    assert mixed(class_transport(cost, ys, 0.1, strength=0.3)) < 0.5 * mixed(sinkhorn(cost, 0.1))


def test_labels_flow_within_clusters() -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(60, 2)) + 5 * np.repeat(np.eye(2), 30, axis=0)
    Y = np.zeros((60, 2))
    Y[0, 0] = Y[30, 1] = 1
    found = propagate(graph(X, neighbours=5), Y)
    assert found.sum(axis=1) == pytest.approx(np.ones(60))
    assert (found.argmax(axis=1) == np.repeat([0, 1], 30)).mean() > 0.95
