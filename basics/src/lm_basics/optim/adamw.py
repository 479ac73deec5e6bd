"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lm_basics.optim.adamw_fast import Implementation, update_adamw_groups
from lm_basics.optim.adamw_update import check_adamw
from lm_basics.optim.optimizer import Optimizer


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


class AdamW(Optimizer):
    """The course's order of operations, decay first; ``adamw_update`` has the equation."""

    # A copied or unpickled optimizer has only what torch's base class restores.
    implementation: Implementation = "auto"

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
