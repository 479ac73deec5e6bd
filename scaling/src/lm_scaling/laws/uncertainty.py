"""Bootstrap intervals for the parametric law: how much it moves when the runs are drawn again.

The runs are resampled with replacement and the law refitted from the full fit's optimum (Efron,
1979; Besiroglu et al., 2024, use 4,000 samples). All samples descend together, see
``robust_least_squares``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.parametric_fit import ParametricFitConfig, fit_parametric
from lm_scaling.laws.points import ScalingPoint
from lm_scaling.laws.robust_least_squares import LogTable, minimize_batch

# Samples that descend together: a Jacobian of 240 runs then takes 5 MB and stays in the cache.
_SAMPLES_PER_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A range of plausible values."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float
    """Probability that it claims, between 0 and 1."""

    def __contains__(self, value: float) -> bool:
        """Tell whether ``value`` lies in the range."""
        return self.low <= value <= self.high


def bootstrap_laws(
    points: Sequence[ScalingPoint],
    config: ParametricFitConfig | None = None,
    *,
    num_samples: int = 400,
    seed: int = 0,
) -> list[ParametricLaw]:
    """Return the laws of ``num_samples`` resampled tables; the same for the same seed.

    Raises:
        ValueError: ``num_samples`` is not positive, or the table cannot be fitted.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be positive, got {num_samples}")
    config = config or ParametricFitConfig()
    table = LogTable.from_points(points)
    start = table.theta(fit_parametric(points, config).law)
    generator = np.random.default_rng(seed)
    uniform = np.full(len(points), 1 / len(points))
    laws: list[ParametricLaw] = []
    while len(laws) < num_samples:
        batch_size = min(_SAMPLES_PER_BATCH, num_samples - len(laws))
        # Counts instead of copies: one table serves all samples.
        counts = generator.multinomial(len(points), uniform, size=batch_size).astype(np.float64)
        thetas, _ = minimize_batch(
            table,
            np.tile(start, (batch_size, 1)),
            counts,
            delta=config.delta,
            max_iterations=config.max_iterations,
            # Far below the spread of the samples: more digits of one sample tell nothing.
            tolerance=1e-9,
        )
        laws.extend(table.law(theta) for theta in thetas)
    return laws


def percentile_interval(
    laws: Sequence[ParametricLaw],
    quantity: Callable[[ParametricLaw], float],
    *,
    level: float = 0.95,
) -> Interval:
    """Return the central range of ``quantity`` over bootstrapped laws.

    Raises:
        ValueError: There are no laws, or ``level`` is not between 0 and 1.
    """
    if not laws or not 0 < level < 1:
        raise ValueError(f"expected laws and a level in (0, 1), got {len(laws)} and {level}")
    values = [quantity(law) for law in laws]
    low, high = (float(v) for v in np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(low=low, high=high, level=level)
