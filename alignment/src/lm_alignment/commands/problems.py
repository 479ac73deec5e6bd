"""The questions of a command: which task, and which part of it."""

from typing import Literal

from lm_alignment.recipes import LAPTOP
from lm_alignment.tasks import ExtremumTask, SumTask, TaskSplit, split_task

TaskName = Literal["sort", "extremum", "sum"]

TASKS = {"sort": LAPTOP.task, "extremum": ExtremumTask(), "sum": SumTask()}


def load_problems(task: TaskName) -> TaskSplit:
    """Return the split that all commands share, whatever their seeds."""
    return split_task(TASKS[task])


def check_count(option: str, count: int, *, least: int, most: int, task: TaskName) -> None:
    """Refuse a count that the task's training examples do not have.

    Raises:
        ValueError: ``count`` is below ``least`` or above ``most``; names all of them.
    """
    if not least <= count <= most:
        raise ValueError(
            f"{option}={count} must lie between {least} and {most}, by the number of training "
            f"examples of the task {task!r}"
        )
