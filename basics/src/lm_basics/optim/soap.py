"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., 2024, Algorithm 3).

For a matrix with gradient ``G``, the averages ``L`` of ``G G^T`` and ``R`` of ``G^T G`` have the
orthogonal eigenvectors ``Q_L`` and ``Q_R``. Adam's second moment is kept in the rotated space,
where the entries of a gradient are less correlated, and the step is rotated back::

    M = beta1 * M + (1 - beta1) * G
    V = beta2 * V + (1 - beta2) * (Q_L^T G Q_R)^2
    theta -= step_size * Q_L [Q_L^T M Q_R / (sqrt(V) + eps)] Q_R^T
    L = beta2 * L + (1 - beta2) * G G^T,  R = beta2 * R + (1 - beta2) * G^T G
    every few steps:  Q_L = QR(L Q_L),  Q_R = QR(R Q_R)

Decay, step size and place of ``eps`` are those of AdamW here, which SOAP is where both bases are
the identity. As in the authors' code, the first gradient (here: that is not zero) only finds the
first bases, by an eigendecomposition: in its own eigenbasis all but the diagonal of a gradient is
rounding error, which Adam would blow up to full steps.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_basics.optim.adamw import AdamW, AdamWCoefficients, TwoRulesOptimizer, start_state
from lm_basics.optim.config import SOAPConfig

_SIDES = ("left", "right")


class SOAP(TwoRulesOptimizer[SOAPConfig]):
    """SOAP for the matrices given, AdamW for the other parameters, in one optimizer."""

    rule = "soap"
    state_names = AdamW.state_names | {"left", "left_basis", "right", "right_basis"}

    def update_matrices(self, group: dict[str, Any]) -> None:
        """Update the matrices of a group that have a gradient."""
        for matrix in group["params"]:
            if matrix.grad is not None:
                _update(matrix, matrix.grad, self.state[matrix], group)


def _update(
    matrix: Float[Tensor, "rows columns"],
    gradient: Float[Tensor, "rows columns"],
    state: dict[str, Any],
    group: Mapping[str, Any],
) -> None:
    """Apply one step to ``matrix`` in place, or find the first bases."""
    if not state and not _start(matrix, gradient, state, group):
        return
    state["step"] += 1
    keep, new_m, beta2, new_v, eps, step_size = AdamWCoefficients.at_step(state["step"], group)
    m, v = state["m"], state["v"]
    g = _rotate(gradient, state)
    matrix.mul_(keep)
    m.lerp_(gradient, new_m)
    v.mul_(beta2).addcmul_(g, g, value=new_v)
    direction = _rotate(m, state) / (v.sqrt() + eps)
    matrix.add_(_rotate_back(direction, state), alpha=-step_size)
    _average(gradient, state, new_v)
    if state["step"] % group["precondition_frequency"] == 0:
        for dim, side in enumerate(_SIDES):
            if side in state:
                _improve_basis(state, side, dim)


def _start(
    matrix: Float[Tensor, "rows columns"],
    gradient: Float[Tensor, "rows columns"],
    state: dict[str, Any],
    group: Mapping[str, Any],
) -> bool:
    """Fill an empty state; return whether a step can be taken with this very gradient."""
    sizes = [size if size <= group["max_precond_dim"] else 0 for size in matrix.shape]
    rotated = {side: size for side, size in zip(_SIDES, sizes, strict=True) if size}
    # Blocks that start as the identity give zeros at first, which have no eigenbasis.
    if rotated and not gradient.any():
        return False
    start_state(matrix, state)
    for side, size in rotated.items():
        state[side] = matrix.new_zeros(size, size)
    _average(gradient, state, 1 - group["betas"][1])
    for side in rotated:
        # Rows side by side, as they come back from a checkpoint: products have the same bits.
        basis = torch.linalg.eigh(state[side]).eigenvectors
        state[_basis(side)] = basis.flip(-1).contiguous()
    return not rotated


def _average(
    gradient: Float[Tensor, "rows columns"], state: dict[str, Any], new_share: float
) -> None:
    """Let the averages of outer products take in a gradient."""
    if "left" in state:
        state["left"].lerp_(gradient @ gradient.mT, new_share)
    if "right" in state:
        state["right"].lerp_(gradient.mT @ gradient, new_share)


def _improve_basis(state: dict[str, Any], side: str, dim: int) -> None:
    """Turn one basis towards the eigenvectors: a power iteration, made orthogonal again.

    Orthogonalization favours the columns that come first, so they are sorted by their eigenvalues,
    the largest first (estimates: the Rayleigh quotients), and the second moments with them.
    """
    p, q = state[side], state[_basis(side)]
    s = p @ q
    order = (q * s).sum(0).argsort(descending=True)
    state["v"] = state["v"].index_select(dim, order)
    state[_basis(side)] = torch.linalg.qr(s[:, order]).Q.contiguous()


def _rotate(
    x: Float[Tensor, "rows columns"], state: Mapping[str, Any]
) -> Float[Tensor, "rows columns"]:
    """Return ``Q_L^T x Q_R``."""
    if "left" in state:
        x = state[_basis("left")].mT @ x
    if "right" in state:
        x = x @ state[_basis("right")]
    return x


def _rotate_back(
    x: Float[Tensor, "rows columns"], state: Mapping[str, Any]
) -> Float[Tensor, "rows columns"]:
    """Return ``Q_L x Q_R^T``."""
    if "left" in state:
        x = state[_basis("left")] @ x
    if "right" in state:
        x = x @ state[_basis("right")].mT
    return x


def _basis(side: str) -> str:
    return f"{side}_basis"
