"""The shape of a transformer as plain values.

Each alternative is one small dataclass; a layer pattern composes them, so hybrids need no flags.
"""

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeConfig:
    """Rotary position embedding (Su et al., 2021), applied to queries and keys."""

    theta: float = 10_000.0
    """Base of the geometric series of wavelengths, in positions."""

    def __post_init__(self) -> None:
        if self.theta <= 0:
            raise ValueError(f"rope theta must be positive, got {self.theta}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NoPosition:
    """Queries and keys know no positions (NoPE, Kazemnejad et al., 2023): the causal mask tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SinusoidalConfig:
    """Sines and cosines added to the token embeddings (Vaswani et al., 2017)."""

    theta: float = 10_000.0
    """Base of the geometric series of wavelengths, in positions."""

    def __post_init__(self) -> None:
        if self.theta <= 0:
            raise ValueError(f"sinusoidal theta must be positive, got {self.theta}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FullAttention:
    """Causal attention over the whole context, with as many key-value heads as wanted."""

    num_heads: int
    """Query heads."""
    num_kv_heads: int | None = None
    """Key-value heads, each shared by a group of query heads; None means one per query head."""
    d_head: int | None = None
    """Width of a head; None means ``d_model / num_heads``."""
    qk_norm: bool = False
    """Whether queries and keys are RMS-normalized per head before the rotation, as in Qwen3."""
    position: RopeConfig | NoPosition = field(default_factory=RopeConfig)
    """How positions enter."""

    def __post_init__(self) -> None:
        if self.num_heads <= 0:
            raise ValueError(f"num_heads must be positive, got {self.num_heads}")
        if self.num_kv_heads is not None and (
            self.num_kv_heads <= 0 or self.num_heads % self.num_kv_heads
        ):
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}"
            )
        if self.d_head is not None and self.d_head <= 0:
            raise ValueError(f"d_head must be positive, got {self.d_head}")

    def count_kv_heads(self) -> int:
        """Return the number of key-value heads, resolved."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    def head_width(self, d_model: int) -> int:
        """Return the width of a head, resolved.

        Raises:
            ValueError: The heads do not divide ``d_model``, or RoPE would rotate an odd width.
        """
        if self.d_head is None and d_model % self.num_heads:
            raise ValueError(f"d_model={d_model} is not divisible by num_heads={self.num_heads}")
        d_head = self.d_head or d_model // self.num_heads
        if isinstance(self.position, RopeConfig) and d_head % 2:
            raise ValueError(f"RoPE rotates pairs: d_head={d_head} must be even")
        return d_head


@dataclass(frozen=True, kw_only=True, slots=True)
class SlidingWindowAttention(FullAttention):
    """Causal attention to the nearest keys alone (Child et al., 2019; Mistral)."""

    window: int
    """Keys that a query sees, its own included."""

    def __post_init__(self) -> None:
        FullAttention.__post_init__(self)
        if self.window <= 0:
            raise ValueError(f"window must be positive, got {self.window}")


Attention = FullAttention | SlidingWindowAttention


@dataclass(frozen=True, kw_only=True, slots=True)
class SwiGLUConfig:
    """Gated feed-forward layer with a SiLU gate (Shazeer, 2020)."""

    d_ff: int
    """Width of the gate; about 8/3 of ``d_model`` gives the parameters of an ungated layer of 4."""

    def __post_init__(self) -> None:
        if self.d_ff <= 0:
            raise ValueError(f"d_ff must be positive, got {self.d_ff}")


Activation = Literal["silu", "gelu", "relu_squared"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig:
    """Feed-forward layer without a gate, ``W2 activation(W1 x)``."""

    d_ff: int
    """Width between the two matrices, usually 4 times ``d_model``."""
    activation: Activation = "silu"
    """GELU is the exact one (Hendrycks & Gimpel, 2016); squared ReLU is So et al., 2021."""

    def __post_init__(self) -> None:
        if self.d_ff <= 0:
            raise ValueError(f"d_ff must be positive, got {self.d_ff}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureOfExpertsConfig:
    """Several feed-forward layers, a few of them for each token (Shazeer et al., 2017)."""

    num_experts: int
    """Experts of a layer."""
    num_active: int
    """Experts that a token goes through; their weights sum to one."""
    expert: SwiGLUConfig | MLPConfig
    """One expert."""
    balance_weight: float = 0.01
    """Share of the load-balancing loss (Fedus et al., 2022) in the training objective."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_active <= self.num_experts:
            raise ValueError(
                f"num_active={self.num_active} must lie between 1 and "
                f"num_experts={self.num_experts}"
            )
        if self.balance_weight < 0:
            raise ValueError(f"balance_weight must not be negative, got {self.balance_weight}")


FeedForward = SwiGLUConfig | MLPConfig | MixtureOfExpertsConfig

NormPlacement = Literal["pre", "post", "none"]
"""Where a block normalizes: before each branch (the usual place), behind each sum (Vaswani et al.,
2017), or nowhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockConfig:
    """One residual block: a mixer along the sequence, then a feed-forward layer."""

    attention: Attention
    """The sequence mixer."""
    feedforward: FeedForward
    """The position-wise layer."""
    norm: NormPlacement = "pre"
    """Where the block normalizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """A decoder-only transformer."""

    vocab_size: int
    """Rows of the embedding."""
    context_length: int
    """Most positions that the model is built for."""
    d_model: int
    """Width of the residual stream."""
    num_layers: int
    """Number of blocks."""
    pattern: tuple[BlockConfig, ...]
    """Block configurations, repeated in order until there are ``num_layers`` blocks."""
    position_embedding: SinusoidalConfig | None = None
    """What is added to the token embeddings."""
    final_norm: bool = True
    """Whether the stream is normalized before the output head."""
    norm_eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    tie_embeddings: bool = False
    """Whether the output head is the embedding itself (Press & Wolf, 2017)."""
    zero_init_residual: bool = False
    """Whether every block starts as the identity: both branches end in a matrix of zeros."""
    embedding_std: float | None = None
    """Standard deviation of the embedding at the start; None means 1, or ``1 / sqrt(d_model)``
    where it is also the head."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "d_model", "num_layers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.embedding_std is not None and not 0 < self.embedding_std < math.inf:
            raise ValueError(
                f"embedding_std must be positive and finite or None, got {self.embedding_std}"
            )
        if not self.pattern:
            raise ValueError("pattern must name at least one block, got ()")
        for block in self.pattern:
            block.attention.head_width(self.d_model)
        if self.position_embedding is not None and self.d_model % 2:
            raise ValueError(f"sines and cosines come in pairs: d_model={self.d_model} is odd")

    def block(self, layer_index: int) -> BlockConfig:
        """Return the configuration of block ``layer_index``."""
        return self.pattern[layer_index % len(self.pattern)]

    def blocks(self) -> list[BlockConfig]:
        """Return the configurations of all blocks, in order."""
        return [self.block(i) for i in range(self.num_layers)]


def uniform_transformer(
    *,
    vocab_size: int,
    context_length: int,
    d_model: int,
    num_layers: int,
    num_heads: int,
    num_kv_heads: int | None = None,
    d_head: int | None = None,
    d_ff: int | None = None,
    qk_norm: bool = False,
    rope_theta: float = 10_000.0,
    norm_eps: float = 1e-5,
    tie_embeddings: bool = False,
    zero_init_residual: bool = False,
    embedding_std: float | None = None,
) -> TransformerConfig:
    """Return a Llama-like transformer whose blocks are all alike.

    ``d_ff`` defaults to 8/3 of ``d_model``, rounded to the nearest multiple of 64. For other
    blocks, compose a ``TransformerConfig`` or ``dataclasses.replace`` parts of this one.

    Raises:
        ValueError: A size is not positive, or one does not divide another.
    """
    attention = FullAttention(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        d_head=d_head,
        qk_norm=qk_norm,
        position=RopeConfig(theta=rope_theta),
    )
    width = swiglu_width(d_model) if d_ff is None else d_ff
    return TransformerConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        pattern=(BlockConfig(attention=attention, feedforward=SwiGLUConfig(d_ff=width)),),
        norm_eps=norm_eps,
        tie_embeddings=tie_embeddings,
        zero_init_residual=zero_init_residual,
        embedding_std=embedding_std,
    )


def swiglu_width(d_model: int) -> int:
    """Return 8/3 of ``d_model``, rounded to the nearest multiple of 64 and at least that."""
    return max(64, round(8 * d_model / 3 / 64) * 64)
