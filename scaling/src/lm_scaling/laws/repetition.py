"""What a repeated token is worth: the data-constrained law of Muennighoff et al. (2023).

"Scaling Data-Constrained Language Models" finds that training on U unique tokens for R further
epochs lowers the loss like

    D' = U + U R* (1 - exp(-R / R*)),        R* = 15.39,

fresh tokens (Eq. 5): four epochs are nearly as good as fresh data, and beyond about 40 nothing is
gained. Their law also discounts parameters in excess of what U tokens justify; it is left out
here, because models far below one epoch per optimum never reach that regime and a time budget
bounds the size.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from lm_scaling.laws.points import ScalingPoint

REPETITION_SCALE = 15.387756
"""R*: repetitions after which a repeated token has lost 1 - 1/e of its value."""


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
