"""What the optimizers here share, the simplest of them, and the clipping before any of them.

The interface is torch's, without torch's compiler.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import fields
from inspect import unwrap
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lm_basics.optim.config import OptimizerConfig, check_sgd

Implementation = Literal["auto", "reference"]
"""``auto`` takes torch's fused kernel where the tensors allow it, ``reference`` never does."""

# What rules read of a group, the last two those of torch: labels and notes of schedulers are free.
_SETTINGS = {one.name for config in get_args(OptimizerConfig) for one in fields(config)}
_SETTINGS |= {"rule", "maximize", "nesterov"}


class Optimizer(torch.optim.Optimizer):
    """Torch's optimizer; a subclass says how it updates the parameters."""

    state_names: ClassVar[frozenset[str]]
    """What is kept for a parameter."""
    implementation: Implementation = "auto"
    """How AdamW's updates are computed, where the rule has any."""

    # Torch wraps these against being compiled, and the wrapper imports the whole compiler: as long
    # again as torch itself takes, at the start of every process that trains.
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned.

        Raises:
            ValueError: It is of another kind of optimizer, such as torch's, or of other parameters.
        """
        # Torch compares no names: the moments of another rule would be taken for none.
        for own, saved in zip(self.param_groups, state_dict["param_groups"], strict=False):
            self._check_names(saved.keys() & _SETTINGS, own.keys() & _SETTINGS)
        for state in state_dict["state"].values():
            self._check_names(state.keys(), state.keys() & self.state_names)
        unwrap(torch.optim.Optimizer.load_state_dict)(self, state_dict)

    def _check_names(self, found: Set[str], expected: Set[str]) -> None:
        if found != expected:
            raise ValueError(
                f"the state is of another optimizer than {type(self).__module__}."
                f"{type(self).__name__}: it has {sorted(found)} instead of {sorted(expected)}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles hold."""
        return super().__getstate__() | {"implementation": self.implementation}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; return the closure's loss, if any.

        The closure, if there is one, computes the loss and its gradients anew.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        return loss

    @abstractmethod
    def update(self) -> None:
        """Update, without gradients, every parameter that has a gradient."""


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins & Monro, 1951) with momentum ``b`` (Polyak, 1964).

    Decay comes first, as in AdamW here.

    With ``g`` the gradient::

        theta -= lr * weight_decay * theta
        b = momentum * b + g
        theta -= lr * b
    """

    state_names = frozenset({"momentum"})

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
                    _update_sgd(parameter, parameter.grad, self.state[parameter], group)


def _update_sgd(
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


def gradient_norm(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """Return the l2 norm of all gradients taken as one vector; absent ones count as zero."""
    norms = [p.grad.float().norm() for p in parameters if p.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


def clip_gradients(
    parameters: Iterable[Tensor], max_norm: float, *, norm: Float[Tensor, ""] | None = None
) -> Float[Tensor, ""]:
    """Scale all gradients in place so that their global norm is at most ``max_norm``.

    See Pascanu et al. (2013).

    Args:
        parameters: Those without a gradient are left out.
        max_norm: The largest norm afterwards.
        norm: Of all gradients, where other processes have a part of them; None: of these.

    Returns:
        The norm before clipping.

    Raises:
        ValueError: ``max_norm`` is not positive.
    """
    if max_norm <= 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    parameters = list(parameters)
    norm = gradient_norm(parameters) if norm is None else norm
    if norm > max_norm:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(max_norm / (norm + 1e-6))
    return norm
