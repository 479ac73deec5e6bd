"""The commands of a toy unit, for the tests of command lines."""

import errno
import importlib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
import tyro

from lm_shared.command_line import run_unit
from lm_shared.command_options import (
    Above,
    Least,
    Positional,
    with_recipes,
)
from lm_shared.processes import WorkerDiedError

seen: list[object] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class Sgd:
    """Plain."""

    lr: float = 1.0
    """Learning rate."""
    nesterov: bool = False
    """Whether to look ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    """Adaptive."""

    lr: float = 1e-3
    """Peak learning rate."""
    eps: float = 1e-8
    """Added."""
    amsgrad: bool = False
    """Whether the largest second moment counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A training run."""

    optimizer: AdamW | Sgd = field(default_factory=AdamW)
    """The optimizer."""
    steps: int = 10
    """Optimizer steps."""
    compile: bool = False
    """Whether to compile."""
    seed: int = 0
    """Of the model."""
    batch_size: int = 1
    """Sequences per step."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {self.batch_size}")
        if self.steps < 1:
            raise ValueError(f"steps must be positive, got {self.steps}")


def train(config: Training, *, folder: Path = Path("runs"), sample_every: int = 1) -> None:
    """Train a model."""
    if sample_every < 1:
        raise ValueError(f"sample_every={sample_every} must be positive, other_words too")
    seen.append((config, folder))


def show(path: Path) -> None:
    """Show a file."""
    seen.append(path.read_text())


def fail(kind: str) -> None:
    """Fail in one of several ways."""
    raise {
        "value": ValueError("two\n  lines"),
        "empty": ValueError(),
        "interrupt": KeyboardInterrupt(),
        "told interrupt": KeyboardInterrupt("step 3 is kept"),
        "defect": TypeError("a defect"),
        "full": OSError(errno.ENOSPC, "No space left on device", "x.bin"),
        "full by its text": OSError("Error writing. [errno 28] No space left on device"),
        "worker": WorkerDiedError("process 3 was killed"),
        "pipe of another": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    }[kind]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """A number with a bound."""

    width: Annotated[int, Least(1)] = 1
    """Not to be zero."""


def bound(
    *,
    inner: Annotated[Bounds, tyro.conf.arg(name="")] = Bounds(),
    counts: Annotated[tuple[int, ...], Least(1)] = (),
    share: Annotated[float | None, Above(0)] = None,
) -> None:
    """Take numbers with bounds."""
    seen.append((inner.width, counts, share))


def paint(
    color: Positional[Literal["red", "blue"]], *, coats: Literal["one", "two"] = "one"
) -> None:
    """Paint."""
    seen.append((color, coats))


def need_extra() -> None:
    """Need a package that is not there."""
    try:
        importlib.import_module("no_such_bells")
    except ImportError as error:
        raise ImportError("chimes need bells: install toy[chimes]") from error


RECIPES = {
    "tiny": ("Seconds on a CPU.", Training(steps=1)),
    "small": ("Minutes on a CPU.", Training(steps=100, optimizer=AdamW(lr=0.5))),
}
train_by_recipe = with_recipes(train, RECIPES)
study_by_name = with_recipes(train, RECIPES, kind="study", default="small")
only_one = with_recipes(train, {"tiny": RECIPES["tiny"]})
COMMANDS = {
    "train": ("commands:train_by_recipe", "Train a model."),
    "study": ("commands:study_by_name", "Study a model."),
    "only": ("commands:only_one", "Train the one model that there is."),
    "show": ("commands:show", "Show a file."),
    "bound": ("commands:bound", "Take numbers with bounds."),
    "paint": ("commands:paint", "Paint."),
    "fail": ("commands:fail", "Fail in one of several ways."),
    "bare": ("commands:need_extra", "Need an extra."),
    "unlisted": ("extra:run", "Need an extra at once."),
    "missing": ("absent:run", "Cannot be imported."),
}


class Extra(ModuleType):
    """A module that needs an extra as soon as something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        if name == "run":
            need_extra()
        raise AttributeError(name)


def run(*arguments: object) -> int:
    return run_unit("toy", "A toy.", "toys", COMMANDS, [str(one) for one in arguments])


def refuse(*arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is said about arguments that cannot be understood."""
    try:
        code = run(*arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert (code, seen) == (2, [])
    output = capsys.readouterr()
    assert output.out == ""
    return output.err
