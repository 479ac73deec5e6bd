"""Stochastic gradient descent (Robbins & Monro, 1951), with heavy-ball momentum (Polyak, 1964)."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_basics.optim.config import check_sgd
from lm_basics.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Decay first, as in AdamW here, then the step along the momentum ``b``.

    With ``g`` the gradient::

        theta -= lr * weight_decay * theta
        b = momentum * b + g
        theta -= lr * b
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        check_sgd(lr, momentum, weight_decay)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def update(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _update(parameter, parameter.grad, self.state[parameter], group)


def _update(
    parameter: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    state: dict[str, Any],
    group: Mapping[str, Any],
) -> None:
    direction = gradient
    if group["momentum"] > 0:
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        direction = state["momentum"].mul_(group["momentum"]).add_(gradient)
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(direction, alpha=-group["lr"])
