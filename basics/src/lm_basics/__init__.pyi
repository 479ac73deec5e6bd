"""Tokenizers, transformers, losses, optimizers and the training loop, from scratch."""

from .model_config import (
    TransformerConfig as TransformerConfig,
    uniform_transformer as uniform_transformer,
)
from .sampling_config import SamplingConfig as SamplingConfig
from .tokenizer import Tokenizer as Tokenizer, train_bpe as train_bpe
from .training import TrainingConfig as TrainingConfig, train as train
from .transformer import TransformerLM as TransformerLM
