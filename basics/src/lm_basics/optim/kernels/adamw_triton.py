"""AdamW's step for lists of float32 tensors on a GPU: a block of threads for each stretch."""

from typing import no_type_check

import triton
import triton.language as tl

BLOCK_SIZE = 2048
"""Numbers that a block updates."""


@triton.jit
@no_type_check
def update_adamw_blocks(
    addresses,
    tensor_of_block,
    first_blocks,
    sizes,
    keep,
    new_m,
    beta2,
    new_v,
    eps,
    step_size,
    BLOCK_SIZE: tl.constexpr = BLOCK_SIZE,
):
    """Update the stretch of this block.

    Args:
        addresses: Of parameter, gradient, ``m`` and ``v`` of each tensor, one after the other.
        tensor_of_block: Which tensor a block works on.
        first_blocks: The first block of each tensor.
        sizes: Numbers in each tensor.
        keep: And the next five: ``lm_basics.optim.adamw_update.AdamWCoefficients``.
        new_m: See there.
        beta2: See there.
        new_v: See there.
        eps: See there.
        step_size: See there.
        BLOCK_SIZE: Numbers that a block updates.
    """
    block = tl.program_id(0)
    tensor = tl.load(tensor_of_block + block)
    start = (block - tl.load(first_blocks + tensor)).to(tl.int64) * BLOCK_SIZE
    size = tl.load(sizes + tensor)
    row = addresses + 4 * tensor
    theta = _as_pointer(tl.load(row), start)
    g = _as_pointer(tl.load(row + 1), start)
    m = _as_pointer(tl.load(row + 2), start)
    v = _as_pointer(tl.load(row + 3), start)
    offsets = tl.arange(0, BLOCK_SIZE)
    # A mask that may end anywhere would keep the compiler from reading vectors.
    if start + BLOCK_SIZE <= size:
        _update(theta + offsets, g + offsets, m + offsets, v + offsets, None,
                keep, new_m, beta2, new_v, eps, step_size)  # fmt: skip
    else:
        _update(theta + offsets, g + offsets, m + offsets, v + offsets, start + offsets < size,
                keep, new_m, beta2, new_v, eps, step_size)  # fmt: skip


@triton.jit
@no_type_check
def _as_pointer(address, start):
    """Return a pointer to the number at ``start`` of a float32 tensor, 16 bytes aligned."""
    return tl.multiple_of(address.to(tl.pointer_type(tl.float32)) + start, [16])


@triton.jit
@no_type_check
def _update(theta, g, m, v, mask, keep, new_m, beta2, new_v, eps, step_size):
    """Apply the lines of ``update_adamw`` to the numbers behind the pointers."""
    gradient = tl.load(g, mask=mask)
    new_moment = tl.load(m, mask=mask)
    new_moment += new_m * (gradient - new_moment)
    new_square = beta2 * tl.load(v, mask=mask) + new_v * gradient * gradient
    step = step_size * tl.div_rn(new_moment, tl.sqrt_rn(new_square) + eps)
    tl.store(theta, keep * tl.load(theta, mask=mask) - step, mask=mask)
    tl.store(m, new_moment, mask=mask)
    tl.store(v, new_square, mask=mask)
