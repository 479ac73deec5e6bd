"""One step of AdamW for one parameter, as the equation has it.

With ``g`` the gradient and ``t`` counted from 1, in the course's order::

    theta -= lr * weight_decay * theta
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g^2
    theta -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)

Unlike in torch, ``eps`` is added to the root of ``v`` before the correction of its bias.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class AdamWCoefficients(NamedTuple):
    """The numbers by which a step multiplies; the same for all elements."""

    keep: float
    """``1 - lr * weight_decay``."""
    new_m: float
    """``1 - beta1``."""
    beta2: float
    """Share of ``v`` that stays."""
    new_v: float
    """``1 - beta2``."""
    eps: float
    """Added to the root of ``v``."""
    step_size: float
    """The learning rate with both corrections of bias."""

    @classmethod
    def at_step(cls, t: int, group: Mapping[str, Any]) -> "AdamWCoefficients":
        """Return those of step ``t``, counted from 1, of a parameter group."""
        (beta1, beta2), lr = group["betas"], group["lr"]
        return cls(
            keep=1 - lr * group["weight_decay"],
            new_m=1 - beta1,
            beta2=beta2,
            new_v=1 - beta2,
            eps=group["eps"],
            step_size=lr * (1 - beta2**t) ** 0.5 / (1 - beta1**t),
        )


def update_adamw(
    parameter: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    state: dict[str, Any],
    group: Mapping[str, Any],
) -> None:
    """Apply one AdamW step to ``parameter`` in place, creating its state on first use."""
    start_state(parameter, state)
    state["step"] += 1
    m, v, g = state["m"], state["v"], gradient
    keep, new_m, beta2, new_v, eps, step_size = AdamWCoefficients.at_step(state["step"], group)
    parameter.mul_(keep)
    m.lerp_(g, new_m)
    v.mul_(beta2).addcmul_(g, g, value=new_v)
    parameter.addcdiv_(m, v.sqrt().add_(eps), value=-step_size)


def start_state(parameter: Float[Tensor, "*shape"], state: dict[str, Any]) -> None:
    """Fill an empty state with moments of zeros."""
    if not state:
        state["step"] = 0
        state["m"] = torch.zeros_like(parameter)
        state["v"] = torch.zeros_like(parameter)


def check_adamw(lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    """Raise ``ValueError`` where a setting makes no sense."""
    if lr < 0:
        raise ValueError(f"lr must not be negative, got {lr}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must lie in [0, 1), got {betas}")
    if eps < 0 or weight_decay < 0:
        raise ValueError(f"eps={eps} and weight_decay={weight_decay} must not be negative")
