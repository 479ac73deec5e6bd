"""How well a model predicts a text, in units that do not depend on its tokenizer."""

import math


def bits_per_byte(total_nll_nats: float, num_bytes: int) -> float:
    """Return the model's code length of a text in bits per UTF-8 byte.

    ``total_nll / (ln(2) * num_bytes)``. Per byte, not per token: a larger vocabulary makes tokens
    fewer and each of them harder, so that losses per token cannot be compared.

    Args:
        total_nll_nats: Negative log-likelihood of all tokens of the text together, in nats.
        num_bytes: Bytes of the text that these tokens stand for.

    Raises:
        ValueError: There are no bytes, or the likelihood is negative or not a number.
    """
    if num_bytes < 1:
        raise ValueError(f"num_bytes={num_bytes} is not positive")
    # Written so that "not a number" is refused too.
    if not total_nll_nats >= 0.0:
        raise ValueError(f"total_nll_nats={total_nll_nats} is not a non-negative number")
    return total_nll_nats / (math.log(2.0) * num_bytes)


def perplexity(total_nll_nats: float, num_tokens: int) -> float:
    """Return ``exp(total_nll / num_tokens)``, infinity where that exceeds every float.

    Raises:
        ValueError: There are no tokens, or the likelihood is negative or not a number.
    """
    if num_tokens < 1:
        raise ValueError(f"num_tokens={num_tokens} is not positive")
    if not total_nll_nats >= 0.0:
        raise ValueError(f"total_nll_nats={total_nll_nats} is not a non-negative number")
    try:
        return math.exp(total_nll_nats / num_tokens)
    except OverflowError:
        return math.inf
