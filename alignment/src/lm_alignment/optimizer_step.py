"""One optimizer step on gradients that are there: check, clip, update."""

import math

import torch
from torch import nn

from lm_basics.optim.clipping import clip_gradients


def update_parameters(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, loss: float, max_grad_norm: float
) -> float:
    """Clip the accumulated gradients, step, drop them, and return their norm before clipping.

    Without any gradient, parameters and moments stay as they are.

    Args:
        model: Its parameters hold the gradients.
        optimizer: Over these parameters.
        loss: What the gradients are of.
        max_grad_norm: Gradients are clipped to this global norm.

    Raises:
        FloatingPointError: The loss or the norm is not finite; no parameter has changed then.
    """
    grad_norm = clip_gradients(model.parameters(), max_grad_norm).item()
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise FloatingPointError(
            f"the loss is {loss} and the norm of its gradient {grad_norm}: lower the learning rate"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm
