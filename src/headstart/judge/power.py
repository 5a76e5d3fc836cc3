"""What a test set could have shown, and how large it would have to be."""

from __future__ import annotations

import math

# An observed gain this small beside its uncertainty is no gain: no number of examples is promised for it.
NEGLIGIBLE = 0.01


def minimal_detectable_gain(
    standard_error: float, n_effective: float, *, critical: float = 1.96, power: float = 0.8
) -> float:
    """The smallest true gain that a test like this one would call *helped* with the given power.

    It is (critical + z_power) standard errors, but no less than what the number of examples allows: even where transfer
    never loses an example it must win some. Against none lost, w wins are told from chance when
    w >= critical sqrt(w + 2), where 2 is the imaginary examples of :func:`headstart.judge.intervals.paired_interval`;
    the floor is the gain at which a binomial number of wins reaches that w with the given power. It is what counts when
    the routes hardly disagreed.

    Args:
        standard_error: of the gain.
        n_effective: test examples, or for balanced accuracy the number of balanced ones that would be as informative.
        critical: how many standard errors the interval reaches either way.
        power: the probability of *helped* when the true gain is the returned one.

    Returns:
        A fraction in (0, 1].
    """
    from scipy.stats import norm

    z = float(norm.ppf(power))
    wins = (critical**2 + math.sqrt(critical**4 + 8 * critical**2)) / 2
    # n g - z sqrt(n g (1 - g)) = wins, solved for g.
    n = n_effective
    a, b = n**2 + z**2 * n, 2 * n * wins + z**2 * n
    floor = (b + math.sqrt(max(0.0, b**2 - 4 * a * wins**2))) / (2 * a)
    return min(1.0, max((critical + z) * standard_error, floor))


def examples_to_settle(estimate: float, low: float, high: float, n: int) -> int | None:
    """The test examples at which the observed gain, if it is the true one, would be told from zero.

    The interval's reach towards zero shrinks with the square root of the number of examples. The part of it that comes
    from the seeds does not shrink with examples; it is treated as if it did.

    Returns:
        A number above n; None when the interval already excludes zero, or when the gain is less than a hundredth of
        the interval's reach.
    """
    if low > 0 or high < 0:
        return None
    reach = estimate - low if estimate > 0 else high - estimate
    if abs(estimate) <= NEGLIGIBLE * reach:
        return None
    return max(n + 1, math.ceil(n * (reach / estimate) ** 2))
