"""Parameters and floating-point operations of a transformer, counted from its configuration."""

from dataclasses import dataclass, fields

from lm_basics.model_config import (
    BlockConfig,
    FeedForward,
    MixtureOfExpertsConfig,
    SwiGLUConfig,
    TransformerConfig,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardFlops:
    """Matrix-multiplication FLOPs of one forward pass, by component."""

    qkv: int
    """Projections to queries, keys and values."""
    attention: int
    """Scores and weighted sums over all keys, masked or not, as is customary (PaLM, appendix B)."""
    output: int
    """Projection back from the heads."""
    feedforward: int
    """Feed-forward layers; of experts, the active ones and the router."""
    head: int
    """Output head."""

    @property
    def total(self) -> int:
        """All components."""
        return sum(getattr(self, field.name) for field in fields(self))


def forward_flops(config: TransformerConfig, sequence_length: int) -> ForwardFlops:
    """Return the FLOPs of a forward pass over one sequence.

    A product of an ``n x k`` with a ``k x m`` matrix counts ``2 n k m``.
    """
    tokens, d_model = sequence_length, config.d_model
    qkv = attention = output = feedforward = 0
    for block in config.blocks():
        heads, kv_heads = block.attention.num_heads, block.attention.count_kv_heads()
        d_head = block.attention.head_width(d_model)
        qkv += 2 * tokens * d_model * d_head * (heads + 2 * kv_heads)
        attention += 4 * tokens * sequence_length * heads * d_head
        output += 2 * tokens * heads * d_head * d_model
        feedforward += 2 * tokens * _count_feedforward(d_model, block.feedforward, active=True)
    return ForwardFlops(
        qkv=qkv,
        attention=attention,
        output=output,
        feedforward=feedforward,
        head=2 * tokens * d_model * config.vocab_size,
    )


def count_parameters(config: TransformerConfig, *, active: bool = False) -> int:
    """Return the number of parameters; a tied head counts once.

    Args:
        config: The model.
        active: Whether only the experts that a token goes through count.
    """
    tables = config.vocab_size * config.d_model * (1 if config.tie_embeddings else 2)
    final_norm = config.d_model if config.final_norm else 0
    return tables + final_norm + sum(_count_block(config, b, active) for b in config.blocks())


def forward_flops_per_token(config: TransformerConfig, sequence_length: int) -> int:
    """Return the matrix-multiplication FLOPs of one token's forward pass; see ``forward_flops``."""
    return forward_flops(config, sequence_length).total // sequence_length


def training_flops_per_token(config: TransformerConfig, sequence_length: int) -> int:
    """Return forward plus backward FLOPs; the backward pass costs two forward passes."""
    return 3 * forward_flops_per_token(config, sequence_length)


def _count_block(config: TransformerConfig, block: BlockConfig, active: bool) -> int:
    d_model, d_head = config.d_model, block.attention.head_width(config.d_model)
    heads, kv_heads = block.attention.num_heads, block.attention.count_kv_heads()
    norms = 0 if block.norm == "none" else 2 * d_model
    norms += 2 * d_head if block.attention.qk_norm else 0
    attention = 2 * d_model * d_head * (heads + kv_heads)
    return norms + attention + _count_feedforward(d_model, block.feedforward, active=active)


def _count_feedforward(d_model: int, layer: FeedForward, *, active: bool) -> int:
    if isinstance(layer, MixtureOfExpertsConfig):
        num_experts = layer.num_active if active else layer.num_experts
        router = d_model * layer.num_experts
        return router + num_experts * _count_feedforward(d_model, layer.expert, active=active)
    return (3 if isinstance(layer, SwiGLUConfig) else 2) * d_model * layer.d_ff
