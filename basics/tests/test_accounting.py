"""Counts against the model itself, torch's FLOP counter, and the course's numbers."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lm_basics.accounting import (
    count_parameters,
    forward_flops_per_token,
    training_flops_per_token,
)
from lm_basics.model_config import (
    BlockConfig,
    FullAttention,
    MixtureOfExpertsConfig,
    MLPConfig,
    SlidingWindowAttention,
    SwiGLUConfig,
    TransformerConfig,
    uniform_transformer,
)
from lm_basics.transformer import TransformerLM

SMALL = uniform_transformer(vocab_size=50, context_length=16, d_model=32, num_layers=2, num_heads=4)
SWIGLU = SwiGLUConfig(d_ff=48)
CONFIGS = [
    SMALL,
    replace(
        SMALL,
        num_layers=3,
        final_norm=False,
        pattern=(
            BlockConfig(
                attention=FullAttention(num_heads=4, d_head=12, num_kv_heads=2),
                feedforward=MLPConfig(d_ff=40),
                norm="none",
            ),
            BlockConfig(
                attention=SlidingWindowAttention(num_heads=2, window=3),
                feedforward=MixtureOfExpertsConfig(num_experts=4, num_active=2, expert=SWIGLU),
                norm="post",
            ),
        ),
    ),
    uniform_transformer(
        vocab_size=50,
        context_length=16,
        d_model=32,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        qk_norm=True,
        tie_embeddings=True,
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_counts_agree_with_the_model_and_with_torch(config: TransformerConfig) -> None:
    model = TransformerLM(config)
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())
    ids = torch.zeros(2, 16, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(ids)
    assert counter.get_total_flops() == 32 * forward_flops_per_token(config, 16)
    assert training_flops_per_token(config, 16) == 3 * forward_flops_per_token(config, 16)


def test_gpt2_xl_has_the_published_counts() -> None:
    config = uniform_transformer(
        vocab_size=50_257, context_length=1024, d_model=1600, num_layers=48, num_heads=25, d_ff=4288
    )
    assert count_parameters(config) == 1_640_452_800
    assert 1024 * forward_flops_per_token(config, 1024) == pytest.approx(3.517e12, rel=1e-3)
