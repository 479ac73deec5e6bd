"""Muon: momentum whose matrices are orthogonalized before the step (Jordan et al., 2024).

Hidden matrices take the Muon rule; embeddings, the output head, routers and vectors take AdamW's.
"""

from collections import defaultdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_basics.optim.adamw import AdamW, TwoRulesOptimizer
from lm_basics.optim.config import MuonConfig
from lm_shared.tensors import choose_dtype

# Odd polynomial a x + b x^3 + c x^5 whose iteration drives singular values towards one; tuned by
# the authors for a steep slope at zero rather than for convergence to exactly one.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(TwoRulesOptimizer[MuonConfig]):
    """Muon for the matrices given, AdamW for the other parameters, in one optimizer."""

    rule = "muon"
    state_names = frozenset({"momentum"}) | AdamW.state_names

    def update_matrices(self, group: dict[str, Any]) -> None:
        """Update the matrices of a group that have a gradient."""
        # Matrices of one shape go through the iteration as a stack: fewer, larger products.
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                momentum = self._momentum(matrix, matrix.grad, group["momentum"])
                by_shape[matrix.shape].append((matrix, momentum))
        for shape, pairs in by_shape.items():
            same, momenta = zip(*pairs, strict=True)
            directions = orthogonalize(torch.stack(momenta), group["iterations"])
            # Keeps the update's root mean square alike for tall and wide matrices.
            step_size = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, direction in zip(same, directions, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-step_size)

    def _momentum(self, parameter: Tensor, gradient: Tensor, decay: float) -> Tensor:
        """Update the momentum and return its Nesterov look-ahead."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - decay)
        return torch.lerp(gradient, momentum, decay)


def orthogonalize(
    matrices: Float[Tensor, "*batch rows columns"], iterations: int = 5
) -> Float[Tensor, "*batch rows columns"]:
    """Bring the singular values near one (between about 0.7 and 1.2) and keep the directions.

    Newton-Schulz iteration with a quintic: no decomposition, only products. Values below about a
    hundredth of the Frobenius norm grow, but five iterations leave them short of one. GPUs compute
    the products in bfloat16, which the range of the result makes good enough.
    """
    a, b, c = _NEWTON_SCHULZ
    x = matrices.float()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    if x.is_cuda:
        x = x.to(choose_dtype("auto", x.device))
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).to(matrices.dtype)
