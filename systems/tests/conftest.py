"""Models small enough to run hundreds of times."""

from collections.abc import Callable

import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.nn.ops import REFERENCE_OPS, Ops
from lm_basics.transformer import TransformerLM


@pytest.fixture
def make_model() -> Callable[..., TransformerLM]:
    """Return a function that makes the same random model with the operations asked for."""

    def make(ops: Ops = REFERENCE_OPS, *, tie_embeddings: bool = True) -> TransformerLM:
        torch.manual_seed(0)
        config = uniform_transformer(
            vocab_size=61,
            context_length=24,
            d_model=32,
            num_layers=2,
            num_heads=4,
            num_kv_heads=2,
            qk_norm=True,
            tie_embeddings=tie_embeddings,
        )
        model = TransformerLM(config, ops=ops)
        # Larger weights than the initial ones: logits far enough apart that greedy choices are
        # not decided by rounding.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(torch.where(parameter.abs() < 1, 1.5, 1.0))
        return model

    return make
