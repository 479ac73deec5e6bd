"""One step of AdamW for many parameters, with less traffic to memory than one after the other.

On a CPU the plain update passes over the numbers seven times, and memory is what it waits for: a
compiled loop that passes once takes a third of the time. What GPUs need is in ``adamw_gpu``.

Which way a parameter takes depends on its device, type and layout and on the size of the whole,
never on time, so that a resumed run takes the same. All ways agree up to rounding.
"""

import logging
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lm_basics.optim.adamw_gpu import Updated, update_adamw_on_gpu
from lm_basics.optim.adamw_update import AdamWCoefficients, start_state, update_adamw
from lm_basics.optim.kernels import KERNELS, adamw_kernel
from lm_shared.machine_code import MachineCodeError, address_of
from lm_shared.torch_threads import run_on_torch_threads

Implementation = Literal["auto", "fast", "reference"]
"""``auto`` takes the compiled loop where there is enough work, if it works on this computer."""

Group = Mapping[str, Any]
States = MutableMapping[Tensor, dict[str, Any]]

logger = logging.getLogger(__name__)

# Compiling takes seconds, once on a computer; from this size on a thousand steps win them back.
_WORTH_COMPILING = 1 << 20
# Other threads begin in the time in which this many numbers are updated, about.
_WORTH_SHARING = 1 << 17
_FLOAT32_BYTES = 4


def update_adamw_groups(
    groups: Sequence[Group], states: States, implementation: Implementation = "auto"
) -> None:
    """Apply one step, in place, to every parameter that has a gradient.

    Args:
        groups: With ``params``, ``lr``, ``betas``, ``eps`` and ``weight_decay``.
        states: Of each parameter; created on first use.
        implementation: The way to take.

    Raises:
        MachineCodeError: ``implementation`` is ``"fast"`` and the loop cannot be compiled here.
    """
    is_compiled = _is_worth_it(groups, implementation) and _load(is_wanted=implementation == "fast")
    jobs: list[_Job] = []
    all_coefficients = [_Coefficients(group) for group in groups]
    for group, coefficients in zip(groups, all_coefficients, strict=True):
        on_gpu: list[Updated] = []
        for parameter in group["params"]:
            if (gradient := parameter.grad) is None:
                continue
            state = states[parameter]
            start_state(parameter, state)
            if is_compiled and _is_suitable(parameter, gradient, state):
                jobs.append(_prepare(parameter, gradient, state, coefficients))
            elif parameter.is_cuda and implementation != "reference":
                on_gpu.append((parameter, gradient, state))
            else:
                update_adamw(parameter, gradient, state, group)
        update_adamw_on_gpu(on_gpu, group)
    if jobs:
        _run(jobs)


class _Job(NamedTuple):
    """One parameter's step, for the compiled loop."""

    parameter: Tensor
    addresses: tuple[int, int, int, int]
    coefficients: int
    """Their address."""


class _Coefficients:
    """The numbers of the compiled loop for a group, whose parameters are mostly at one step."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._arrays: dict[int, tuple[NDArray[np.float32], int]] = {}

    def at_step(self, t: int) -> int:
        """Return the address of those of step ``t``; it is good as long as this object lives."""
        if t not in self._arrays:
            array = np.array(AdamWCoefficients.at_step(t, self._group), dtype=np.float32)
            self._arrays[t] = array, address_of(array)
        return self._arrays[t][1]


def _is_worth_it(groups: Iterable[Group], implementation: Implementation) -> bool:
    """Tell whether to load the compiled loop, whichever parameters have a gradient this time."""
    if implementation != "auto":
        return implementation == "fast"
    sizes = (p.numel() for group in groups for p in group["params"] if p.device.type == "cpu")
    return sum(sizes) >= _WORTH_COMPILING


def _load(*, is_wanted: bool) -> bool:
    """Load or compile the loop and tell whether it is there."""
    try:
        KERNELS.load()
    except MachineCodeError as error:
        if is_wanted:
            raise
        _warn_once(f"AdamW takes several passes over the memory, which is slower: {error}")
        return False
    return True


@lru_cache(maxsize=1)
def _warn_once(message: str) -> None:
    logger.warning(message)


def _is_suitable(parameter: Tensor, gradient: Tensor, state: Mapping[str, Any]) -> bool:
    """Tell whether the loop may run through the memory; a wrong shape is the plain path's error."""
    shape = parameter.shape
    # Written out: these few microseconds, for every parameter, are a noticeable part of a step.
    for tensor in (parameter, gradient, state["m"], state["v"]):
        if not (
            tensor.dtype is torch.float32
            and tensor.is_cpu
            and tensor.is_contiguous()
            and tensor.shape == shape
        ):
            return False
    return True


def _prepare(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], coefficients: _Coefficients
) -> _Job:
    state["step"] += 1
    return _Job(
        parameter,
        (
            parameter.data_ptr(),
            gradient.data_ptr(),
            state["m"].data_ptr(),
            state["v"].data_ptr(),
        ),
        coefficients.at_step(state["step"]),
    )


def _run(jobs: Sequence[_Job]) -> None:
    """Run the compiled loop on as many threads as torch's own operations use."""
    update = adamw_kernel()
    total = sum(job.parameter.numel() for job in jobs)
    num_shares = torch.get_num_threads() if total >= _WORTH_SHARING else 1

    def run_share(index: int) -> None:
        for parameter, (theta, g, m, v), coefficients in jobs:
            size = parameter.numel()
            start, end = size * index // num_shares, size * (index + 1) // num_shares
            skip = start * _FLOAT32_BYTES
            update(theta + skip, g + skip, m + skip, v + skip, end - start, coefficients)

    run_on_torch_threads(run_share, num_shares)
    # Autograd cannot see these writes by itself.
    torch.autograd.graph.increment_version([job.parameter for job in jobs])
