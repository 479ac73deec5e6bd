"""The questions of a command: which task, and which part of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lm_alignment.recipes import LAPTOP
from lm_alignment.tasks import ExtremumTask, SumTask, TaskSplit, split_task
from lm_shared.config import DeviceName

if TYPE_CHECKING:
    from lm_basics.export import TextModel

TaskName = Literal["sort", "extremum", "sum"]

TASKS = {"sort": LAPTOP.task, "extremum": ExtremumTask(), "sum": SumTask()}


def load_problems(task: TaskName) -> TaskSplit:
    """Return the split that all commands share, whatever their seeds."""
    return split_task(TASKS[task])


def load_policy(model: Path, tokenizer: Path | None, device: DeviceName) -> "TextModel":
    """Read a model and its tokenizer, and put it where it is to compute."""
    from lm_basics.export import load_text_model
    from lm_shared.tensors import choose_device
    from lm_systems.kernels.ops import get_ops

    loaded = load_text_model(model, tokenizer=tokenizer, ops=get_ops("fused"))
    loaded.model.to(choose_device(device))
    return loaded


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
