"""Why sums are kept in more bits than what is added to them (``mixed_precision_accumulation``).

float16 has eleven significant bits. A thousand times 0.01 is 10.0001 in float32. With the sum in
float16 each addition above 8 rounds to a multiple of 0.0078: 9.9531. With the sum in float32 and
only 0.01 in float16 it is 10.0021, a thousand times what 0.01 is rounded to. Autocast does the
same: factors in few bits, sums in float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def add_up(
    value: float, count: int, *, sum_dtype: torch.dtype, value_dtype: torch.dtype
) -> Float[Tensor, ""]:
    """Return ``value`` added ``count`` times to a sum that starts at zero."""
    total = torch.zeros((), dtype=sum_dtype)
    rounded = torch.tensor(value, dtype=value_dtype)
    for _ in range(count):
        total += rounded
    return total
