"""The parametric law ``L(N, D) = E + A / N^alpha + B / D^beta``, its optimum, and repeated tokens.

E is the loss of the best possible model, the second term what a finite size costs, the third what
finite data costs: approach 3 of Hoffmann et al. (2022).

D counts fresh tokens. "Scaling Data-Constrained Language Models" (Muennighoff et al., 2023) finds
that training on U unique tokens for R further epochs lowers the loss like

    D' = U + U R* (1 - exp(-R / R*)),        R* = 15.39,

fresh tokens (Eq. 5): four epochs are nearly as good as fresh data, and beyond about 40 nothing is
gained. Their law also discounts parameters in excess of what U tokens justify; it is left out
here, because models far below one epoch per optimum never reach that regime and a time budget
bounds the size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scipy.optimize import minimize_scalar

from lm_scaling.laws.points import FLOPS_PER_PARAMETER_TOKEN, ScalingPoint, check_positive

REPETITION_SCALE = 15.387756
"""R*: repetitions after which a repeated token has lost 1 - 1/e of its value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """How to spend a compute budget."""

    flops: float
    """The budget C."""
    parameters: float
    """Size N."""
    tokens: float
    """Tokens D."""
    loss: float
    """Loss that the law predicts, nats per token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParametricLaw:
    """``L(N, D) = E + A / N^alpha + B / D^beta``, in nats per token."""

    E: float
    """Loss with unlimited parameters and data."""
    A: float
    """Cost of a finite size."""
    B: float
    """Cost of finite data."""
    alpha: float
    """Exponent of the size."""
    beta: float
    """Exponent of the data."""

    def __post_init__(self) -> None:
        values = (self.E, self.A, self.B, self.alpha, self.beta)
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"E, A, B, alpha, beta must be finite, got {values}")
        if min(self.E, self.A, self.B) < 0 or min(self.alpha, self.beta) <= 0:
            raise ValueError(
                "expected E, A, B >= 0 and alpha, beta > 0, "
                f"got {self.E}, {self.A}, {self.B}, {self.alpha}, {self.beta}"
            )

    def predict(self, parameters: float, tokens: float) -> float:
        """Return the loss of a model of ``parameters`` trained on ``tokens`` fresh tokens."""
        return self.E + self.A * parameters**-self.alpha + self.B * tokens**-self.beta

    def size_exponent(self) -> float:
        """Return a in ``N_opt ~ C^a``: ``beta / (alpha + beta)``."""
        return self.beta / (self.alpha + self.beta)

    def optimum(
        self, flops: float, *, flops_per_parameter_token: float = FLOPS_PER_PARAMETER_TOKEN
    ) -> Allocation:
        """Return the best size and data for ``C = k N D`` (Eq. 4 of Hoffmann et al., 2022).

        ``N = G (C/k)^a`` and ``D = (C/k)^b / G`` with ``G = (alpha A / beta B)^(1 / (alpha +
        beta))``, where the marginal losses of both factors are equal.

        Raises:
            ValueError: ``flops`` is not positive and finite, or A or B is zero, so that nothing is
                traded off.
        """
        check_positive(flops=flops, flops_per_parameter_token=flops_per_parameter_token)
        self._check_trade_off()
        work = flops / flops_per_parameter_token
        balance = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        parameters = balance * work ** self.size_exponent()
        # D from the budget and not from its own power: the product is then exact.
        return self._allocation(flops, parameters, work / parameters)

    def optimum_for(
        self,
        flops: float,
        flops_per_token: Callable[[float], float],
        *,
        bounds: tuple[float, float] = (1e3, 1e15),
    ) -> Allocation:
        """Return the best size and data where a token costs ``flops_per_token(N)``.

        Small models spend much on attention and the output head, so ``6 N`` misjudges them.

        Args:
            flops: The budget C.
            flops_per_token: Training FLOPs per token as a rising function of the size.
            bounds: Smallest and largest size considered.

        Raises:
            ValueError: ``flops`` is not positive, the bounds are not, or A or B is zero.
        """
        check_positive(flops=flops)
        if not 0 < bounds[0] < bounds[1] < math.inf:
            raise ValueError(f"expected positive, rising, finite bounds, got {bounds}")
        self._check_trade_off()

        def loss(log_parameters: float) -> float:
            parameters = math.exp(log_parameters)
            return self.predict(parameters, flops / flops_per_token(parameters))

        span = (math.log(bounds[0]), math.log(bounds[1]))
        # The loss is convex in ln N for C = k N D and stays single-valleyed for rising costs.
        solution = minimize_scalar(loss, bounds=span, method="bounded", options={"xatol": 1e-10})
        parameters = math.exp(float(solution.x))
        return self._allocation(flops, parameters, flops / flops_per_token(parameters))

    def _check_trade_off(self) -> None:
        if self.A == 0 or self.B == 0:
            raise ValueError(f"no optimum: the law needs A, B > 0, got {self.A}, {self.B}")

    def _allocation(self, flops: float, parameters: float, tokens: float) -> Allocation:
        loss = self.predict(parameters, tokens)
        return Allocation(flops=flops, parameters=parameters, tokens=tokens, loss=loss)


def effective_tokens(
    tokens: float, unique_tokens: float, *, repetition_scale: float = REPETITION_SCALE
) -> float:
    """Return the fresh tokens that are worth as much as ``tokens`` drawn from ``unique_tokens``.

    Raises:
        ValueError: A count or the scale is not positive.
    """
    if min(tokens, unique_tokens, repetition_scale) <= 0:
        raise ValueError(
            "expected positive tokens, unique tokens and scale, "
            f"got {tokens}, {unique_tokens}, {repetition_scale}"
        )
    if tokens <= unique_tokens:
        return tokens
    repetitions = tokens / unique_tokens - 1
    # expm1 keeps its digits where the second epoch has only just begun.
    decayed = -math.expm1(-repetitions / repetition_scale)
    return unique_tokens * (1 + repetition_scale * decayed)


def discount_repeats(points: Sequence[ScalingPoint], unique_tokens: float) -> list[ScalingPoint]:
    """Return ``points`` with their tokens replaced by what they are worth."""
    return [
        replace(point, tokens=effective_tokens(point.tokens, unique_tokens)) for point in points
    ]
