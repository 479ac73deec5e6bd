"""n-gram models over token ids: the baselines to beat by training.

counts = count_ngrams(training_tokens, vocab_size=4096, order=5)
KneserNeyModel.from_counts(counts).log_probabilities(held_out_tokens)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
