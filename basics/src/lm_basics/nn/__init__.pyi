"""Layers and reference operations, written out from tensor operations."""

from .attention import LayerCache as LayerCache, MultiHeadSelfAttention as MultiHeadSelfAttention
from .feedforward import (
    MLP as MLP,
    MixtureOfExperts as MixtureOfExperts,
    SwiGLU as SwiGLU,
    balance_loss as balance_loss,
)
from .layers import Embedding as Embedding, Linear as Linear, RMSNorm as RMSNorm
from .ops import (
    REFERENCE_OPS as REFERENCE_OPS,
    Ops as Ops,
    cross_entropy as cross_entropy,
    gelu as gelu,
    log_softmax as log_softmax,
    relu_squared as relu_squared,
    scaled_dot_product_attention as scaled_dot_product_attention,
    silu as silu,
    softmax as softmax,
)
from .rope import (
    RotaryPositionalEmbedding as RotaryPositionalEmbedding,
    SinusoidalPositionalEmbedding as SinusoidalPositionalEmbedding,
)
