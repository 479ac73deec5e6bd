"""AdamW's step for lists of float32 tensors on a GPU: one launch that passes over them once.

Each program updates one chunk of one tensor. The equation is that of ``lm_basics.optim.adamw``,
whose fused step stands behind ``AdamW``; this is the kernel to take apart.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Int32, Int64
from torch import Tensor

from lm_basics.optim.adamw import AdamWCoefficients, Updated

CHUNK_SIZE = 1_024
"""Numbers that a program updates; up to 65,536 of them take up to 15% longer on an H200."""
NUM_WARPS = 4
"""Groups of 32 threads that share them."""
ALIGNMENT = 16
"""A thread reads and writes vectors of so many bytes."""


def update_adamw_in_one_launch(updated: Sequence[Updated], coefficients: AdamWCoefficients) -> None:
    """Apply one step, in place, to parameters whose states have been started.

    Args:
        updated: Contiguous, aligned float32 tensors of one device, all at the same step.
        coefficients: Those of the step.

    Raises:
        ValueError: The kernel cannot run through the memory of one of them.
    """
    if not updated:
        return
    parameters = [parameter for parameter, _, _ in updated]
    device = parameters[0].device
    rows = [(p, g, state["m"], state["v"]) for p, g, state in updated]
    for row in rows:
        _check(row, device)
    layout = _layout(tuple(map(Tensor.numel, parameters)), CHUNK_SIZE, device)
    addresses = torch.tensor([t.data_ptr() for row in rows for t in row], dtype=torch.int64)
    if device.type == "cuda":
        # From pinned memory the copy waits for nothing.
        addresses = addresses.pin_memory().to(device, non_blocking=True)
    if len(layout.tensor_of_chunk) > 0:
        with torch.cuda.device_of(parameters[0]):
            _update_chunk[(len(layout.tensor_of_chunk),)](
                addresses,
                *layout,
                *coefficients,
                CHUNK_SIZE=CHUNK_SIZE,
                num_warps=NUM_WARPS,  # pyright: ignore[reportCallIssue]
            )
    # Autograd cannot see these writes by itself.
    torch.autograd.graph.increment_version(parameters)


class _Layout(NamedTuple):
    """Which program works where: the same every step."""

    tensor_of_chunk: Int32[Tensor, " chunks"]
    """Which tensor each program works on."""
    first_chunks: Int32[Tensor, " tensors"]
    """The first chunk of each tensor."""
    sizes: Int64[Tensor, " tensors"]
    """Numbers in each tensor."""


@lru_cache(maxsize=16)
def _layout(sizes: tuple[int, ...], chunk_size: int, device: torch.device) -> _Layout:
    num_elements = torch.tensor(sizes)
    num_chunks = (num_elements + chunk_size - 1) // chunk_size
    tensors = torch.arange(len(sizes), dtype=torch.int32)
    return _Layout(
        tensor_of_chunk=tensors.repeat_interleave(num_chunks).to(device),
        first_chunks=(num_chunks.cumsum(0) - num_chunks).to(torch.int32).to(device),
        sizes=num_elements.to(device),
    )


def _check(row: tuple[Tensor, ...], device: torch.device) -> None:
    for tensor in row:
        if not (
            tensor.dtype is torch.float32
            and tensor.device == device
            and tensor.shape == row[0].shape
            and tensor.is_contiguous()
            and not tensor.data_ptr() % ALIGNMENT
        ):
            raise ValueError(
                f"expected contiguous float32 tensors of shape {tuple(row[0].shape)} on {device}, "
                f"aligned to {ALIGNMENT} bytes, got {tensor.dtype} of shape {tuple(tensor.shape)} "
                f"and strides {tensor.stride()} on {tensor.device}"
            )


@triton.jit
@no_type_check
def _update_chunk(
    addresses,
    tensor_of_chunk,
    first_chunks,
    sizes,
    keep,
    new_m,
    beta2,
    new_v,
    eps,
    step_size,
    CHUNK_SIZE: tl.constexpr,
):
    """Update the chunk of this program; see ``update_adamw_in_one_launch``."""
    chunk = tl.program_id(0)
    tensor = tl.load(tensor_of_chunk + chunk)
    start = (chunk - tl.load(first_chunks + tensor)).to(tl.int64) * CHUNK_SIZE
    size = tl.load(sizes + tensor)
    row = addresses + 4 * tensor
    theta, g = _as_pointer(tl.load(row)), _as_pointer(tl.load(row + 1))
    m, v = _as_pointer(tl.load(row + 2)), _as_pointer(tl.load(row + 3))
    offsets = start + tl.arange(0, CHUNK_SIZE)
    # A mask that may end anywhere would keep the compiler from reading vectors.
    if start + CHUNK_SIZE <= size:
        _update(theta + offsets, g + offsets, m + offsets, v + offsets, None,
                keep, new_m, beta2, new_v, eps, step_size)  # fmt: skip
    else:
        _update(theta + offsets, g + offsets, m + offsets, v + offsets, offsets < size,
                keep, new_m, beta2, new_v, eps, step_size)  # fmt: skip


@triton.jit
@no_type_check
def _as_pointer(address):
    """Return a pointer to the numbers of a float32 tensor that is aligned to 16 bytes."""
    return tl.multiple_of(address.to(tl.pointer_type(tl.float32)), [16])


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
