"""What a generator is: prompts and sampling settings in, completions with log-probabilities out.

Evaluation, rollouts and the server know only this protocol, never which engine runs behind it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How tokens are drawn from the model's distribution."""

    max_new_tokens: int = 128
    """Most tokens per completion."""
    temperature: float = 1.0
    """Divides the logits; 0 always takes the most probable token."""
    top_p: float = 1.0
    """Draw from the smallest set of tokens whose probability is at least this (Holtzman, 2020)."""
    top_k: int | None = None
    """Draw from this many most probable tokens; None for all. Applies before ``top_p``."""
    stop_token_ids: tuple[int, ...] = ()
    """A completion ends with the first of these that is drawn."""
    seed: int = 0
    """The same seed, prompt and weights give the same completion, whatever else is generated."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be finite and at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1 or None, got {self.top_k}")
        if any(token_id < 0 for token_id in self.stop_token_ids):
            raise ValueError(f"stop_token_ids must not be negative, got {self.stop_token_ids}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie in [0, 2**63), got {self.seed}")


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
    """The drawn tokens as text, without the stop token."""
    finish_reason: FinishReason
    """``"stop"`` after a stop token; ``"length"`` at ``max_new_tokens`` or a full context."""


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
