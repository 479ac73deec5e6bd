"""Time and money of training, and speed of inference, from a device's peak rates.

Training and the reading of a prompt (*prefill*) are bound by arithmetic: the peak times the model
FLOPs utilization (MFU; Chowdhery et al., 2022, appendix B). The writing of tokens (*decoding*) is
bound by memory: every step reads all weights and the whole cache once.
"""

import math
from dataclasses import dataclass

from lm_basics.accounting.counts import (
    count_parameters,
    decode_flops,
    feedforward_matrices,
    forward_flops_per_token,
    training_flops_per_sequence,
)
from lm_basics.accounting.memory import kv_cache_bytes
from lm_basics.model_config import MixtureOfExpertsConfig, TransformerConfig
from lm_shared.devices import Device, MatmulDtype

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingBudget:
    """How much is trained, on what."""

    tokens: float
    """Tokens in all."""
    batch_size: int
    """Sequences of a step, on all devices together."""
    sequence_length: int
    """Tokens of a sequence."""
    mfu: float = 0.4
    """Share of the peak that the model's own FLOPs reach."""
    num_devices: int = 1
    """Devices that share every step."""
    dtype: MatmulDtype = "bfloat16"
    """Type of the matrix products."""
    dollars_per_hour: float | None = None
    """Price of one device; None leaves the money out."""

    def __post_init__(self) -> None:
        # The devices first: a batch is often their number times something.
        for name in ("num_devices", "tokens", "batch_size", "sequence_length"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not 0 < self.mfu <= 1:
            raise ValueError(f"mfu must lie in (0, 1], got {self.mfu}")
        price = self.dollars_per_hour
        if price is not None and not 0 <= price < math.inf:
            raise ValueError(f"dollars_per_hour must be finite and not negative, got {price}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingCost:
    """What a budget of tokens takes."""

    flops: float
    """FLOPs of the matrix products, forward and backward."""
    step_s: float
    """Seconds of a step."""
    tokens_per_s: float
    """Tokens of all devices together."""
    steps: float
    """Optimizer steps."""
    elapsed_s: float
    """Seconds in all."""
    device_hours: float
    """Hours of all devices together."""
    dollars: float | None
    """Price of these, where one is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceCost:
    """How fast one device reads and writes."""

    prefill_tokens_per_s: float
    """Tokens of a prompt read, bound by arithmetic."""
    decode_step_s: float
    """Seconds of a step that writes one token of every sequence."""
    decode_tokens_per_s: float
    """Tokens written, of the whole batch."""
    is_memory_bound: bool
    """Whether decoding waits for the memory and not for arithmetic."""
    weight_bytes: int
    """Size of the weights."""
    cache_bytes_per_sequence: int
    """Keys and values of one sequence."""
    largest_batch: int
    """Sequences whose keys and values fit beside the weights; 0 if the weights alone do not."""


def training_cost(
    config: TransformerConfig, budget: TrainingBudget, device: Device
) -> TrainingCost:
    """Return the time and the price of a training.

    The time of the optimizer and of communication are in the MFU.

    Raises:
        ValueError: The device has no rate for the budget's type.
    """
    length = budget.sequence_length
    flops_per_token = training_flops_per_sequence(config, length) / length
    rate = budget.num_devices * budget.mfu * device.peak(budget.dtype)
    step_tokens = budget.batch_size * length
    elapsed_s = budget.tokens * flops_per_token / rate
    device_hours = budget.num_devices * elapsed_s / _SECONDS_PER_HOUR
    price = budget.dollars_per_hour
    return TrainingCost(
        flops=budget.tokens * flops_per_token,
        step_s=step_tokens * flops_per_token / rate,
        tokens_per_s=rate / flops_per_token,
        steps=budget.tokens / step_tokens,
        elapsed_s=elapsed_s,
        device_hours=device_hours,
        dollars=None if price is None else price * device_hours,
    )


def inference_cost(
    config: TransformerConfig,
    batch_size: int,
    context_length: int,
    device: Device,
    *,
    mfu: float = 0.4,
    dtype: MatmulDtype = "bfloat16",
    value_bytes: int = 2,
) -> InferenceCost:
    """Return the speed of one device; it is an upper bound as far as memory is concerned.

    Args:
        config: The model.
        batch_size: Sequences that are written at once.
        context_length: Tokens of a prompt, and those that a step attends to.
        device: Where.
        mfu: Share of the peak that the products reach.
        dtype: Type of the products.
        value_bytes: Size of a number in weights and cache; 2 is that of bfloat16.

    Raises:
        ValueError: A size is not positive, or the device has no rate for ``dtype``.
    """
    if batch_size <= 0 or not 0 < mfu <= 1:
        raise ValueError(
            f"expected a positive batch_size and mfu in (0, 1], got {batch_size}, {mfu}"
        )
    rate = mfu * device.peak(dtype)
    weight_bytes = value_bytes * count_parameters(config)
    cache = kv_cache_bytes(config, 1, context_length, value_bytes=value_bytes)
    read_bytes = value_bytes * _parameters_read(config, batch_size) + batch_size * cache
    memory_s = read_bytes / device.bytes_per_s
    arithmetic_s = batch_size * decode_flops(config, context_length).total / rate
    step_s = max(memory_s, arithmetic_s)
    return InferenceCost(
        prefill_tokens_per_s=rate / forward_flops_per_token(config, context_length),
        decode_step_s=step_s,
        decode_tokens_per_s=batch_size / step_s,
        is_memory_bound=memory_s >= arithmetic_s,
        weight_bytes=weight_bytes,
        cache_bytes_per_sequence=cache,
        largest_batch=max(0, int((device.memory_bytes - weight_bytes) // cache)),
    )


def _parameters_read(config: TransformerConfig, batch_size: int) -> float:
    """Return the parameters that a decoding step reads.

    Of the embedding it reads a row per sequence; of experts, those that any sequence goes to: when
    each takes ``k`` of ``E`` at random, ``E (1 - (1 - k/E)^batch)`` are expected.
    """
    table = config.vocab_size * config.d_model
    total: float = count_parameters(config)
    if not config.tie_embeddings:
        total += batch_size * config.d_model - table
    for block in config.blocks():
        layer = block.feedforward
        if isinstance(layer, MixtureOfExpertsConfig):
            idle = (1 - layer.num_active / layer.num_experts) ** batch_size
            expert = feedforward_matrices(config.d_model, layer.expert)
            total -= idle * layer.num_experts * sum(rows * columns for rows, columns in expert)
    return total
