"""Tokenizers, transformers, losses, optimizers and the training loop, from scratch.

The names are imported when they are first used: the tokenizer alone does without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
