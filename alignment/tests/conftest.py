"""A tokenizer and a model small enough to learn something within seconds."""

import pytest
import torch

from lm_basics.model_config import uniform_transformer
from lm_basics.tokenizer import Tokenizer, train_bpe_from_texts
from lm_basics.transformer import TransformerLM

TEXT = "Which is the largest of 1, 2, 3, 4, 5, 6, 7, 8, 9? What is the smallest of 3, 7, 5? " * 20


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    special_tokens = ["<|endoftext|>", "<|user|>", "<|assistant|>"]
    vocab, merges = train_bpe_from_texts([TEXT], 320, special_tokens)
    return Tokenizer(vocab, merges, special_tokens)


@pytest.fixture
def make_model(tokenizer: Tokenizer):
    def make(seed: int = 0, *, context_length: int = 32) -> TransformerLM:
        torch.manual_seed(seed)
        return TransformerLM(
            uniform_transformer(
                vocab_size=tokenizer.vocab_size,
                context_length=context_length,
                d_model=32,
                num_layers=2,
                num_heads=2,
            )
        )

    return make
