"""n-gram models over token ids: the baselines to beat by training."""

from .comparison import NgramResult as NgramResult, compare_ngrams as compare_ngrams
from .counts import NgramCounts as NgramCounts, count_ngrams as count_ngrams
from .kneser_ney import KneserNeyModel as KneserNeyModel
from .stupid_backoff import StupidBackoffModel as StupidBackoffModel
