"""The closure of torch's optimizers: a function that computes the loss and its gradients anew."""

from collections.abc import Callable
from typing import Any

import torch


def evaluate_closure(closure: Callable[[], Any] | None) -> Any:
    """Return the closure's loss, or ``None`` where there is no closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
