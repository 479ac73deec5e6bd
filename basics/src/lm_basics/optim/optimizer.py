"""What the optimizers here share: torch's interface, without torch's compiler."""

from abc import abstractmethod
from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch


class Optimizer(torch.optim.Optimizer):
    """Torch's optimizer; a subclass says how it updates the parameters."""

    # Torch wraps these against being compiled, and the wrapper imports the whole compiler: as long
    # again as torch itself takes, at the start of every process that trains.
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)

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
