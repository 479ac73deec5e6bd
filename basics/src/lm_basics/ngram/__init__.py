"""n-gram models over token ids: the baselines to beat by training.

counts = count_ngrams(training_tokens, vocab_size=4096, order=5)
KneserNeyModel.from_counts(counts).log_probabilities(held_out_tokens)
"""

from lm_basics.ngram.comparison import NgramResult, compare_ngrams
from lm_basics.ngram.counts import NgramCounts, count_ngrams
from lm_basics.ngram.kneser_ney import KneserNeyModel
from lm_basics.ngram.stupid_backoff import StupidBackoffModel

__all__ = [
    "KneserNeyModel",
    "NgramCounts",
    "NgramResult",
    "StupidBackoffModel",
    "compare_ngrams",
    "count_ngrams",
]
