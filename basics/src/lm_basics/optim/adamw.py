"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWConfig:
    """AdamW's settings."""

    lr: float = 3e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of the first and second moments."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.1
    """Decay of matrices, as a fraction of the learning rate per step; vectors do not decay."""

    def __post_init__(self) -> None:
        check_adamw(self.lr, self.betas, self.eps, self.weight_decay)


class AdamW(torch.optim.Optimizer):
    """The course's order of operations: decay first, then both moments, then the step.

    With ``g`` the gradient and ``t`` counted from 1::

        theta -= lr * weight_decay * theta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        theta -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        check_adamw(lr, betas, eps, weight_decay)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; return the closure's loss, if any."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update_adamw(parameter, parameter.grad, self.state[parameter], group)
        return loss


def update_adamw(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Apply one AdamW step to ``parameter`` in place, creating its state on first use."""
    if not state:
        state["step"] = 0
        state["m"] = torch.zeros_like(parameter)
        state["v"] = torch.zeros_like(parameter)
    state["step"] += 1
    (beta1, beta2), t, lr = group["betas"], state["step"], group["lr"]
    m, v, g = state["m"], state["v"], gradient
    parameter.mul_(1 - lr * group["weight_decay"])
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    step_size = lr * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
    parameter.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-step_size)


def check_adamw(lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    """Raise ``ValueError`` where a setting makes no sense."""
    if lr < 0:
        raise ValueError(f"lr must not be negative, got {lr}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must lie in [0, 1), got {betas}")
    if eps < 0 or weight_decay < 0:
        raise ValueError(f"eps={eps} and weight_decay={weight_decay} must not be negative")


def _evaluate(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
