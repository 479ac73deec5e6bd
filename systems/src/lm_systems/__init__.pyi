"""Kernels, parallelism and an inference engine, from scratch."""

from .inference.engine import Engine as Engine
from .inference.protocol import (
    Completion as Completion,
    Generator as Generator,
    TextCodec as TextCodec,
)
from .kernels import OpsName as OpsName
from .kernels.flash_attention import (
    FlashAttention as FlashAttention,
    TiledAttention as TiledAttention,
)
from .kernels.ops import get_ops as get_ops
