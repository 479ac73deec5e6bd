"""The seam between whatever judges a completion and whatever learns from the verdict."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass

from lm_shared.config import to_dict


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


def describe_verifier(reward_function: RewardFunction) -> str:
    """Return what tells one verifier from another, for a run's record.

    A dataclass object is described by its class and its fields, a function by its name, any other
    object by its class alone.

    Raises:
        TypeError: a field of the dataclass has no JSON form.
    """
    if is_dataclass(reward_function) and not isinstance(reward_function, type):
        return f"{_name(type(reward_function))} {json.dumps(to_dict(reward_function))}"
    named = hasattr(reward_function, "__qualname__")
    return _name(reward_function if named else type(reward_function))


def _name(thing: Callable[..., object]) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
