"""The seam between whatever judges a completion and whatever learns from the verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """A verdict on one completion."""

    value: float
    """What reinforcement learning maximizes."""
    parts: Mapping[str, float]
    """What the value is made of, by name; ``format`` says whether an answer could be read."""
    reason: str
    """Why, for people."""


RewardFunction = Callable[[str, str, str], Reward]
"""(prompt, completion, reference) -> reward; must be pure, and never raise on a completion."""
