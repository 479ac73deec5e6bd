"""Layers and reference operations, written out from tensor operations."""

from lm_basics.nn.attention import LayerCache, MultiHeadSelfAttention
from lm_basics.nn.feedforward import SwiGLU
from lm_basics.nn.functional import (
    cross_entropy,
    log_softmax,
    scaled_dot_product_attention,
    silu,
    softmax,
)
from lm_basics.nn.linear import Embedding, Linear
from lm_basics.nn.norm import RMSNorm
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.nn.rope import RotaryPositionalEmbedding

__all__ = [
    "REFERENCE_OPS",
    "Embedding",
    "LayerCache",
    "Linear",
    "MultiHeadSelfAttention",
    "Ops",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SwiGLU",
    "cross_entropy",
    "log_softmax",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
