"""Student's t distribution, central and noncentral, from the regularized incomplete beta function.

A mean of ``n`` normal differences over its standard error follows it with ``n - 1`` degrees of
freedom (Student, 1908); where the true mean is not zero, the noncentral one.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float

_TINY = 1e-300
_MAX_ITERATIONS = 10_000
_NODES = 400


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return ``I_x(a, b)``, the probability that a Beta(a, b) variable is at most ``x``.

    Lentz's evaluation of the continued fraction (Numerical Recipes, 3rd edition, 6.4).

    Raises:
        ValueError: ``a`` or ``b`` is not positive, or ``x`` is no probability.
    """
    if a <= 0 or b <= 0 or not 0 <= x <= 1:
        raise ValueError(f"expected a, b > 0 and x in [0, 1], got a={a}, b={b}, x={x}")
    if x in (0.0, 1.0):
        return x
    # The fraction converges fast on this side of the mean; the other side is its mirror.
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _beta_fraction(a, b, x) / a


def t_tail(t: float, dof: int) -> float:
    """Return ``P(T > t)`` for Student's t with ``dof`` degrees of freedom.

    Raises:
        ValueError: there is no degree of freedom.
    """
    if dof < 1:
        raise ValueError(f"expected at least 1 degree of freedom, got {dof}")
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    half = 0.5 * incomplete_beta(dof / 2, 0.5, dof / (dof + t * t))
    return half if t >= 0 else 1 - half


@lru_cache(maxsize=4_096)
def t_quantile(tail: float, dof: int) -> float:
    """Return the ``t`` that a Student variable exceeds with probability ``tail``.

    Raises:
        ValueError: ``tail`` does not lie in (0, 1).
    """
    if not 0 < tail < 1:
        raise ValueError(f"tail must lie in (0, 1), got {tail}")
    if tail > 0.5:
        return -t_quantile(1 - tail, dof)
    low, high = 0.0, 1.0
    while t_tail(high, dof) > tail:
        low, high = high, 2 * high
    # Bisection: slow, and right at any number of degrees of freedom.
    while high - low > 1e-13 * max(1.0, high):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_tail(middle, dof) > tail else (low, middle)
    return (low + high) / 2


def noncentral_t_tail(t: float, dof: int, shift: float) -> float:
    """Return ``P(T > t)`` for noncentral Student's ``T = (Z + shift) / sqrt(V / dof)``.

    ``Z`` is standard normal and ``V`` chi-squared. Given the scale ``s = sqrt(V / dof)`` the
    probability is that of a normal variable; the average over ``s`` is a Gauss-Legendre sum.

    Raises:
        ValueError: there is no degree of freedom.
    """
    if dof < 1:
        raise ValueError(f"expected at least 1 degree of freedom, got {dof}")
    # s has mean about 1 and standard deviation about 1 / sqrt(2 dof): ten of them on each side.
    reach = 10 / math.sqrt(2 * dof)
    low, high = max(0.0, 1 - reach), 1 + reach
    nodes, weights = _legendre()
    s = low + (high - low) * (nodes + 1) / 2
    log_density = (
        (dof / 2) * math.log(dof / 2)
        + math.log(2)
        - math.lgamma(dof / 2)
        + (dof - 1) * np.log(s)
        - dof * s * s / 2
    )
    tails = np.array([_normal_tail(t * one - shift) for one in s])
    total = (high - low) / 2 * np.sum(weights * np.exp(log_density) * tails)
    return float(min(1.0, max(0.0, total)))


def _beta_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    fraction = d
    for m in range(1, _MAX_ITERATIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even, odd):
            d = 1 + coefficient * d
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = 1 + coefficient / c
            c = c if abs(c) > _TINY else _TINY
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            return fraction
    raise ValueError(f"no convergence for a={a}, b={b}, x={x}")


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


@lru_cache(maxsize=1)
def _legendre() -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
    return np.polynomial.legendre.leggauss(_NODES)
