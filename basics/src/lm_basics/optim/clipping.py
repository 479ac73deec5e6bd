"""Gradient clipping by the global norm (Pascanu et al., 2013)."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor


def gradient_norm(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """Return the l2 norm of all gradients taken as one vector; absent ones count as zero."""
    norms = [p.grad.float().norm() for p in parameters if p.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Float[Tensor, ""]:
    """Scale all gradients in place so that their global norm is at most ``max_norm``.

    Returns:
        The norm before clipping.

    Raises:
        ValueError: ``max_norm`` is not positive.
    """
    if max_norm <= 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    parameters = list(parameters)
    norm = gradient_norm(parameters)
    if norm > max_norm:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(max_norm / (norm + 1e-6))
    return norm
