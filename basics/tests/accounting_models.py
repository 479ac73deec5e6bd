"""Small models that together have every alternative of a configuration."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lm_basics.model_config import (
    Attention,
    BlockConfig,
    FeedForward,
    FullAttention,
    MixtureOfExpertsConfig,
    MLPConfig,
    NoPosition,
    NormPlacement,
    SinusoidalConfig,
    SlidingWindowAttention,
    SwiGLUConfig,
    TransformerConfig,
    uniform_transformer,
)
from lm_basics.transformer import TransformerLM

SEQ = 24
SWIGLU = SwiGLUConfig(d_ff=80)
PLAIN = FullAttention(num_heads=4)
BASE = uniform_transformer(
    vocab_size=200, context_length=32, d_model=48, num_layers=2, num_heads=4, d_ff=80
)


def _model(
    attention: Attention = PLAIN,
    feedforward: FeedForward = SWIGLU,
    norm: NormPlacement = "pre",
) -> TransformerConfig:
    block = BlockConfig(attention=attention, feedforward=feedforward, norm=norm)
    return replace(BASE, pattern=(block,))


MODELS = {
    "llama": BASE,
    "grouped": _model(FullAttention(num_heads=4, num_kv_heads=2)),
    "qwen, tied": replace(
        _model(FullAttention(num_heads=4, num_kv_heads=2, d_head=20, qk_norm=True)),
        tie_embeddings=True,
    ),
    "post, no positions": _model(
        FullAttention(num_heads=4, qk_norm=True, position=NoPosition()), norm="post"
    ),
    "no norms, sinusoids": replace(
        _model(FullAttention(num_heads=4, position=NoPosition()), norm="none"),
        final_norm=False,
        position_embedding=SinusoidalConfig(),
    ),
    "window": _model(SlidingWindowAttention(num_heads=4, window=5)),
    "silu": _model(feedforward=MLPConfig(d_ff=80)),
    "gelu": _model(feedforward=MLPConfig(d_ff=80, activation="gelu")),
    "relu squared": _model(feedforward=MLPConfig(d_ff=80, activation="relu_squared")),
    "experts": _model(
        feedforward=MixtureOfExpertsConfig(num_experts=4, num_active=2, expert=SWIGLU)
    ),
    "one expert, post": _model(
        feedforward=MixtureOfExpertsConfig(
            num_experts=5, num_active=1, expert=MLPConfig(d_ff=70, activation="gelu")
        ),
        norm="post",
    ),
    "a pattern": replace(
        BASE,
        num_layers=3,
        pattern=(
            *_model(FullAttention(num_heads=4, d_head=12, num_kv_heads=2), norm="none").pattern,
            *_model(SlidingWindowAttention(num_heads=2, window=3), norm="post").pattern,
        ),
    ),
}


def checkpoint_blocks_of(model: TransformerLM) -> None:
    """Let the backward pass compute each block again."""
    for layer in model.layers:
        # In its dictionary, where it hides the method of the class.
        vars(layer)["forward"] = _checkpointed(layer)


def _checkpointed(layer: nn.Module) -> Callable[..., Tensor]:
    forward = layer.forward

    def call(*arguments: object, **named: Any) -> Tensor:
        return checkpoint(forward, *arguments, use_reentrant=False, **named)

    return call
