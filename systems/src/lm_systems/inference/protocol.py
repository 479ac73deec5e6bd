"""What a generator is: prompts and sampling settings in, completions with log-probabilities out.

Evaluation, rollouts and the server know only this protocol, never which engine runs behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lm_basics.sampling_config import SamplingConfig

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What a generator wrote after one prompt."""

    prompt_ids: list[int]
    """The prompt as tokens."""
    token_ids: list[int]
    """The drawn tokens, with the stop token if one was drawn."""
    log_probs: list[float]
    """Natural log-probability of each drawn token under the model's own distribution: at
    temperature 1 and not truncated, whatever the sampling."""
    text: str
    """The drawn tokens as text, without the stop token or the stop string and what follows it."""
    finish_reason: FinishReason
    """``"stop"`` after a stop token or stop string; ``"length"`` at ``max_new_tokens`` or a full
    context."""


@runtime_checkable
class TextCodec(Protocol):
    """The two methods of a tokenizer that a generator needs."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Return the text of ``ids``."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Anything that completes prompts."""

    def generate(
        self, prompts: Sequence[str | Sequence[int]], sampling: SamplingConfig
    ) -> list[Completion]:
        """Return one completion per prompt, in their order.

        Raises:
            ValueError: A prompt is empty, longer than the context or holds an unknown token.
        """
        ...
