"""Number formats of a training step: matrix products in fewer bits, and float16's loss scaling.

bfloat16 has the range of float32, so its gradients need no care. In float16 those below 6e-8 vanish
and those above 65,504 become infinite. Scaling the loss moves all of them up by one factor, which
is taken out again before the update (Micikevicius et al., "Mixed Precision Training", 2018).
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return a context in which matrix products are computed in ``dtype``."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


class LossScaler:
    """The factor of the loss: halved when gradients overflow, doubled after a calm while.

    Powers of two only, so that multiplying and dividing by them loses no bit.
    """

    def __init__(
        self,
        *,
        scale: float = 2.0**16,
        growth_interval: int = 2_000,
        max_scale: float = 2.0**24,
    ) -> None:
        """Choose the first factor.

        Args:
            scale: The first factor.
            growth_interval: Updates in a row without overflow after which the factor doubles.
            max_scale: The factor grows no further.

        Raises:
            ValueError: A factor is no power of two from 1 on, or the interval is not positive.
        """
        for name, factor in (("scale", scale), ("max_scale", max_scale)):
            if factor < 1 or not math.log2(factor).is_integer():
                raise ValueError(f"{name} must be a power of two from 1 on, got {factor}")
        if growth_interval <= 0:
            raise ValueError(f"growth_interval must be positive, got {growth_interval}")
        self.scale = scale
        self.growth_interval, self.max_scale = growth_interval, max_scale
        self._num_calm = 0

    def scale_loss(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Return the loss whose gradients fit into float16."""
        return loss * self.scale

    def unscale_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Take the factor out of the gradients, in place."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(1 / self.scale)

    def can_shrink(self) -> bool:
        """Tell whether an overflow may go away with a smaller factor."""
        return self.scale > 1

    def update(self, *, has_overflowed: bool) -> None:
        """Adapt the factor to what the last gradients were."""
        if has_overflowed:
            self.scale, self._num_calm = max(1.0, self.scale / 2), 0
            return
        self._num_calm += 1
        if self._num_calm == self.growth_interval:
            self.scale, self._num_calm = min(self.max_scale, self.scale * 2), 0

    def state_dict(self) -> dict[str, Any]:
        """Return what changes from step to step."""
        return {"scale": self.scale, "num_calm": self._num_calm}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.scale, self._num_calm = state_dict["scale"], state_dict["num_calm"]
