"""Text that a model writes, as it comes.

The tokens are those of ``lm_basics.decoding.generate``. A cache makes each of them a pass over one
token, as long as the text fits into the context.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_basics.decoding import check_prompt, draw_tokens, stream_key
from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.transformer import TransformerLM

logger = logging.getLogger(__name__)


def stream_text(
    model: TransformerLM,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    sampling: SamplingConfig,
    *,
    occurrence: int = 0,
) -> Iterator[str]:
    """Yield the continuation of ``prompt`` in pieces, each as soon as it is certain.

    The end of a text that may become a stop string is held back until it is decided.
    ``occurrence`` tells several texts after one prompt apart.

    Raises:
        ValueError: An empty prompt, or a token outside of the vocabulary.
    """
    tokens = stream_tokens(model, prompt, sampling, occurrence=occurrence)
    return until_stop_string(tokenizer.decode_stream(tokens), sampling.stop_strings)


def stream_tokens(
    model: TransformerLM,
    prompt: Sequence[int],
    sampling: SamplingConfig,
    *,
    occurrence: int = 0,
) -> Iterator[int]:
    """Return the new tokens as they come, without the stop token; ``stop_strings`` play no part.

    Beyond the context length only the last ``context_length`` tokens are seen, which is logged
    once at WARNING; each token then costs a pass over all of these.

    Raises:
        ValueError: An empty prompt, or a token outside of the vocabulary.
    """
    # Here and not in the generator: a caller shall hear of it before the first token.
    check_prompt(model, prompt)
    return _stream(model, prompt, sampling, stream_key(sampling.seed, occurrence, prompt))


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


def _stream(
    model: TransformerLM, prompt: Sequence[int], sampling: SamplingConfig, key: int
) -> Iterator[int]:
    """Yield new tokens, drawn with the random stream ``key``."""
    context_length, device = model.config.context_length, model.output_weight.device
    tokens = list(prompt)
    text, new_tokens = CachedText(model=model), tokens
    if len(tokens) > context_length:
        logger.warning("Of the prompt's %d tokens the last %d count.", len(tokens), context_length)
    for step in range(sampling.max_new_tokens):
        if len(tokens) > context_length:
            text, new_tokens = CachedText(model=model), tokens[-context_length:]
        # Around each token alone: whoever takes them may need gradients between two of them.
        with torch.no_grad():
            logits = text.append(torch.tensor(new_tokens, device=device))
            drawn, _ = draw_tokens(logits[None], [key], [step], sampling)
        token = int(drawn)
        if token in sampling.stop_token_ids:
            return
        tokens.append(token)
        new_tokens = [token]
        yield token


@dataclass(kw_only=True, slots=True)
class AppendedLayer:
    """One layer's keys and values, as ``lm_basics.nn.attention.LayerCache`` wants it."""

    keys: Float[Tensor, "1 kv_heads keys d_head"] | None = None
    """Rotated keys; None before the first token."""
    values: Float[Tensor, "1 kv_heads keys d_head"] | None = None
    """Values; None before the first token."""

    def update(
        self,
        k: Float[Tensor, "1 kv_heads seq d_head"],
        v: Float[Tensor, "1 kv_heads seq d_head"],
        positions: Int[Tensor, "1 seq"],
    ) -> tuple[Float[Tensor, "1 kv_heads keys d_head"], Float[Tensor, "1 kv_heads keys d_head"]]:
        """Append ``k`` and ``v``, which stand at the next positions, and return all there are."""
        self.keys = k if self.keys is None else torch.cat((self.keys, k), dim=2)
        self.values = v if self.values is None else torch.cat((self.values, v), dim=2)
        return self.keys, self.values


@dataclass(kw_only=True, slots=True)
class CachedText:
    """One text as a model has seen it: its keys and values, appended as it grows.

    Positions count from the first token kept; a text that outgrows the model's context has to be
    computed anew, for its tokens then stand at other positions.
    """

    model: TransformerLM
    """Predicts its tokens."""
    num_tokens: int = 0
    """Tokens appended so far."""
    layers: list[AppendedLayer] = field(init=False)
    """What is kept of them."""

    def __post_init__(self) -> None:
        self.layers = [AppendedLayer() for _ in range(self.model.config.num_layers)]

    def append(self, tokens: Int[Tensor, " seq"]) -> Float[Tensor, " vocab"]:
        """Let the text go on by ``tokens`` and return the logits of the token behind them.

        Raises:
            ValueError: The text would be longer than the model's context.
        """
        end, context_length = self.num_tokens + len(tokens), self.model.config.context_length
        if end > context_length:
            raise ValueError(f"{end} tokens in a text, but context_length is {context_length}")
        positions = torch.arange(self.num_tokens, end, device=tokens.device)[None]
        hidden = self.model.hidden(tokens[None], positions=positions, cache=self.layers)
        self.num_tokens = end
        # The head is the largest matrix of a small model: only the last token needs it.
        return self.model.output_weight @ hidden[0, -1]
