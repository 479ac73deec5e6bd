"""n-gram models of both kinds and several orders on the same held-out tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lm_basics.ngram.counts import count_ngrams
from lm_basics.ngram.kneser_ney import KneserNeyModel
from lm_basics.ngram.stupid_backoff import StupidBackoffModel
from lm_basics.perplexity import bits_per_byte
from lm_basics.token_files.token_file import TokenFile


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramResult:
    """What one model needs for the held-out tokens."""

    model: str
    """``kneser_ney``, or ``stupid_backoff`` with its scores divided by their sum."""
    order: int
    """Longest n-gram."""
    bits_per_token: float
    """Mean of ``-log2 p`` over all tokens."""
    bits_per_byte: float | None
    """The same for each byte of the text; None where the token file does not know its bytes."""


def compare_ngrams(
    training: TokenFile, held_out: TokenFile, *, orders: Sequence[int]
) -> list[NgramResult]:
    """Count ``training`` once and evaluate a model of each kind and order on ``held_out``.

    Args:
        training: Tokens to learn from.
        held_out: Tokens to predict, of the same tokenizer; every document starts anew.
        orders: Longest n-grams.

    Raises:
        ValueError: Another tokenizer's tokens, or an order below 1, one twice, or none.
    """
    if (training.vocab_hash, training.vocab_size) != (held_out.vocab_hash, held_out.vocab_size):
        raise ValueError(f"{training.path} and {held_out.path} come from different tokenizers")
    if not orders or min(orders) < 1:
        raise ValueError(f"expected orders of at least 1, got {list(orders)}")
    if len(set(orders)) < len(orders):
        raise ValueError(f"expected each order once, got {list(orders)}")
    counts = count_ngrams(
        training.tokens,
        vocab_size=training.vocab_size,
        order=max(orders),
        document_starts=training.document_starts,
    )
    results = []
    for order in orders:
        models = {
            "kneser_ney": KneserNeyModel.from_counts(counts, order),
            "stupid_backoff": StupidBackoffModel(counts, order),
        }
        for name, model in models.items():
            nats = -float(model.log_probabilities(held_out.tokens, held_out.document_starts).sum())
            num_bytes = held_out.num_bytes
            results.append(
                NgramResult(
                    model=name,
                    order=order,
                    bits_per_token=nats / math.log(2) / held_out.num_tokens,
                    bits_per_byte=bits_per_byte(nats, num_bytes) if num_bytes else None,
                )
            )
    return results
