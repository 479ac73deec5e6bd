"""Tokenizers, transformers, losses, optimizers and the training loop, from scratch."""
