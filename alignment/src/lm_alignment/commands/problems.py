"""The questions of a command: which task, and which part of it."""

from typing import Literal

from lm_alignment.recipes import LAPTOP
from lm_alignment.tasks import ExtremumTask, SumTask, TaskSplit, split_task

TaskName = Literal["sort", "extremum", "sum"]

TASKS = {"sort": LAPTOP.task, "extremum": ExtremumTask(), "sum": SumTask()}


def load_problems(task: TaskName) -> TaskSplit:
    """Return the split that all commands share, whatever their seeds."""
    return split_task(TASKS[task])
