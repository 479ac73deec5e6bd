"""Hands out the implementations of ``lm_basics.nn.ops.Ops``.

=============  ==================================================================================
``reference``  Plain PyTorch, as the equations read.
``fused``      Hand-written backward passes and torch's fused attention; nothing to compile, so it
               suits runs of seconds, generation and evaluation.
``compiled``   The training step traced by ``torch.compile``: a little faster than ``fused``, after
               half a minute of compilation on a CPU core.
=============  ==================================================================================
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, wraps
from typing import Any, Literal

import torch
from torch import Tensor

from lm_basics.nn.ops import REFERENCE_OPS, Ops, TensorFunction
from lm_shared.tensors import compile_for_one_shape
from lm_systems.kernels.attention import attention
from lm_systems.kernels.feedforward import swiglu
from lm_systems.kernels.linear_cross_entropy import linear_cross_entropy
from lm_systems.kernels.norm import rms_norm
from lm_systems.kernels.rope import rope

OpsName = Literal["reference", "fused", "compiled"]


def get_ops(name: OpsName) -> Ops:
    """Return the record of operations called ``name``.

    Raises:
        ValueError: There is no such record.
    """
    if name not in _OPS:
        raise ValueError(f"ops must be one of {sorted(_OPS)}, got {name!r}")
    return _OPS[name]()


def compile_step(function: TensorFunction) -> TensorFunction:
    """Compile ``function`` for training; calls without gradients run it as it is.

    An evaluation would otherwise compile a second graph, for another gradient mode and often
    another batch shape, to save a fraction of a forward pass.
    """
    compiled = compile_for_one_shape(function)

    @wraps(function)
    def step(*args: Any, **kwargs: Any) -> Tensor:
        chosen = compiled if torch.is_grad_enabled() else function
        return chosen(*args, **kwargs)

    return step


_FUSED_OPS = replace(
    REFERENCE_OPS,
    name="fused",
    rms_norm=rms_norm,
    rope=rope,
    swiglu=swiglu,
    attention=attention,
    linear_cross_entropy=linear_cross_entropy,
)


@cache
def _compiled_ops() -> Ops:
    # Built at the first call: marking a function for the compiler imports the compiler.
    return replace(
        REFERENCE_OPS,
        name="compiled",
        # The compiler fuses the reference norm, rotation and gate better than it can fuse around
        # ours. The chunked loss stays outside of the graph: inside, its loop is unrolled, which
        # made a step 1% faster with 8 chunks, but would take minutes to compile with hundreds.
        attention=attention,
        linear_cross_entropy=torch.compiler.disable(linear_cross_entropy),
        compile_step=compile_step,
    )


_OPS: dict[str, Callable[[], Ops]] = {
    "reference": lambda: REFERENCE_OPS,
    "fused": lambda: _FUSED_OPS,
    "compiled": _compiled_ops,
}
