"""The shape of a transformer as plain values.

Each alternative is one small dataclass; a layer pattern composes them, so hybrids need no flags.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeConfig:
    """Rotary position embedding (Su et al., 2021)."""

    theta: float = 10_000.0
    """Base of the geometric series of wavelengths, in positions."""

    def __post_init__(self) -> None:
        if self.theta <= 0:
            raise ValueError(f"rope theta must be positive, got {self.theta}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FullAttention:
    """Causal attention over the whole context, with as many key-value heads as wanted."""

    num_heads: int
    """Query heads."""
    num_kv_heads: int | None = None
    """Key-value heads, each shared by a group of query heads; None means one per query head."""
    qk_norm: bool = False
    """Whether queries and keys are RMS-normalized per head before the rotation, as in Qwen3."""
    position: RopeConfig = field(default_factory=RopeConfig)
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

    def count_kv_heads(self) -> int:
        """Return the number of key-value heads, resolved."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class SwiGLUConfig:
    """Gated feed-forward layer with a SiLU gate (Shazeer, 2020)."""

    d_ff: int
    """Width of the gate; about 8/3 of ``d_model`` gives the parameters of an ungated layer of 4."""

    def __post_init__(self) -> None:
        if self.d_ff <= 0:
            raise ValueError(f"d_ff must be positive, got {self.d_ff}")


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockConfig:
    """One pre-norm residual block: a mixer along the sequence, then a feed-forward layer."""

    attention: FullAttention
    """The sequence mixer."""
    feedforward: SwiGLUConfig
    """The position-wise layer."""


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
    norm_eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    tie_embeddings: bool = False
    """Whether the output head is the embedding itself (Press & Wolf, 2017)."""
    zero_init_residual: bool = False
    """Whether every block starts as the identity: both branches end in a matrix of zeros."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "d_model", "num_layers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.pattern:
            raise ValueError("pattern must name at least one block, got ()")
        for block in self.pattern:
            num_heads = block.attention.num_heads
            if self.d_model % num_heads:
                raise ValueError(
                    f"d_model={self.d_model} is not divisible by num_heads={num_heads}"
                )
            if (self.d_model // num_heads) % 2:
                raise ValueError(
                    f"RoPE rotates pairs: d_head={self.d_model // num_heads} must be even"
                )

    def block(self, layer_index: int) -> BlockConfig:
        """Return the configuration of block ``layer_index``."""
        return self.pattern[layer_index % len(self.pattern)]


def uniform_transformer(
    *,
    vocab_size: int,
    context_length: int,
    d_model: int,
    num_layers: int,
    num_heads: int,
    num_kv_heads: int | None = None,
    d_ff: int | None = None,
    qk_norm: bool = False,
    rope_theta: float = 10_000.0,
    norm_eps: float = 1e-5,
    tie_embeddings: bool = False,
    zero_init_residual: bool = False,
) -> TransformerConfig:
    """Return a transformer whose blocks are all alike.

    ``d_ff`` defaults to 8/3 of ``d_model``, rounded to the nearest multiple of 64.

    Raises:
        ValueError: A size is not positive, or one does not divide another.
    """
    attention = FullAttention(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        qk_norm=qk_norm,
        position=RopeConfig(theta=rope_theta),
    )
    width = max(64, round(8 * d_model / 3 / 64) * 64) if d_ff is None else d_ff
    return TransformerConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        pattern=(BlockConfig(attention=attention, feedforward=SwiGLUConfig(d_ff=width)),),
        norm_eps=norm_eps,
        tie_embeddings=tie_embeddings,
        zero_init_residual=zero_init_residual,
    )
