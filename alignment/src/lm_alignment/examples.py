"""Questions with their reference answers: what fine-tuning imitates and a verifier compares with.

Which examples a step sees depends on the seed and the step alone, so a resumed run needs no saved
position in its data.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One exchange."""

    question: str
    """What the user asks, without any template around it."""
    answer: str
    """The reference: imitated by fine-tuning, only compared with by reinforcement learning."""


def draw_examples(
    examples: Sequence[Example], count: int, *, seed: int, step: int
) -> list[Example]:
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
    examples: Sequence[Example], count_tokens: Callable[[Example], int], *, context_length: int
) -> list[Example]:
    """Return the examples without those that are too long for the model; warn of these once.

    Left in, such an example would end the run at the step that draws it, and every resumed one.

    Args:
        examples: All of them.
        count_tokens: Places that an example takes.
        context_length: Places that the model has.

    Raises:
        ValueError: None is left; names the first.
    """
    lengths = [count_tokens(example) for example in examples]
    too_long = [index for index, length in enumerate(lengths) if length > context_length]
    if not too_long:
        return list(examples)
    first = too_long[0]
    which = f"example {first} takes {lengths[first]} tokens of a context of {context_length}"
    if len(too_long) == len(examples):
        raise ValueError(f"all {len(examples)} examples are too long for the model: {which}")
    _logger.warning(
        "%d of %d examples are too long for the model and left out: %s",
        len(too_long),
        len(examples),
        which,
    )
    return [one for one, length in zip(examples, lengths, strict=True) if length <= context_length]


# A step may straddle two passes over the data, each with its own order; an order of a million
# examples takes 13 ms to draw and 8 MB to keep.
@lru_cache(maxsize=2)
def _epoch_order(num_examples: int, seed: int, epoch: int) -> Int[np.ndarray, " examples"]:
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    order.flags.writeable = False
    return order


def hash_examples(examples: Sequence[Example]) -> str:
    """Return 16 hex digits that identify the examples in their order."""
    # JSON keeps question and answer apart: joined strings could collide.
    text = json.dumps([[example.question, example.answer] for example in examples])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
