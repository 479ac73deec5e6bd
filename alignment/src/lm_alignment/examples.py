"""What a model learns from: questions with answers, conversations, answers beside a worse one.

Which examples a step sees depends on the seed and the step alone, so a resumed run needs no saved
position in its data.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from lm_alignment.templates import Message

# Of many that are too long, as many say where to look.
_MOST_NAMED = 5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One exchange."""

    question: str
    """What the user asks, without any template around it."""
    answer: str
    """The reference: imitated by fine-tuning, only compared with by reinforcement learning."""
    origin: str | None = field(default=None, compare=False)
    """Where it stands, for people: the file and the line."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The exchange as two turns."""
        return (
            Message(role="user", content=self.question),
            Message(role="assistant", content=self.answer),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Turns of which the assistant's are imitated."""

    messages: tuple[Message, ...]
    """The turns, the assistant's last."""
    origin: str | None = field(default=None, compare=False)
    """Where it stands, for people: the file and the line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferencePair:
    """Two answers to the same turns, one of them preferred."""

    prompt: str | tuple[Message, ...]
    """A question, or the turns up to the answer."""
    chosen: str
    """The better answer."""
    rejected: str
    """The worse one."""
    origin: str | None = field(default=None, compare=False)
    """Where it stands, for people: the file and the line."""


T = TypeVar("T")
LocatedT = TypeVar("LocatedT", bound=Example | Conversation | PreferencePair)


def draw_examples(examples: Sequence[T], count: int, *, seed: int, step: int) -> list[T]:
    """Return the ``count`` examples of ``step``, counted from 0.

    Every pass over the data has an order of its own and shows each example once.

    Raises:
        ValueError: there are no examples.
    """
    if not examples:
        raise ValueError("expected at least one example, got none")
    drawn = []
    for position in range(step * count, (step + 1) * count):
        epoch, place = divmod(position, len(examples))
        drawn.append(examples[_epoch_order(len(examples), seed, epoch)[place]])
    return drawn


def keep_those_that_fit(
    examples: Sequence[LocatedT], count_tokens: Callable[[LocatedT], int], *, context_length: int
) -> list[LocatedT]:
    """Return the examples without those that are too long for the model; warn of these once.

    Left in, such an example would end the run at the step that draws it, and every resumed one.

    Args:
        examples: All of them.
        count_tokens: Places that an example takes.
        context_length: Places that the model has.

    Raises:
        ValueError: None is left; names the first ones.
    """
    lengths = [count_tokens(example) for example in examples]
    too_long = [index for index, length in enumerate(lengths) if length > context_length]
    if not too_long:
        return list(examples)
    named = [
        f"{_name_example(examples, index)} takes {lengths[index]} tokens"
        for index in too_long[:_MOST_NAMED]
    ]
    if len(too_long) > _MOST_NAMED:
        named.append(f"and {len(too_long) - _MOST_NAMED} more")
    which = f"the model has a context of {context_length}: {', '.join(named)}"
    if len(too_long) == len(examples):
        raise ValueError(f"all {len(examples)} examples are too long, {which}")
    _logger.warning(
        "%d of %d examples are too long and left out, %s", len(too_long), len(examples), which
    )
    return [one for one, length in zip(examples, lengths, strict=True) if length <= context_length]


def _name_example(examples: Sequence[LocatedT], index: int) -> str:
    origin = examples[index].origin
    return f"example {index}" + (f" ({origin})" if origin else "")


# A step may straddle two passes over the data, each with its own order; an order of a million
# examples takes 13 ms to draw and 8 MB to keep.
@lru_cache(maxsize=2)
def _epoch_order(num_examples: int, seed: int, epoch: int) -> Int[np.ndarray, " examples"]:
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    order.flags.writeable = False
    return order


def hash_examples(examples: Sequence[Example | Conversation]) -> str:
    """Return 16 hex digits that identify the examples in their order."""
    # JSON keeps the turns apart: joined strings could collide.
    text = json.dumps(
        [[(turn.role, turn.content) for turn in example.messages] for example in examples]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
