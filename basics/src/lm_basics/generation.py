"""Decoding one token at a time, without a cache: the plain version that fast engines must equal."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lm_basics.nn.functional import softmax
from lm_basics.transformer import TransformerLM


def next_token_distribution(
    logits: Float[Tensor, " vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Float[Tensor, " vocab"]:
    """Return the probabilities to sample from.

    Args:
        logits: Scores of the next token.
        temperature: Divides the logits; 0 puts everything on the largest.
        top_k: Keeps this many of the most likely tokens (Fan et al., 2018); None keeps all.
        top_p: Keeps the smallest set of the tokens left whose share of their mass reaches it
            (Holtzman et al., 2020).

    Raises:
        ValueError: A temperature below 0 or not finite, ``top_k`` below 1, or ``top_p`` outside of
            (0, 1].
    """
    check_sampling(temperature, top_k, top_p)
    # So small a divisor would make 0 / 0 of the largest in float32.
    if temperature < torch.finfo(torch.float32).tiny:
        return torch.zeros_like(logits).scatter(0, logits.argmax(keepdim=True), 1.0)
    # The largest is moved to 0 first: divided by a small temperature it would overflow.
    logits = logits.float()
    logits = (logits - logits.max()) / temperature
    if top_k is not None and top_k < len(logits):
        largest, index = logits.topk(top_k)
        logits = torch.full_like(logits, -math.inf).scatter(0, index, largest)
    probabilities = softmax(logits, dim=-1)
    if top_p == 1:
        return probabilities
    ordered, order = probabilities.sort(descending=True, stable=True)
    # A token stays while the mass before it is short of top_p, so the one that reaches it is in.
    before = ordered.double().cumsum(-1) - ordered
    kept = torch.zeros_like(probabilities).scatter(0, order, ordered.where(before < top_p, 0.0))
    return kept / kept.sum()


@torch.no_grad()
def generate(
    model: TransformerLM,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    stop_token: int | None = None,
    generator: torch.Generator | None = None,
) -> list[int]:
    """Continue ``prompt`` and return the new tokens, the stop token not included.

    Beyond the context length only the last ``context_length`` tokens are seen.

    Raises:
        ValueError: An empty prompt, a token outside of the vocabulary, or a value out of range.
    """
    check_prompt(model, prompt, max_new_tokens)
    tokens = list(prompt)
    device = model.output_weight.device
    for _ in range(max_new_tokens):
        window = torch.tensor([tokens[-model.config.context_length :]], device=device)
        distribution = next_token_distribution(
            model(window)[0, -1], temperature=temperature, top_k=top_k, top_p=top_p
        )
        token = int(torch.multinomial(distribution, 1, generator=generator))
        if token == stop_token:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def check_sampling(temperature: float, top_k: int | None, top_p: float) -> None:
    """Raise ``ValueError`` unless ``next_token_distribution`` knows these values."""
    if not 0 <= temperature < math.inf or not 0 < top_p <= 1:
        raise ValueError(
            f"expected a temperature from 0 on and top_p in (0, 1], got temperature={temperature}, "
            f"top_p={top_p}"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")


def check_prompt(model: TransformerLM, prompt: Sequence[int], max_new_tokens: int) -> None:
    """Raise ``ValueError`` unless ``model`` can go on from ``prompt``."""
    if not prompt:
        raise ValueError("the prompt must hold at least one token, got none")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must not be negative, got {max_new_tokens}")
    vocab_size = model.config.vocab_size
    if not (min(prompt) >= 0 and max(prompt) < vocab_size):
        raise ValueError(
            f"the prompt holds the ids {min(prompt)} to {max(prompt)}, but the model has "
            f"{vocab_size} tokens: is it another tokenizer's?"
        )
