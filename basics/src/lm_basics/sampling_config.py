"""How a continuation is drawn, and when it ends: the settings that every generator takes."""

import math
from dataclasses import dataclass


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
    """Draw from so many most probable tokens, the first of equals; None: all. Before ``top_p``."""
    stop_token_ids: tuple[int, ...] = ()
    """A completion ends with the first of these that is drawn."""
    stop_strings: tuple[str, ...] = ()
    """Strings that end a text and are not part of it; tokens need not end where they do."""
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
        if "" in self.stop_strings:
            raise ValueError("a stop string must not be empty: it is at the beginning of any text")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie in [0, 2**63), got {self.seed}")
