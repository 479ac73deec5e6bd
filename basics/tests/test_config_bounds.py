"""Settings are taken up to the border of what makes sense, and refused by name from there on."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from lm_basics.ablation import SeedPlan
from lm_basics.accounting import StepConfig, TrainingBudget, activation_bytes
from lm_basics.depth_dial import scale_to_depth
from lm_basics.model_config import (
    FullAttention,
    MixtureOfExpertsConfig,
    MLPConfig,
    RopeConfig,
    SinusoidalConfig,
    SlidingWindowAttention,
    SwiGLUConfig,
    uniform_transformer,
)
from lm_basics.optim import AdamWConfig, MuonConfig, SGDConfig, SOAPConfig
from lm_basics.optim.schedules import WarmupStableDecaySchedule
from lm_basics.perplexity import bits_per_byte, perplexity
from lm_basics.sampling_config import SamplingConfig
from lm_basics.training import SkipStep, TrainingConfig
from lm_basics.training.data import UniformWindows, get_batch
from lm_basics.training.samples import SamplesConfig
from lm_basics.training.strategy import LossScaler

OPTIMIZERS = (AdamWConfig, MuonConfig, SOAPConfig, SGDConfig)
MODEL = partial(
    uniform_transformer, vocab_size=9, context_length=8, d_model=4, num_layers=1, num_heads=1
)
ATTENTION = partial(FullAttention, num_heads=4)
EXPERTS = partial(MixtureOfExpertsConfig, num_experts=2, num_active=1, expert=MLPConfig(d_ff=8))
TRAINING = partial(TrainingConfig, steps=1, validate_every=1)
SAMPLES = partial(SamplesConfig, prompts=("a",))
BUDGET = partial(TrainingBudget, tokens=1.0, batch_size=1, sequence_length=1)
DEPTH = partial(scale_to_depth, depth=1, vocab_size=9, context_length=8)
WINDOWS = partial(UniformWindows, num_tokens=9, length=1, batch_size=1)
BATCH = partial(get_batch, np.arange(9), batch_size=1, context_length=1, device="cpu")
ACTIVATIONS = partial(activation_bytes, MODEL(), batch_size=1, sequence_length=1, step=StepConfig())
NATS = partial(bits_per_byte, total_nats=0.0, num_bytes=1)
PERPLEXITY = partial(perplexity, total_nats=0.0, num_tokens=1)


def _name(one: object) -> str:
    """Return how a test names what it makes, and which setting of it."""
    return one if isinstance(one, str) else getattr(getattr(one, "func", one), "__name__", "")


@pytest.mark.parametrize(
    ("make", "name", "good", "bad"),
    [
        (RopeConfig, "theta", (1e-9,), (0.0,)),
        (SinusoidalConfig, "theta", (1e-9,), (0.0,)),
        (ATTENTION, "num_heads", (1,), (0,)),
        (ATTENTION, "num_kv_heads", (None, 1, 4), (0, -4, 3, 8)),
        (ATTENTION, "d_head", (None, 1), (0,)),
        (partial(SlidingWindowAttention, num_heads=1), "window", (1,), (0,)),
        (SwiGLUConfig, "d_ff", (1,), (0,)),
        (MLPConfig, "d_ff", (1,), (0,)),
        (EXPERTS, "num_active", (1, 2), (0, 3)),
        (EXPERTS, "balance_weight", (0.0,), (-1e-9,)),
        *((MODEL, name, (1,), (0,)) for name in ("vocab_size", "context_length", "num_layers")),
        *(
            (one, "lr", (0.0,), (-1e-9,))
            for one in (AdamWConfig, MuonConfig, SOAPConfig, SGDConfig)
        ),
        *((one, "weight_decay", (0.0,), (-1e-9,)) for one in OPTIMIZERS),
        *((one, "momentum", (0.0,), (-1e-9, 1.0)) for one in (MuonConfig, SGDConfig)),
        (AdamWConfig, "betas", ((0.0, 0.0),), ((0.9, 1.0), (-1e-9, 0.9))),
        (AdamWConfig, "eps", (0.0,), (-1e-9,)),
        (MuonConfig, "iterations", (1,), (0,)),
        (SOAPConfig, "precondition_frequency", (1,), (0,)),
        (SOAPConfig, "max_precond_dim", (0,), (-1,)),
        (WarmupStableDecaySchedule, "warmup_fraction", (0.0, 0.5), (-0.1, 1.1)),
        (partial(WarmupStableDecaySchedule, warmup_fraction=0), "decay_fraction", (0, 1), (1.1,)),
        (SamplingConfig, "max_new_tokens", (1,), (0,)),
        (SamplingConfig, "temperature", (0.0,), (-1e-9, math.inf)),
        (SamplingConfig, "top_p", (1e-9, 1.0), (0.0, 1.1)),
        (SamplingConfig, "top_k", (None, 1), (0,)),
        (SamplingConfig, "stop_token_ids", ((0,),), ((3, -1),)),
        (SamplingConfig, "seed", (0, 2**63 - 1), (-1, 2**63)),
        *((SkipStep, name, (None, 1.01), (1.0,)) for name in ("grad_norm_factor", "loss_factor")),
        *((SkipStep, name, (1,), (0,)) for name in ("median_steps", "max_in_a_row")),
        *((TRAINING, name, (1,), (0,)) for name in ("steps", "batch_size", "keep_checkpoints")),
        *((TRAINING, name, (None, 1), (0,)) for name in ("micro_batch_size", "checkpoint_every")),
        (TRAINING, "seed", (0,), (-1,)),
        (TRAINING, "ema_decay", (None, 1e-9), (0.0, 1.0)),
        (partial(TRAINING, keep_best=True), "validate_every", (1,), (None,)),
        (SAMPLES, "prompts", (("a", "b"),), ((), ("a", ""))),
        (SAMPLES, "max_new_tokens", (1,), (0,)),
        (SAMPLES, "temperature", (0.0,), (-1e-9,)),
        (LossScaler, "scale", (1.0, 2.0), (0.5, 3.0)),
        (LossScaler, "growth_interval", (1,), (0,)),
        (BUDGET, "batch_size", (1,), (0,)),
        (BUDGET, "mfu", (1e-9, 1.0), (0.0, 1.1)),
        (BUDGET, "dollars_per_hour", (None, 0.0), (-1e-9, math.inf)),
        (DEPTH, "depth", (1,), (0,)),
        (DEPTH, "tokens_per_parameter", (1e-9,), (0.0, math.inf)),
        *((DEPTH, name, (None, 1), (0,)) for name in ("batch_size", "steps")),
        *((WINDOWS, name, (1,), (0,)) for name in ("length", "batch_size")),
        (WINDOWS, "num_tokens", (2,), (1,)),
        (BATCH, "batch_size", (1,), (0,)),
        (BATCH, "context_length", (1, 8), (0, 9)),
        *((ACTIVATIONS, name, (1,), (0,)) for name in ("batch_size", "sequence_length")),
        (NATS, "total_nats", (0.0,), (-1e-9,)),
        (NATS, "num_bytes", (1e-9,), (0,)),
        (PERPLEXITY, "total_nats", (0.0,), (-1e-9,)),
        (PERPLEXITY, "num_tokens", (1,), (0,)),
        (SeedPlan, "effect", (1e-9,), (0.0,)),
        *((SeedPlan, name, (1e-9,), (0.0, 1.0)) for name in ("power", "alpha")),
        (SeedPlan, "num_pilot", (2,), (1,)),
        (SeedPlan, "max_seeds", (8,), (7,)),
    ],
    ids=_name,
)
def test_settings_are_taken_up_to_their_border(
    make: Callable[..., Any], name: str, good: tuple[Any, ...], bad: tuple[Any, ...]
) -> None:
    for value in good:
        make(**{name: value})
    for value in bad:
        with pytest.raises(ValueError, match=name.removeprefix("num_")):
            make(**{name: value})
