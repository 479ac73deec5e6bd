"""Memory of training and of inference.

What the forward pass keeps for the backward pass follows the reference operations line by line: a
tensor counts once, however many operations keep it, and not at all if the backward pass does
without it. With ``n`` tokens, an RMSNorm keeps its input, the normalized input and a root per
token; a softmax its input, the exponentials, and the weights that are multiplied by the values;
SwiGLU five tensors of ``n d_ff``.

Under autocast the residual stream stays in float32 and products read bfloat16: every product keeps
its own copy of a float32 input, and a copy of its weight.

The working memory of single operations comes on top of that; the largest is the gradient of the
logits, as large as they are.
"""

import itertools
from dataclasses import dataclass, fields
from typing import Literal

from lm_basics.accounting.counts import (
    attention_matrices,
    count_parameters,
    feedforward_matrices,
    hidden_matrices,
)
from lm_basics.model_config import (
    Activation,
    BlockConfig,
    FeedForward,
    MixtureOfExpertsConfig,
    MLPConfig,
    RopeConfig,
    SlidingWindowAttention,
    SwiGLUConfig,
    TransformerConfig,
)
from lm_basics.optim import SOAPConfig
from lm_shared.config import check_choice

OptimizerName = Literal["sgd", "adamw", "muon", "soap"]
StepDtype = Literal["float32", "bfloat16"]
AttentionKind = Literal["reference", "fused"]
AutocastDevice = Literal["cpu", "cuda"]

_FLOAT32, _INT64 = 4, 8
_SWIGLU_TENSORS = 5
# What each activation keeps of n x d_ff, the input of the second matrix included.
_MLP_TENSORS: dict[Activation, int] = {"silu": 3, "gelu": 4, "relu_squared": 3}


@dataclass(frozen=True, kw_only=True, slots=True)
class StepConfig:
    """How a training step is computed."""

    dtype: StepDtype = "bfloat16"
    """Type of the matrix products; bfloat16 means autocast, the parameters stay float32."""
    attention: AttentionKind = "reference"
    """``fused`` keeps queries, keys, values, output and one number per query, and no scores."""
    checkpoint_blocks: bool = False
    """Whether only the inputs of blocks are kept, and each block computed again."""
    autocast_device: AutocastDevice = "cpu"
    """Whose autocast: that of CUDA computes exponentials and squares in float32."""

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, StepDtype)
        check_choice("attention", self.attention, AttentionKind)
        check_choice("autocast_device", self.autocast_device, AutocastDevice)

    @property
    def product_bytes(self) -> int:
        """Bytes of a number that comes out of a matrix product."""
        return 4 if self.dtype == "float32" else 2

    @property
    def power_bytes(self) -> int:
        """Bytes of exponentials and squares of what comes out of a product."""
        return 4 if self.autocast_device == "cuda" else self.product_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivationBytes:
    """Bytes that are kept for the backward pass, by component."""

    block_inputs: int
    """Residual stream between checkpointed blocks; 0 without checkpoints."""
    norms: int
    """Inputs of the norms of blocks, their normalized inputs, and roots."""
    qkv: int
    """Inputs of the projections, and queries, keys and values as attention reads them."""
    attention: int
    """Mask, scores, exponentials and weights; of a fused kernel, its output and row sums."""
    output: int
    """Inputs of the projections back from the heads."""
    feedforward: int
    """Inputs and inner tensors of feed-forward layers and routers."""
    weight_copies: int
    """bfloat16 copies of the blocks' matrices."""
    head: int
    """Token ids, final norm, logits and loss, and the copy of the head's matrix."""

    @property
    def total(self) -> int:
        """Most bytes at a time.

        With checkpoints the other components are those of the largest block, which is computed
        again when the head's part has been released.
        """
        everything = sum(getattr(self, field.name) for field in fields(self))
        if not self.block_inputs:
            return everything
        return self.block_inputs + max(self.head, everything - self.head - self.block_inputs)


def activation_bytes(
    config: TransformerConfig, batch_size: int, sequence_length: int, step: StepConfig
) -> ActivationBytes:
    """Return what one training step keeps, the parameters left out.

    Args:
        config: The model.
        batch_size: Sequences.
        sequence_length: Tokens of each.
        step: How it is computed.

    Raises:
        ValueError: A size is not positive.
    """
    if batch_size <= 0 or sequence_length <= 0:
        raise ValueError(
            f"batch_size={batch_size} and sequence_length={sequence_length} must be positive"
        )
    layers = _Layers(config, batch_size, sequence_length, step)
    distinct = [layers.block(block) for block in config.pattern]
    blocks = [distinct[i % len(distinct)] for i in range(config.num_layers)]
    if step.checkpoint_blocks:
        inputs = config.num_layers * layers.tokens * config.d_model * _FLOAT32
        kept = max(blocks, key=lambda block: sum(block.values()))
    else:
        inputs = 0
        kept = {name: sum(block[name] for block in blocks) for name in blocks[0]}
    return ActivationBytes(block_inputs=inputs, head=layers.head(), **kept)


class _Layers:
    """The parts of a model for one size of the batch."""

    def __init__(
        self, config: TransformerConfig, batch_size: int, sequence_length: int, step: StepConfig
    ) -> None:
        self.config, self.step = config, step
        self.batch_size, self.sequence_length = batch_size, sequence_length
        self.tokens = batch_size * sequence_length
        self.is_mixed = step.dtype != "float32"

    def block(self, block: BlockConfig) -> dict[str, int]:
        """Return the bytes of one block by component."""
        n, d_model, width = self.tokens, self.config.d_model, self.step.product_bytes
        heads = block.attention.num_heads * block.attention.head_width(d_model)
        matrices = [
            *attention_matrices(self.config, block),
            *feedforward_matrices(d_model, block.feedforward),
        ]
        copies = 2 * sum(rows * columns for rows, columns in matrices)
        return {
            "norms": 0 if block.norm == "none" else 2 * self._norm(d_model),
            "qkv": self._product_inputs(n, num_products=3) + self._queries_keys_values(block),
            "attention": self._scores(block),
            "output": n * heads * width,
            "feedforward": self._feedforward(block.feedforward),
            "weight_copies": copies if self.is_mixed else 0,
        }

    def head(self) -> int:
        """Return the bytes from the last block to the loss, and those of the token ids."""
        n, config = self.tokens, self.config
        norm = self._norm(config.d_model) if config.final_norm else 0
        copy = 2 * config.vocab_size * config.d_model if self.is_mixed else 0
        logits = n * config.vocab_size * _FLOAT32
        # The chosen logit's place, whether it counts, the normalizer; how many count.
        loss = n * (_INT64 + 1 + _FLOAT32) + _INT64
        return n * _INT64 + norm + self._product_inputs(n, num_products=1) + copy + logits + loss

    def _norm(self, width: int, vectors_per_token: int = 1) -> int:
        return self.tokens * vectors_per_token * (2 * width + 1) * _FLOAT32

    def _product_inputs(self, rows: int, *, num_products: int) -> int:
        """Return the bytes of a float32 tensor that several products read."""
        size = rows * self.config.d_model
        return num_products * size * 2 if self.is_mixed else size * _FLOAT32

    def _queries_keys_values(self, block: BlockConfig) -> int:
        attention = block.attention
        heads, kv_heads = attention.num_heads, attention.count_kv_heads()
        d_head = attention.head_width(self.config.d_model)
        # The reference repeats keys and values for each query head of a group.
        num_vectors = heads + 2 * kv_heads if self.step.attention == "fused" else 3 * heads
        norms = self._norm(d_head, heads + kv_heads) if attention.qk_norm else 0
        return self.tokens * num_vectors * d_head * self.step.product_bytes + norms

    def _scores(self, block: BlockConfig) -> int:
        rows = self.tokens * block.attention.num_heads
        width, power = self.step.product_bytes, self.step.power_bytes
        if self.step.attention == "fused":
            # Rotated queries lie head by head; the output does as well, and is copied to be
            # projected. Without a rotation that copy is not needed.
            d_head = block.attention.head_width(self.config.d_model)
            is_copied = isinstance(block.attention.position, RopeConfig)
            return rows * (_FLOAT32 + (d_head * width if is_copied else 0))
        mask = self.tokens * self.sequence_length
        # Each row has its maximum and its sum beside scores, exponentials and weights.
        scores = rows * (self.sequence_length + 1) * width
        exponentials = rows * (self.sequence_length + 1) * power
        return mask + scores + exponentials + rows * self.sequence_length * width

    def _feedforward(self, layer: FeedForward) -> int:
        if isinstance(layer, MixtureOfExpertsConfig):
            return self._experts(layer)
        return self._inner_layer(layer, self.tokens)

    def _inner_layer(self, layer: SwiGLUConfig | MLPConfig, rows: int) -> int:
        is_gated = isinstance(layer, SwiGLUConfig)
        num_tensors = _SWIGLU_TENSORS if is_gated else _MLP_TENSORS[layer.activation]
        inner = num_tensors * rows * layer.d_ff * self.step.product_bytes
        if not is_gated and layer.activation == "relu_squared":
            # What is squared.
            inner += rows * layer.d_ff * (self.step.power_bytes - self.step.product_bytes)
        return self._product_inputs(rows, num_products=2 if is_gated else 1) + inner

    def _experts(self, layer: MixtureOfExpertsConfig) -> int:
        n, assignments = self.tokens, self.tokens * layer.num_active
        # Logits and exponentials with their maximum and sum; the balance loss keeps the shares.
        router = (2 * n * (layer.num_experts + 1) + layer.num_experts) * _FLOAT32
        # The chosen experts' numbers and scores, and the sum of these.
        chosen = assignments * (_INT64 + _FLOAT32) + n * _FLOAT32
        # For each assignment its row, place and weight, its output before and after weighting.
        output = self.config.d_model * (self.step.product_bytes + _FLOAT32)
        outputs = assignments * (2 * _INT64 + _FLOAT32 + output)
        inputs = self._product_inputs(n, num_products=1)
        return inputs + router + chosen + outputs + self._inner_layer(layer.expert, assignments)


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
