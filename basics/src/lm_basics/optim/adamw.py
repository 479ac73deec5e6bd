"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, 2019).

With ``g`` the gradient and ``t`` counted from 1, in the course's order::

    theta -= lr * weight_decay * theta
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g^2
    theta -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)

Unlike in torch, ``eps`` is added to the root of ``v`` before the correction of its bias: the step
is that of torch with ``eps / sqrt(1 - beta2^t)``. So torch's fused kernel, which passes over the
numbers once where these lines pass seven times, takes it, and both agree up to rounding.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import Field, fields
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adamw import adamw as torch_adamw

from lm_basics.optim.config import AdamWConfig, check_adamw
from lm_basics.optim.optimizer import Implementation, Optimizer

Updated = tuple[Tensor, Tensor, dict[str, Any]]
"""A parameter, its gradient and its state."""


class AdamW(Optimizer):
    """The course's order of operations, decay first."""

    state_names = frozenset({"step", "m", "v"})

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        implementation: Implementation = "auto",
    ) -> None:
        check_adamw(lr, betas, eps, weight_decay)
        self.implementation = implementation
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def update(self) -> None:
        """Update every parameter that has a gradient."""
        update_adamw_groups(self.param_groups, self.state, self.implementation)


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


def update_adamw_groups(
    groups: Iterable[Mapping[str, Any]],
    states: MutableMapping[Tensor, dict[str, Any]],
    implementation: Implementation = "auto",
) -> None:
    """Apply one step, in place, to every parameter that has a gradient.

    Which way a parameter takes depends on its device, type and layout alone, so that a resumed run
    takes the same.

    Args:
        groups: With ``params``, ``lr``, ``betas``, ``eps`` and ``weight_decay``.
        states: Of each parameter; created on first use.
        implementation: The way to take.
    """
    for group in groups:
        # One call for all that are at the same step, as mostly all are: the epsilon depends on it.
        fused: dict[int, list[Updated]] = defaultdict(list)
        for parameter in group["params"]:
            if (gradient := parameter.grad) is None:
                continue
            state = states[parameter]
            start_state(parameter, state)
            if implementation == "auto" and _is_suitable(parameter, gradient, state):
                state["step"] += 1
                fused[state["step"]].append((parameter, gradient, state))
            else:
                update_adamw(parameter, gradient, state, group)
        for t, updated in fused.items():
            _update_fused(updated, t, group)


def _is_suitable(parameter: Tensor, gradient: Tensor, state: Mapping[str, Any]) -> bool:
    """Tell whether torch's kernel may run through the memory; wrong shapes fail the plain way."""
    device, shape = parameter.device, parameter.shape
    if device.type not in ("cpu", "cuda"):
        return False
    # Written out: these few microseconds, for every parameter, are a noticeable part of a step.
    for tensor in (parameter, gradient, state["m"], state["v"]):
        if not (
            tensor.dtype is torch.float32
            and tensor.device == device
            and tensor.is_contiguous()
            and tensor.shape == shape
        ):
            return False
    return True


def _update_fused(updated: Sequence[Updated], t: int, group: Mapping[str, Any]) -> None:
    """Apply step ``t`` with torch's kernel, through the function behind its class.

    The class would import torch's compiler, which takes as long as torch itself.
    """
    parameters, gradients, states = (list(column) for column in zip(*updated, strict=True))
    beta1, beta2 = group["betas"]
    # The function counts on from the step before, in tensors of its own.
    earlier = [torch.tensor(t - 1.0, device=parameter.device) for parameter in parameters]
    torch_adamw(
        parameters,
        gradients,
        [state["m"] for state in states],
        [state["v"] for state in states],
        [],
        earlier,
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"] / (1 - beta2**t) ** 0.5,
        maximize=False,
    )
    # Autograd cannot see these writes by itself.
    torch.autograd.graph.increment_version(parameters)


@runtime_checkable
class TwoRulesConfig(Protocol):
    """Settings of the matrices' rule, and under ``others`` those of AdamW: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def others(self) -> AdamWConfig:
        """The rule for embeddings, output head, routers and vectors."""
        ...


Config = TypeVar("Config", bound=TwoRulesConfig)


class TwoRulesOptimizer(Optimizer, Generic[Config]):
    """A rule for hidden matrices and AdamW for everything else; each group names its rule."""

    rule: ClassVar[str]
    """The name of the matrices' rule."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[dict[str, Any]],
        config: Config,
        *,
        implementation: Implementation = "auto",
    ) -> None:
        """Build the optimizer.

        Args:
            matrices: Two-dimensional hidden parameters.
            others: AdamW parameter groups: ``params`` and, where it differs, ``weight_decay``.
            config: Settings of both rules.
            implementation: Of AdamW.
        """
        self.implementation = implementation
        hidden = {"params": list(matrices), "rule": self.rule, **_settings(config)}
        super().__init__([hidden, *others], {"rule": "adamw", **_settings(config.others)})

    def update(self) -> None:
        """Update matrices by their rule, then the others by AdamW."""
        for group in self.param_groups:
            if group["rule"] == self.rule:
                self.update_matrices(group)
        others = [group for group in self.param_groups if group["rule"] == "adamw"]
        update_adamw_groups(others, self.state, self.implementation)

    @abstractmethod
    def update_matrices(self, group: dict[str, Any]) -> None:
        """Update the matrices of a group that have a gradient."""


def _settings(config: TwoRulesConfig | AdamWConfig) -> dict[str, Any]:
    """Return the settings of one rule."""
    return {one.name: getattr(config, one.name) for one in fields(config) if one.name != "others"}
