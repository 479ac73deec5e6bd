"""Layers and reference operations, written out from tensor operations."""

from .attention import LayerCache as LayerCache, MultiHeadSelfAttention as MultiHeadSelfAttention
from .feedforward import MLP as MLP, SwiGLU as SwiGLU
from .functional import (
    cross_entropy as cross_entropy,
    gelu as gelu,
    log_softmax as log_softmax,
    relu_squared as relu_squared,
    scaled_dot_product_attention as scaled_dot_product_attention,
    silu as silu,
    softmax as softmax,
)
from .linear import Embedding as Embedding, Linear as Linear
from .moe import MixtureOfExperts as MixtureOfExperts, balance_loss as balance_loss
from .norm import RMSNorm as RMSNorm
from .ops import REFERENCE_OPS as REFERENCE_OPS, Ops as Ops
from .rope import (
    RotaryPositionalEmbedding as RotaryPositionalEmbedding,
    SinusoidalPositionalEmbedding as SinusoidalPositionalEmbedding,
)
