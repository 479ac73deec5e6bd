"""What the forward pass keeps for the backward pass.

The formulas follow the reference operations line by line: a tensor counts once, however many
operations keep it, and not at all if the backward pass does without it. With ``n`` tokens, an
RMSNorm keeps its input, the normalized input and a root per token; a softmax its input, the
exponentials, and the weights that are multiplied by the values; SwiGLU five tensors of ``n d_ff``.

Under autocast the residual stream stays in float32 and products read bfloat16: every product keeps
its own copy of a float32 input, and a copy of its weight.

The working memory of single operations comes on top of that; the largest is the gradient of the
logits, as large as they are.
"""

from dataclasses import dataclass, fields
from typing import Literal

from lm_basics.accounting.parameters import attention_matrices, feedforward_matrices
from lm_basics.model_config import (
    Activation,
    BlockConfig,
    FeedForward,
    MixtureOfExpertsConfig,
    MLPConfig,
    RopeConfig,
    SwiGLUConfig,
    TransformerConfig,
)
from lm_shared.choices import check_choice

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
