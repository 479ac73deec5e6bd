"""Tokenizers, transformers, losses, optimizers and the training loop, from scratch."""

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
