"""One dial instead of many sizes: from a depth to a model, its learning rates, batch and length.

With ``n`` for the depth, ``P`` for the parameters and ``D`` for the training tokens:

=====================  ============================================================================
width                  ``64 n``, in ``n`` heads of 64; ``n`` blocks; ``d_ff`` is 8/3 of the width
tokens                 ``D = 20 P`` (Hoffmann et al., 2022), unless steps are given
batch                  ``0.2920 C^0.3271`` tokens with ``C = 6 P D`` (DeepSeek LLM, 2024, Eq. 1),
                       rounded to a power of two of sequences
Muon's learning rate   0.02 at every width: its updates have the same size whatever the width is
AdamW's, for the rest  0.015 at a width of 256, with the inverse square root of the width
=====================  ============================================================================
"""

import math
from dataclasses import dataclass

from lm_basics.accounting import count_parameters
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig

D_HEAD = 64
TOKENS_PER_PARAMETER = 20.0

_BATCH_FACTOR, _BATCH_EXPONENT = 0.2920, 0.3271
_MUON_LR = 0.02
_ADAMW_LR, _ADAMW_WIDTH = 0.015, 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaledRun:
    """What a depth stands for."""

    model: TransformerConfig
    """The model."""
    optimizer: MuonConfig
    """Learning rates."""
    batch_size: int
    """Sequences a step."""
    steps: int
    """Optimizer steps."""


def scale_to_depth(
    depth: int,
    *,
    vocab_size: int,
    context_length: int,
    tokens_per_parameter: float = TOKENS_PER_PARAMETER,
    batch_size: int | None = None,
    steps: int | None = None,
) -> ScaledRun:
    """Return the run of a depth; ``batch_size`` and ``steps`` that are given stay as they are.

    Raises:
        ValueError: a number is not positive.
    """
    if depth <= 0 or not 0 < tokens_per_parameter < math.inf:
        raise ValueError(
            f"depth={depth} and tokens_per_parameter={tokens_per_parameter} must be positive, and "
            "finite"
        )
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be positive or None, got {value}")
    d_model = D_HEAD * depth
    model = uniform_transformer(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=depth,
        num_heads=depth,
        qk_norm=True,
        zero_init_residual=True,
    )
    num_parameters = count_parameters(model)
    tokens = tokens_per_parameter * num_parameters
    best = _BATCH_FACTOR * (6 * num_parameters * tokens) ** _BATCH_EXPONENT
    size = batch_size or 2 ** max(0, round(math.log2(best / context_length)))
    adamw_lr = _ADAMW_LR * (_ADAMW_WIDTH / d_model) ** 0.5
    return ScaledRun(
        model=model,
        optimizer=MuonConfig(lr=_MUON_LR, others=AdamWConfig(lr=adamw_lr, weight_decay=0.0)),
        batch_size=size,
        steps=steps or math.ceil(tokens / (size * context_length)),
    )
