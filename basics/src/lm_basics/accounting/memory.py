"""Memory of training and of inference."""

import itertools
from dataclasses import dataclass
from typing import Literal

from lm_basics.accounting.activations import ActivationBytes, StepConfig, activation_bytes
from lm_basics.accounting.parameters import count_parameters, hidden_matrices
from lm_basics.model_config import SlidingWindowAttention, TransformerConfig
from lm_basics.optim import SOAPConfig
from lm_shared.choices import check_choice

OptimizerName = Literal["sgd", "adamw", "muon", "soap"]

_FLOAT32 = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMemory:
    """Bytes of a training step."""

    weights: int
    """Parameters in float32."""
    gradients: int
    """Their gradients in float32."""
    optimizer_state: int
    """What the optimizer remembers between steps, in float32."""
    activations: ActivationBytes
    """What the forward pass keeps, copies of weights included."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer_state + self.activations.total


def training_memory(
    config: TransformerConfig,
    batch_size: int,
    sequence_length: int,
    *,
    optimizer: OptimizerName = "adamw",
    step: StepConfig | None = None,
) -> TrainingMemory:
    """Return the memory of a step on one device.

    Args:
        config: The model.
        batch_size: Sequences of a pass.
        sequence_length: Tokens of each.
        optimizer: Its kind.
        step: How the step is computed; None means the defaults.

    Raises:
        ValueError: A size is not positive, or there is no such optimizer.
    """
    parameters = count_parameters(config)
    return TrainingMemory(
        weights=_FLOAT32 * parameters,
        gradients=_FLOAT32 * parameters,
        optimizer_state=optimizer_state_bytes(config, optimizer),
        activations=activation_bytes(config, batch_size, sequence_length, step or StepConfig()),
    )


def optimizer_state_bytes(config: TransformerConfig, optimizer: OptimizerName) -> int:
    """Return what an optimizer keeps between steps, in float32.

    =========  ===========================================================================
    ``sgd``    the momentum of every parameter
    ``adamw``  two moments of every parameter
    ``muon``   the momentum of hidden matrices, AdamW's moments of the others
    ``soap``   AdamW's moments, and for each hidden ``m x n`` matrix two ``m x m`` and two
               ``n x n`` matrices: averages and eigenvectors (Vyas et al., 2024, section 5),
               but for sides above ``SOAPConfig.max_precond_dim``
    =========  ===========================================================================

    Raises:
        ValueError: There is no such optimizer.
    """
    check_choice("optimizer", optimizer, OptimizerName)
    if optimizer == "sgd":
        return _FLOAT32 * count_parameters(config)
    moments = 2 * count_parameters(config)
    if optimizer == "muon":
        moments -= sum(rows * columns for rows, columns in hidden_matrices(config))
    if optimizer == "soap":
        largest = SOAPConfig().max_precond_dim
        sides = itertools.chain.from_iterable(hidden_matrices(config))
        moments += sum(2 * side**2 for side in sides if side <= largest)
    return _FLOAT32 * moments


def kv_cache_bytes(
    config: TransformerConfig, batch_size: int, context_length: int, *, value_bytes: int = 2
) -> int:
    """Return the size of a cache of keys and values.

    Args:
        config: The model.
        batch_size: Sequences.
        context_length: Tokens of each.
        value_bytes: Size of a number; 2 is that of bfloat16.

    A layer with a sliding window needs no keys from before its window, and they are not counted.
    """
    values = 0
    for block in config.blocks():
        attention = block.attention
        is_windowed = isinstance(attention, SlidingWindowAttention)
        keys = min(attention.window, context_length) if is_windowed else context_length
        values += 2 * keys * attention.count_kv_heads() * attention.head_width(config.d_model)
    return batch_size * values * value_bytes


def largest_batch(
    config: TransformerConfig,
    sequence_length: int,
    memory_bytes: float,
    *,
    optimizer: OptimizerName = "adamw",
    step: StepConfig | None = None,
) -> int:
    """Return the most sequences of a training pass that fit into a memory; 0 if none does."""
    step = step or StepConfig()
    one = training_memory(config, 1, sequence_length, optimizer=optimizer, step=step)
    free = memory_bytes - (one.total - one.activations.total)

    def fits(batch_size: int) -> bool:
        return activation_bytes(config, batch_size, sequence_length, step).total <= free

    if not fits(1):
        return 0
    upper = 2
    while fits(upper):
        upper *= 2
    lower = upper // 2
    while upper - lower > 1:
        middle = (lower + upper) // 2
        lower, upper = (middle, upper) if fits(middle) else (lower, middle)
    return lower
