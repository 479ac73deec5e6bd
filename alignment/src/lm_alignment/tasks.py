"""Synthetic questions whose answers a program knows, split into training and validation.

The split goes by the set of digits in a question: digits that validation combines never occur
together in a training question, in any order or under any wording, so a memorized answer is of no
use there.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from lm_alignment.examples import Example


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A question about some digits."""

    digits: tuple[int, ...]
    """What the question is about."""
    example: Example
    """The question and its answer."""


@runtime_checkable
class Task(Protocol):
    """A family of problems, small enough to list."""

    def list_problems(self) -> Iterator[Problem]:
        """Yield every problem once, always in the same order."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SortTask:
    """Put several different digits in order."""

    num_digits: int = 3
    """Digits in a question."""

    def __post_init__(self) -> None:
        _check_num_digits(self.num_digits, most=8)

    def list_problems(self) -> Iterator[Problem]:
        """Yield every ordered choice of the digits 0 to 9."""
        for digits in itertools.permutations(range(10), self.num_digits):
            question = f"Sort {' '.join(map(str, digits))}."
            answer = " ".join(map(str, sorted(digits)))
            yield Problem(digits=digits, example=Example(question=question, answer=answer))


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtremumTask:
    """Name the largest or the smallest of several different digits."""

    num_digits: int = 4
    """Digits to choose from in a question."""

    def __post_init__(self) -> None:
        _check_num_digits(self.num_digits, most=8)

    def list_problems(self) -> Iterator[Problem]:
        """Yield both questions about every ordered choice of the digits 1 to 9."""
        for digits in itertools.permutations(range(1, 10), self.num_digits):
            listed = ", ".join(map(str, digits))
            for word, answer in (("largest", max(digits)), ("smallest", min(digits))):
                question = f"Which is the {word} of {listed}?"
                yield Problem(digits=digits, example=Example(question=question, answer=str(answer)))


@dataclass(frozen=True, kw_only=True, slots=True)
class SumTask:
    """Add several digits."""

    num_digits: int = 3
    """Terms of a sum."""

    def __post_init__(self) -> None:
        _check_num_digits(self.num_digits, most=5)

    def list_problems(self) -> Iterator[Problem]:
        """Yield the sums of every ordered choice, repetitions included, of the digits 0 to 9."""
        for digits in itertools.product(range(10), repeat=self.num_digits):
            question = f"What is {' + '.join(map(str, digits))}?"
            yield Problem(
                digits=digits, example=Example(question=question, answer=str(sum(digits)))
            )


TaskConfig = SortTask | ExtremumTask | SumTask


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSplit:
    """Examples of one task."""

    train: list[Example]
    """For fine-tuning and reinforcement learning, in random order."""
    validation: list[Example]
    """Never trained on, nor any question with the same digits; in random order."""


def split_task(task: Task, *, validation_fraction: float = 0.2, seed: int = 0) -> TaskSplit:
    """Divide all problems of ``task`` by their sets of digits.

    Args:
        task: Lists the problems.
        validation_fraction: Share of the sets of digits that are held out.
        seed: Decides which, and the order of the examples.

    Raises:
        ValueError: a side of the split would be empty.
    """
    by_digits: dict[tuple[int, ...], list[Example]] = defaultdict(list)
    for problem in task.list_problems():
        by_digits[tuple(sorted(problem.digits))].append(problem.example)
    num_held_out = round(validation_fraction * len(by_digits))
    if not 0 < num_held_out < len(by_digits):
        raise ValueError(
            f"validation_fraction={validation_fraction} of {len(by_digits)} sets of digits leaves "
            "one side of the split empty"
        )
    # Whole sets of digits go to one side, so that no order of a held-out set is trained on.
    random = np.random.default_rng(seed)
    groups = list(by_digits.values())
    order = random.permutation(len(groups)).tolist()
    validation, train = (
        [example for index in part for example in groups[index]]
        for part in (order[:num_held_out], order[num_held_out:])
    )
    return TaskSplit(
        train=[train[index] for index in random.permutation(len(train))],
        validation=[validation[index] for index in random.permutation(len(validation))],
    )


def _check_num_digits(num_digits: int, *, most: int) -> None:
    """Raise where a task would be trivial or too large to list."""
    if not 2 <= num_digits <= most:
        raise ValueError(f"num_digits must lie between 2 and {most}, got {num_digits}")
