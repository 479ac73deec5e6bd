"""AdamW's step on a GPU, for many parameters at once.

The launches of many small operations cost most there. Parameters in float32 take one launch of a
Triton kernel, which reads and writes every number once; for the others, and where Triton cannot
be used, each operation goes over a list of all tensors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from lm_basics.optim.adamw_update import AdamWCoefficients
from lm_shared.tensors import has_triton

Updated = tuple[Tensor, Tensor, dict[str, Any]]
"""A parameter, its gradient and its state."""

# A thread reads and writes vectors of so many bytes.
_ALIGNMENT = 16
# Operations on lists of tensors: not public, but torch's own optimizers are made of them.
_lists: Any = torch


def update_adamw_on_gpu(updated: Sequence[Updated], group: Mapping[str, Any]) -> None:
    """Apply one step, in place, to parameters on GPUs whose states have been started.

    Args:
        updated: The parameters.
        group: With ``lr``, ``betas``, ``eps`` and ``weight_decay``.
    """
    jobs: dict[tuple[int, torch.device | None], list[Updated]] = defaultdict(list)
    for one in updated:
        parameter, gradient, state = one
        state["step"] += 1
        is_suitable = _is_suitable(parameter, gradient, state["m"], state["v"])
        jobs[state["step"], parameter.device if is_suitable else None].append(one)
    for (t, device), same in jobs.items():
        coefficients = AdamWCoefficients.at_step(t, group)
        if device is None or not has_triton():
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
        CHUNK_SIZE,
        update_adamw_chunks,
    )

    parameters = [parameter for parameter, _, _ in updated]
    device = parameters[0].device
    layout = _layout(tuple(map(Tensor.numel, parameters)), CHUNK_SIZE, device)
    addresses = torch.tensor(
        [
            tensor.data_ptr()
            for parameter, gradient, state in updated
            for tensor in (parameter, gradient, state["m"], state["v"])
        ],
        dtype=torch.int64,
    )
    if device.type == "cuda":
        # From pinned memory the copy waits for nothing.
        addresses = addresses.pin_memory().to(device, non_blocking=True)
    if len(layout.tensor_of_chunk) > 0:
        with torch.cuda.device_of(parameters[0]):
            update_adamw_chunks(addresses, *layout, coefficients)
    # Autograd cannot see these writes by itself.
    torch.autograd.graph.increment_version(parameters)


class _Layout(NamedTuple):
    """Which program works where: the same every step."""

    tensor_of_chunk: Int32[Tensor, " chunks"]
    first_chunks: Int32[Tensor, " tensors"]
    sizes: Int64[Tensor, " tensors"]


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


def _is_suitable(parameter: Tensor, gradient: Tensor, m: Tensor, v: Tensor) -> bool:
    """Tell whether the kernel may run through the memory."""
    # One expression: these microseconds, for every parameter, are a noticeable part of a step.
    return (
        parameter.dtype is gradient.dtype is m.dtype is v.dtype is torch.float32
        and parameter.device == gradient.device == m.device == v.device
        and parameter.shape == gradient.shape == m.shape == v.shape
        and parameter.is_contiguous()
        and gradient.is_contiguous()
        and m.is_contiguous()
        and v.is_contiguous()
        and not (parameter.data_ptr() | gradient.data_ptr() | m.data_ptr() | v.data_ptr())
        % _ALIGNMENT
    )
