"""How well a model predicts a text: bits per byte, and perplexity."""

import math


def bits_per_byte(total_nats: float, num_bytes: float) -> float:
    """Return a model's code length of a text in bits per UTF-8 byte: ``nats / (ln 2 * bytes)``.

    Per byte, not per token: a larger vocabulary makes tokens fewer and each of them harder, so that
    losses per token cannot be compared. A loss per token with the bytes per token gives the same.
    The loss of a diverged model, which is not a number, stays what it is.

    Args:
        total_nats: Negative log-likelihood of all tokens of the text together.
        num_bytes: Bytes of the text that these tokens stand for.

    Raises:
        ValueError: There are no bytes, or the likelihood is negative.
    """
    if not num_bytes > 0:
        raise ValueError(f"num_bytes={num_bytes} is not positive")
    if total_nats < 0:
        raise ValueError(f"total_nats={total_nats} is negative")
    return total_nats / math.log(2) / num_bytes


def perplexity(total_nats: float, num_tokens: int) -> float:
    """Return ``exp(nats / tokens)``, infinity where that exceeds every float.

    Raises:
        ValueError: There are no tokens, or the likelihood is negative.
    """
    if num_tokens < 1:
        raise ValueError(f"num_tokens={num_tokens} is not positive")
    if total_nats < 0:
        raise ValueError(f"total_nats={total_nats} is negative")
    try:
        return math.exp(total_nats / num_tokens)
    except OverflowError:
        return math.inf
