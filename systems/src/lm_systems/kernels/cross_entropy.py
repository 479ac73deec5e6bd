"""Cross-entropy of rows of logits on a GPU: each row is read twice and overwritten once.

Torch's operations would pass over the logits about ten times, most of them in float32. Here one
program per row finds the normalizer in a first pass, with the sum of exponentials rescaled whenever
the maximum grows (Milakov & Gimelshein, 2018), and puts the gradient in place of the logits in a
second one, as Liger Kernel does (Hsu et al., 2024).
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.nn.ops import IGNORED_TARGET

_BLOCK_SIZE = 4_096
_NUM_WARPS = 8


def cross_entropy_rows(
    logits: Float[Tensor, "rows vocab"],
    targets: Int[Tensor, " rows"],
    *,
    needs_gradients: bool,
) -> Float[Tensor, " rows"]:
    """Return ``-log softmax(logits)[target]`` of each row in nats.

    It is 0 where the target is ignored and NaN where it is no column: a kernel cannot raise.

    Args:
        logits: With ``needs_gradients`` their place takes the gradient of the sum of all losses.
        targets: Ignored ones are ``lm_basics.nn.ops.IGNORED_TARGET``.
        needs_gradients: Whether to compute the gradient.

    Raises:
        ValueError: The logits are not contiguous.
    """
    if not logits.is_contiguous():
        raise ValueError(f"logits must be contiguous, got strides {logits.stride()}")
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    with torch.cuda.device_of(logits):
        _cross_entropy_row[(len(logits),)](
            logits,
            targets.contiguous(),
            losses,
            logits.shape[1],
            IGNORED=IGNORED_TARGET,
            NEEDS_GRADIENTS=needs_gradients,
            BLOCK_SIZE=min(_BLOCK_SIZE, triton.next_power_of_2(logits.shape[1])),
            num_warps=_NUM_WARPS,  # pyright: ignore[reportCallIssue]
        )
    return losses


@triton.jit
@no_type_check
def _cross_entropy_row(
    logits,
    targets,
    losses,
    vocab_size,
    IGNORED: tl.constexpr,
    NEEDS_GRADIENTS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    """Do one row; see ``cross_entropy_rows``."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * vocab_size
    target = tl.load(targets + row)
    is_counted = target != IGNORED
    # Before any thread overwrites it: the reductions below wait for all threads.
    is_column = (target >= 0) & (target < vocab_size)
    chosen = tl.load(logits + target, mask=is_column, other=float("nan")).to(tl.float32)
    columns = tl.arange(0, BLOCK_SIZE)

    # Not minus infinity, from which a block of minus infinities could not be subtracted.
    maximum = -1e30
    total = 0.0
    for start in range(0, vocab_size, BLOCK_SIZE):
        is_inside = start + columns < vocab_size
        x = tl.load(logits + start + columns, mask=is_inside, other=float("-inf")).to(tl.float32)
        new_maximum = tl.maximum(maximum, tl.max(x, 0))
        total = total * tl.exp(maximum - new_maximum) + tl.sum(tl.exp(x - new_maximum), 0)
        maximum = new_maximum
    tl.store(losses + row, tl.where(is_counted, tl.log(total) + maximum - chosen, 0.0))

    if NEEDS_GRADIENTS:
        scale = tl.where(is_counted, 1.0, 0.0)
        for start in range(0, vocab_size, BLOCK_SIZE):
            is_inside = start + columns < vocab_size
            x = tl.load(logits + start + columns, mask=is_inside, other=0.0).to(tl.float32)
            gradient = tl.exp(x - maximum) * (scale / total)
            gradient = tl.where(start + columns == target, gradient - scale, gradient)
            tl.store(logits + start + columns, gradient, mask=is_inside)
