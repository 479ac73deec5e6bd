"""Layers and reference operations, written out from tensor operations."""

from lm_basics.nn.attention import LayerCache, MultiHeadSelfAttention
from lm_basics.nn.feedforward import MLP, SwiGLU
from lm_basics.nn.functional import (
    cross_entropy,
    gelu,
    log_softmax,
    relu_squared,
    scaled_dot_product_attention,
    silu,
    softmax,
)
from lm_basics.nn.linear import Embedding, Linear
from lm_basics.nn.moe import MixtureOfExperts, balance_loss
from lm_basics.nn.norm import RMSNorm
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.nn.rope import RotaryPositionalEmbedding, SinusoidalPositionalEmbedding

__all__ = [
    "MLP",
    "REFERENCE_OPS",
    "Embedding",
    "LayerCache",
    "Linear",
    "MixtureOfExperts",
    "MultiHeadSelfAttention",
    "Ops",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SinusoidalPositionalEmbedding",
    "SwiGLU",
    "balance_loss",
    "cross_entropy",
    "gelu",
    "log_softmax",
    "relu_squared",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
