"""Everything that a model costs, in one record; and such numbers in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lm_basics.accounting.cost import (
    InferenceCost,
    TrainingBudget,
    TrainingCost,
    inference_cost,
    training_cost,
)
from lm_basics.accounting.counts import (
    ForwardFlops,
    ParameterCounts,
    count_parameters,
    forward_flops,
    parameter_counts,
)
from lm_basics.accounting.memory import (
    AttentionKind,
    OptimizerName,
    StepConfig,
    TrainingMemory,
    largest_batch,
    training_memory,
)
from lm_basics.model_config import TransformerConfig
from lm_shared.config import check_choice
from lm_shared.devices import Device, MatmulDtype, find_device

_DECIMAL = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DURATIONS = ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes"))


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountConfig:
    """What is done with a model."""

    context: int | None = None
    """Tokens of a sequence; None means the model's context length."""
    batch_size: int = 1
    """Sequences of a step on each device."""
    device: str = "h100"
    """a100, h100, h100-pcie, h100-nvl, h200, gh200, b200, l40s, l4, or cpu: this machine, which is
    measured."""
    num_devices: int = 1
    """Devices that share a step; each has a copy of everything."""
    mfu: float = 0.4
    """Share of the peak that training and the reading of prompts reach."""
    num_tokens: float = 1e12
    """Tokens that the model is trained on."""
    dtype: Literal["auto", "float32", "tfloat32", "bfloat16"] = "auto"
    """Type of the matrix products in training: bfloat16 means autocast, and auto means bfloat16
    but on a CPU that has no instructions for it."""
    optimizer: OptimizerName = "adamw"
    """Whose state is kept between steps."""
    attention: AttentionKind = "reference"
    """Whether attention keeps its scores, or is a fused kernel that does not."""
    checkpoint_blocks: bool = False
    """Whether blocks are computed again in the backward pass."""
    dollars_per_hour: float | None = None
    """Price of one device; without it no money is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What one model costs."""

    name: str
    """What the model was called."""
    model: TransformerConfig
    """The model."""
    options: AccountConfig
    """What is done with it."""
    sequence_length: int
    """Tokens of a sequence."""
    device_name: str
    """The device in words."""
    device_memory_bytes: float
    """Its memory."""
    parameters: ParameterCounts
    """Parameters by component."""
    active_parameters: int
    """Those that a token goes through; fewer than all where there are experts."""
    dtype: MatmulDtype
    """Type of the matrix products in training."""
    forward: ForwardFlops
    """FLOPs of one sequence's forward pass."""
    memory: TrainingMemory
    """Memory of a step on each device."""
    largest_batch: int
    """Sequences that fit into the device; 0 if not even one does."""
    least_devices: int
    """Devices over which weights, gradients and optimizer state have to be spread to fit."""
    training: TrainingCost
    """Time and price of the training."""
    inference_dtype: MatmulDtype
    """Type of weights and cache without training: bfloat16, or float32 on a CPU that trains in it.
    """
    inference: InferenceCost
    """Speed of reading and writing."""


def account_for(name: str, model: TransformerConfig, options: AccountConfig) -> Account:
    """Work out everything about a model.

    Raises:
        ValueError: A number makes no sense, or there is no such device.
    """
    length = model.context_length if options.context is None else options.context
    if length <= 0:
        raise ValueError(f"context must be positive, got {length}")
    is_cpu = options.device.lower() == "cpu"
    dtype = _resolve_dtype(options.dtype, is_cpu=is_cpu)
    budget = TrainingBudget(
        tokens=options.num_tokens,
        batch_size=options.batch_size * options.num_devices,
        sequence_length=length,
        mfu=options.mfu,
        num_devices=options.num_devices,
        dtype=dtype,
        dollars_per_hour=options.dollars_per_hour,
    )
    device = _this_cpu() if is_cpu else find_device(options.device)
    step = StepConfig(
        dtype="bfloat16" if dtype == "bfloat16" else "float32",
        attention=options.attention,
        checkpoint_blocks=options.checkpoint_blocks,
        autocast_device="cpu" if is_cpu else "cuda",
    )
    inference_dtype: MatmulDtype = "float32" if is_cpu and dtype == "float32" else "bfloat16"
    memory = training_memory(
        model, options.batch_size, length, optimizer=options.optimizer, step=step
    )
    state = memory.total - memory.activations.total
    return Account(
        name=name,
        model=model,
        options=options,
        sequence_length=length,
        device_name=device.name,
        device_memory_bytes=device.memory_bytes,
        parameters=parameter_counts(model),
        active_parameters=count_parameters(model, active=True),
        dtype=dtype,
        forward=forward_flops(model, length),
        memory=memory,
        largest_batch=largest_batch(
            model, length, device.memory_bytes, optimizer=options.optimizer, step=step
        ),
        least_devices=math.ceil(state / device.memory_bytes),
        training=training_cost(model, budget, device),
        inference_dtype=inference_dtype,
        inference=inference_cost(
            model,
            options.batch_size,
            length,
            device,
            mfu=options.mfu,
            dtype=inference_dtype,
            value_bytes=4 if inference_dtype == "float32" else 2,
        ),
    )


def _resolve_dtype(name: MatmulDtype | Literal["auto"], *, is_cpu: bool) -> MatmulDtype:
    """Return the type that ``auto`` stands for, which on a CPU is what ``basics train`` takes."""
    if name != "auto":
        check_choice("dtype", name, MatmulDtype)
        return name
    if not is_cpu:
        return "bfloat16"
    # Only a question about this machine needs torch.
    import torch  # noqa: PLC0415

    from lm_shared.tensors import choose_dtype  # noqa: PLC0415

    has_fast = choose_dtype("auto", torch.device("cpu")) == torch.bfloat16
    return "bfloat16" if has_fast else "float32"


def _this_cpu() -> Device:
    from lm_basics.peak_flops import measure_cpu  # noqa: PLC0415 - it needs torch

    return measure_cpu()


def in_bytes(number: float) -> str:
    """Return ``26.2 GB``; a gigabyte is 1e9 bytes."""
    return f"{_scaled(number, _DECIMAL)}B"


def in_flops(number: float) -> str:
    """Return ``3.517e+12``, as papers write it."""
    return f"{number:.4g}" if number < 1e6 else f"{number:.3e}"


def in_count(number: float) -> str:
    """Return ``1.64 billion``."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.4g} {word}"
    return f"{number:,.4g}" if number < 1000 else f"{number:,.0f}"


def in_time(seconds: float) -> str:
    """Return ``202 days`` or ``31.2 ms``."""
    for size, word in _DURATIONS:
        if seconds >= 2 * size:
            return f"{seconds / size:,.4g} {word}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _scaled(number: float, units: Sequence[tuple[float, str]]) -> str:
    for size, letter in units:
        if number >= size:
            return f"{number / size:.3g} {letter}" if number < 1e18 else f"{number / size:,.0f} P"
    return f"{number:.0f} "
