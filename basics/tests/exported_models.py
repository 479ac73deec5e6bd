"""Small models of every shape that transformers can load."""

import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.transformer import TransformerLM

VARIANTS = [
    {},
    {"num_kv_heads": 2, "rope_theta": 500.0},
    {"qk_norm": True, "tie_embeddings": True},
    {"qk_norm": True, "num_kv_heads": 1, "d_ff": 48},
    {"num_kv_heads": 2, "d_head": 10},
]


def varied_model(variant: dict[str, object]) -> TransformerLM:
    values: dict[str, object] = {
        "vocab_size": 40,
        "context_length": 16,
        "d_model": 24,
        "num_layers": 2,
        "num_heads": 4,
    }
    config = uniform_transformer(**{**values, **variant})  # pyright: ignore[reportArgumentType]
    model = TransformerLM(config)
    # Gains of one would hide a permutation that is forgotten.
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model
