"""Output head and cross-entropy together, a few rows at a time.

With a vocabulary of size V the logits are V / d_model times as large as the hidden states they
come from: usually the largest tensor of a training step. Here only a chunk of them exists. The
gradient of a chunk's summed losses with respect to its logits is ``softmax(logits) - one_hot``,
known as soon as the logits are, so the forward pass turns it at once into the gradients of
``hidden`` and ``weight`` and forgets the logits (the idea of Liger Kernel, Hsu et al., 2024). The
backward pass only multiplies by the upstream gradient over the number of targets: earlier, the
quotient would vanish in float16.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from lm_basics.nn.ops import IGNORED_TARGET
from lm_shared.tensors import has_triton

CHUNK_BYTES = {"cpu": 4 * 2**20, "cuda": 2**30}
"""Size of one chunk of logits: in float32 fits the cache of a CPU core, and fills a GPU."""


def linear_cross_entropy(
    hidden: Float[Tensor, "tokens d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, " tokens"],
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats over the targets that are not ignored.

    A batch whose targets are all ignored has no mean: the loss is NaN, as in the reference.
    The loss is computed and returned in float32, of float64 inputs in float64. Under autocast the
    matrix products run in its dtype, as they would in the reference.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    with torch.autocast(device, enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, targets, dtype, torch.is_grad_enabled())


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        needs_gradients: bool,
    ) -> Tensor:
        narrow, table = hidden.to(dtype), weight.to(dtype)
        # Kept on the device: reading it here would stop a GPU until it has caught up.
        count = (targets != IGNORED_TARGET).sum()
        wide = torch.promote_types(dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        d_hidden = torch.empty_like(narrow) if needs_gradients else None
        d_weight: Tensor | None = None
        rows = chunk_rows(weight.shape[0], hidden.device, dtype)
        for start in range(0, len(hidden), rows):
            chunk = slice(start, start + rows)
            logits = narrow[chunk] @ table.T
            loss, d_logits = _sum_and_gradient(logits, targets[chunk], needs_gradients)
            total += loss
            if d_hidden is None:
                continue
            torch.mm(d_logits, table, out=d_hidden[chunk])
            if d_weight is None:
                d_weight = (d_logits.T @ narrow[chunk]).to(wide)
            elif dtype == wide:
                d_weight.addmm_(d_logits.T, narrow[chunk])
            else:
                d_weight += d_logits.T @ narrow[chunk]
        if d_hidden is not None:
            if d_weight is None:
                d_weight = torch.zeros_like(weight, dtype=wide)
            ctx.save_for_backward(d_hidden.to(hidden.dtype), d_weight, count)
            ctx.weight_dtype = weight.dtype
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        d_hidden, d_weight, count = ctx.saved_tensors
        scale = g / count
        # In the wide type of the loss: 16 bits would lose a part of the scale.
        d_hidden = (d_hidden.to(g.dtype) * scale).to(d_hidden.dtype)
        return d_hidden, (d_weight * scale).to(ctx.weight_dtype), None, None, None


def _sum_and_gradient(
    logits: Tensor, targets: Tensor, needs_gradients: bool
) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses of some rows, and its gradient.

    The gradient has the logits' type and may take their place; it is undefined if not needed.
    """
    if logits.is_cuda and has_triton() and logits.dtype != torch.float64:
        from lm_systems.kernels.cross_entropy import cross_entropy_rows  # noqa: PLC0415 - Triton

        losses = cross_entropy_rows(logits, targets, needs_gradients=needs_gradients)
        return losses.sum(), logits
    counted = targets != IGNORED_TARGET
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index = targets.where(counted, 0)[:, None]
    chosen = wide.gather(-1, index)
    maximum = wide.amax(-1, keepdim=True)
    # In place, three passes over a chunk that stays in cache: a third faster than log_softmax
    # followed by exp.
    exponentials = wide.sub_(maximum).exp_()
    normalizer = exponentials.sum(-1, keepdim=True)
    kept = counted[:, None]
    loss = torch.where(kept, normalizer.log() + maximum - chosen, 0.0).sum()
    if not needs_gradients:
        return loss, logits
    scale = kept.to(wide.dtype)
    d_logits = exponentials.mul_(scale / normalizer).scatter_add_(-1, index, -scale)
    return loss, d_logits.to(logits.dtype)


def chunk_rows(vocab_size: int, device: torch.device, dtype: torch.dtype) -> int:
    """Return how many rows of logits make one chunk on ``device``, for products in ``dtype``."""
    chunk_bytes = CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"])
    # Without the kernel there is a copy in float32.
    logit_bytes = dtype.itemsize if device.type == "cuda" and has_triton() else 4
    return max(1, chunk_bytes // (logit_bytes * vocab_size))
