"""Text that a model writes, as it comes.

The tokens are those of ``lm_basics.generation.generate``. A cache makes each of them a pass over
one token, as long as the text fits into the context.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lm_basics.generation import check_prompt, check_sampling, next_token_distribution
from lm_basics.generation_cache import CachedText
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.transformer import TransformerLM

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig:
    """How tokens are drawn, and when that ends."""

    max_new_tokens: int = 100
    """Most tokens to add."""
    temperature: float = 1.0
    """Divides the logits; 0 always takes the most likely token."""
    top_k: int | None = None
    """Number of most likely tokens to sample from; None means all."""
    top_p: float = 1.0
    """Share of the probability to sample from, of the tokens that top_k leaves."""
    stop_tokens: tuple[int, ...] = ()
    """Ids that end the text and are not part of it."""
    stop_strings: tuple[str, ...] = ()
    """Strings that end the text and are not part of it; tokens need not end where they do."""

    def __post_init__(self) -> None:
        check_sampling(self.temperature, self.top_k, self.top_p)
        if self.max_new_tokens < 0:
            raise ValueError(f"max_new_tokens must not be negative, got {self.max_new_tokens}")
        if "" in self.stop_strings:
            raise ValueError("a stop string must not be empty: it is at the beginning of any text")


def stream_text(
    model: TransformerLM,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    config: DecodingConfig,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[str]:
    """Yield the continuation of ``prompt`` in pieces, each as soon as it is certain.

    The end of a text that may become a stop string is held back until it is decided.

    Raises:
        ValueError: An empty prompt, or a token outside of the vocabulary.
    """
    tokens = stream_tokens(model, prompt, config, generator=generator)
    return until_stop_string(tokenizer.decode_stream(tokens), config.stop_strings)


def stream_tokens(
    model: TransformerLM,
    prompt: Sequence[int],
    config: DecodingConfig,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """Return the new tokens as they come, without the stop token; ``stop_strings`` play no part.

    Beyond the context length only the last ``context_length`` tokens are seen, which is logged
    once at WARNING; each token then costs a pass over all of these.

    Raises:
        ValueError: An empty prompt, or a token outside of the vocabulary.
    """
    # Here and not in the generator: a caller shall hear of it before the first token.
    check_prompt(model, prompt, config.max_new_tokens)
    return _draw_tokens(model, list(prompt), config, generator)


def until_stop_string(pieces: Iterable[str], stop_strings: Collection[str]) -> Iterator[str]:
    """Yield the text of ``pieces`` up to the first stop string; no piece behind it is asked for."""
    pending = ""
    for piece in pieces:
        pending += piece
        found = [
            (place + len(stop), place)
            for stop in stop_strings
            if (place := pending.find(stop)) >= 0
        ]
        if found:
            # The first to be complete, and of those that end together the longest: so that it does
            # not matter how the text is cut into pieces.
            pending = pending[: min(found)[1]]
            break
        certain = len(pending) - _length_of_beginning(pending, stop_strings)
        if certain:
            yield pending[:certain]
            pending = pending[certain:]
    if pending:
        yield pending


def _length_of_beginning(text: str, stop_strings: Collection[str]) -> int:
    """Return the length of the longest end of ``text`` that begins a stop string."""
    longest = max(map(len, stop_strings), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stop_strings):
            return length
    return 0


def _draw_tokens(
    model: TransformerLM,
    tokens: list[int],
    config: DecodingConfig,
    generator: torch.Generator | None,
) -> Iterator[int]:
    """Yield new tokens and append them to ``tokens``."""
    context_length, device = model.config.context_length, model.output_weight.device
    text, new_tokens = CachedText(model=model), tokens
    has_warned = False
    for _ in range(config.max_new_tokens):
        if len(tokens) > context_length:
            if not has_warned:
                logger.warning(
                    "The text is longer than the context: only its last %d tokens are seen.",
                    context_length,
                )
                has_warned = True
            text, new_tokens = CachedText(model=model), tokens[-context_length:]
        # Around each token alone: whoever takes them may need gradients between two of them.
        with torch.no_grad():
            logits = text.append(torch.tensor(new_tokens, device=device))
            distribution = next_token_distribution(
                logits, temperature=config.temperature, top_k=config.top_k, top_p=config.top_p
            )
            token = int(torch.multinomial(distribution, 1, generator=generator))
        if token in config.stop_tokens:
            return
        tokens.append(token)
        new_tokens = [token]
        yield token
