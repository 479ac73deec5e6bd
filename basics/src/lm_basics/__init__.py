"""Tokenizers, transformers, losses, optimizers and the training loop, from scratch.

The names below are imported when they are first used: the tokenizer alone does without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_basics.model_config import TransformerConfig, uniform_transformer
    from lm_basics.tokenizer import Tokenizer, train_bpe
    from lm_basics.training import TrainingConfig, train
    from lm_basics.transformer import TransformerLM

__all__ = [
    "Tokenizer",
    "TrainingConfig",
    "TransformerConfig",
    "TransformerLM",
    "train",
    "train_bpe",
    "uniform_transformer",
]

_MODULES = {
    "Tokenizer": "tokenizer",
    "TrainingConfig": "training",
    "TransformerConfig": "model_config",
    "TransformerLM": "transformer",
    "train": "training",
    "train_bpe": "tokenizer",
    "uniform_transformer": "model_config",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
