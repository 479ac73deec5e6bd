"""AdamW's step on a GPU, for many parameters at once.

The launches of many small operations cost most there. Parameters in float32 take one launch of a
Triton kernel, which reads and writes every number once; for the others, and where Triton is not
installed, each operation goes over a list of all tensors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from lm_basics.optim.adamw_update import AdamWCoefficients

Updated = tuple[Tensor, Tensor, dict[str, Any]]
"""A parameter, its gradient and its state."""

# A thread reads and writes vectors of so many bytes.
_ALIGNMENT = 16
# Operations on lists of tensors: not public, but torch's own optimizers are made of them.
_lists: Any = torch


def update_adamw_on_gpu(
    updated: Sequence[Updated], group: Mapping[str, Any], *, use_kernel: bool = True
) -> None:
    """Apply one step, in place, to parameters on GPUs whose states have been started.

    Args:
        updated: The parameters.
        group: With ``lr``, ``betas``, ``eps`` and ``weight_decay``.
        use_kernel: Whether the Triton kernel may be taken.
    """
    has_kernel = use_kernel and _has_triton()
    jobs: dict[tuple[int, torch.device | None], list[Updated]] = defaultdict(list)
    for one in updated:
        parameter, gradient, state = one
        state["step"] += 1
        tensors = (parameter, gradient, state["m"], state["v"])
        device = parameter.device if has_kernel and _is_suitable(tensors) else None
        jobs[state["step"], device].append(one)
    for (t, device), same in jobs.items():
        coefficients = AdamWCoefficients.at_step(t, group)
        if device is None:
            update_adamw_lists(same, coefficients)
        else:
            update_adamw_in_one_launch(same, coefficients)


def update_adamw_lists(updated: Sequence[Updated], coefficients: AdamWCoefficients) -> None:
    """Apply the lines of ``update_adamw``, each to a list of all tensors."""
    keep, new_m, beta2, new_v, eps, step_size = coefficients
    theta, g, states = (list(column) for column in zip(*updated, strict=True))
    m, v = [state["m"] for state in states], [state["v"] for state in states]
    _lists._foreach_mul_(theta, keep)
    _lists._foreach_lerp_(m, g, new_m)
    _lists._foreach_mul_(v, beta2)
    _lists._foreach_addcmul_(v, g, g, new_v)
    denominators = _lists._foreach_sqrt(v)
    _lists._foreach_add_(denominators, eps)
    _lists._foreach_addcdiv_(theta, m, denominators, -step_size)


def update_adamw_in_one_launch(updated: Sequence[Updated], coefficients: AdamWCoefficients) -> None:
    """Run the Triton kernel over contiguous float32 tensors of one device."""
    from lm_basics.optim.kernels.adamw_triton import (  # noqa: PLC0415 - imports Triton
        BLOCK_SIZE,
        update_adamw_blocks,
    )

    device = updated[0][0].device
    layout = _layout(tuple(p.numel() for p, _, _ in updated), BLOCK_SIZE, device)
    addresses = torch.tensor(
        [tensor.data_ptr() for p, g, state in updated for tensor in (p, g, state["m"], state["v"])],
        dtype=torch.int64,
    )
    if device.type == "cuda":
        # From pinned memory the copy waits for nothing.
        addresses = addresses.pin_memory().to(device, non_blocking=True)
    if num_blocks := len(layout.tensor_of_block):
        with torch.cuda.device(device if device.type == "cuda" else -1):
            update_adamw_blocks[(num_blocks,)](addresses, *layout, *coefficients)
    # Autograd cannot see these writes by itself.
    torch.autograd.graph.increment_version([p for p, _, _ in updated])


class _Layout(NamedTuple):
    """Which block of threads works where: the same every step."""

    tensor_of_block: Int32[Tensor, " blocks"]
    first_blocks: Int32[Tensor, " tensors"]
    sizes: Int64[Tensor, " tensors"]


@lru_cache(maxsize=16)
def _layout(sizes: tuple[int, ...], block_size: int, device: torch.device) -> _Layout:
    num_elements = torch.tensor(sizes)
    num_blocks = (num_elements + block_size - 1) // block_size
    return _Layout(
        tensor_of_block=torch.arange(len(sizes), dtype=torch.int32)
        .repeat_interleave(num_blocks)
        .to(device),
        first_blocks=(num_blocks.cumsum(0) - num_blocks).to(torch.int32).to(device),
        sizes=num_elements.to(device),
    )


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    try:
        import triton  # noqa: F401, PLC0415 - missing where torch comes without it
    except ImportError:
        return False
    return True


def _is_suitable(tensors: Sequence[Tensor]) -> bool:
    """Tell whether the kernel may run through the memory."""
    shape = tensors[0].shape
    return all(
        tensor.dtype is torch.float32
        and tensor.is_contiguous()
        and tensor.shape == shape
        and tensor.data_ptr() % _ALIGNMENT == 0
        for tensor in tensors
    )
