import errno
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import tyro

from lm_shared.command_line import SPIN_COUNT, load_command, run_command, run_unit
from lm_shared.command_options import _take_recipe, name_options, suggest, with_recipes
from lm_shared.processes import WorkerDiedError
from lm_shared.testing.processes import run_python

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
    "fail": ("commands:fail", "Fail in one of several ways."),
    "bare": ("commands:need_extra", "Need an extra."),
    "unlisted": ("extra:run", "Need an extra at once."),
    "missing": ("absent:run", "Cannot be imported."),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this module be the unit's, forget earlier calls, and restore the log handlers."""
    monkeypatch.setitem(sys.modules, "toys.commands", sys.modules[__name__])
    monkeypatch.setitem(sys.modules, "toys.extra", Extra("toys.extra"))
    seen.clear()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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


def test_a_recipe_is_a_whole_config_with_single_fields_overridden() -> None:
    assert run("train", "small", "--steps", "7", "--folder", "x") == 0
    assert seen == [(Training(steps=7, optimizer=AdamW(lr=0.5)), Path("x"))]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--folder", "x", "tiny", "--optimizer.lr", "0.25"),
        ("tiny", "--folder=x", "--optimizer.lr", "0.25"),
        ("--folder", "x", "--optimizer.lr", "0.25", "--no-compile", "tiny"),
    ],
)
def test_options_stand_on_either_side_of_the_recipe(arguments: tuple[str, ...]) -> None:
    assert run("train", *arguments) == 0
    assert seen == [(Training(steps=1, optimizer=AdamW(lr=0.25)), Path("x"))]


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (("--seed", "-1", "tiny"), {"seed": -1}),
        (("--optimizer.lr", "-1e-3", "tiny"), {"optimizer": AdamW(lr=-1e-3)}),
        (("optimizer:adam-w", "--optimizer.no-amsgrad", "tiny"), {}),
        (("--optimizer.amsgrad", "tiny"), {"optimizer": AdamW(amsgrad=True)}),
    ],
)
def test_a_recipe_stands_behind_numbers_and_flags(
    arguments: tuple[str, ...], changes: dict[str, Any]
) -> None:
    assert run("train", *arguments) == 0
    assert seen == [(replace(Training(steps=1), **changes), Path("runs"))]


def test_a_recipe_stands_behind_the_flags_of_another_alternative() -> None:
    assert run("train", "optimizer:sgd", "--optimizer.nesterov", "tiny") == 0
    assert seen == [(Training(steps=1, optimizer=Sgd(nesterov=True)), Path("runs"))]


@pytest.mark.parametrize("folder", ["-", "-x y", "-1"])
def test_a_recipe_stands_behind_values_that_begin_with_a_dash(folder: str) -> None:
    assert run("train", f"--folder={folder}", "tiny") == 0
    name, words = _take_recipe("toy train", train_by_recipe, ["--folder", folder, "tiny"])
    assert (name, words) == ("tiny", ["--folder", folder])


def test_what_an_option_is_set_to_is_no_recipe() -> None:
    assert run("study", "--folder", "tiny") == 0
    assert run("study", "--folder", "tiny", "--compile", "tiny") == 0
    small, tiny = RECIPES["small"][1], Training(steps=1, compile=True)
    assert seen == [(small, Path("tiny")), (tiny, Path("tiny"))]


def test_a_recipe_may_be_left_out_where_one_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study", "--steps", 3) == 0
    assert run("only") == 0
    configs = [Training(steps=3, optimizer=AdamW(lr=0.5)), Training(steps=1)]
    assert seen == [(config, Path("runs")) for config in configs]
    seen.clear()
    told = refuse("train", "--steps", 3, capsys=capsys)
    assert told == "toy: error: expected the name of a recipe: there are tiny, small\n"


def test_a_part_of_a_recipe_is_chosen_by_a_word() -> None:
    assert run("train", "tiny", "--folder", "x", "optimizer:sgd", "--optimizer.lr", "3") == 0
    assert seen == [(Training(steps=1, optimizer=Sgd(lr=3.0)), Path("x"))]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["fail", "--kind", "value"], 2, "toy: error: two lines\n"),
        (["fail", "--kind", "empty"], 2, "toy: error: ValueError\n"),
        (["fail", "--kind", "interrupt"], 130, "toy: interrupted\n"),
        (["fail", "--kind", "told interrupt"], 130, "toy: interrupted; step 3 is kept\n"),
        (["fail", "--kind", "worker"], 2, "toy: error: process 3 was killed\n"),
        (["bare"], 2, "toy: error: chimes need bells: install toy[chimes]\n"),
        (["unlisted"], 2, "toy: error: chimes need bells: install toy[chimes]\n"),
        (["fail", "--kind", "pipe of another"], 2, "toy: error: Broken pipe\n"),
        (
            ["show", "--path", "/no/file"],
            2,
            "toy: error: No such file or directory: /no/file\n",
        ),
        (
            ["train", "tiny", "--sample-every", "0"],
            2,
            "toy: error: --sample-every=0 must be positive, other_words too\n",
        ),
    ],
)
def test_bad_input_is_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, line: str
) -> None:
    assert run(*arguments) == code
    assert capsys.readouterr() == ("", line)


def test_errors_name_options_and_leave_other_words_alone() -> None:
    call = partial(train, Training(), folder=Path("x"), sample_every=3)
    recipe = partial(train, config=Training(), folder=Path("x"), sample_every=3)
    for message, told in (
        ("sample_every must be 3", "--sample-every must be 3"),
        ("folder=x is no folder", "--folder=x is no folder"),
        ("a folder x_sample_every", "a folder x_sample_every"),
    ):
        assert name_options(call, message) == told
    assert name_options(recipe, "steps must be 3") == "--steps must be 3"
    assert name_options(recipe, "eps=0 is too small") == "--optimizer.eps=0 is too small"


@pytest.mark.parametrize(
    "message",
    [
        "runs/sample_every/train.bin is missing",
        "runs/sample_every is missing",
        "sample_every/x is missing",
        "sample_every.json is missing",
        "unknown key in {sample_every=3}",
        "got 'a sample_every must' there",
        'got "sample_every=3"',
        "expected columns, got sample_every",
    ],
)
def test_errors_leave_paths_and_data_alone(message: str) -> None:
    assert name_options(partial(train, folder=Path("x"), sample_every=3), message) == message
    assert name_options(train_by_recipe, message) == message


def test_errors_of_the_system_leave_their_path_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def show_again(no_path: Path) -> None:
        no_path.read_text()

    assert run_command("toy", show_again, ["--no-path", "/a no_path=3"]) == 2
    assert capsys.readouterr().err == "toy: error: No such file or directory: /a no_path=3\n"


@pytest.mark.parametrize("kind", ["full", "full by its text"])
def test_a_full_disk_says_what_to_do(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    assert run("fail", "--kind", kind) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "make room and run the same command again" in error


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(TypeError, match="a defect"):
        run("fail", "--kind", "defect")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["trian"], "toy: error: no command 'trian': did you mean train?\n"),
        (["xyz", "--steps", "3"], "no command 'xyz': there are train, study, only, show, fail, "),
        (["--steps", "3"], "toy: error: --steps stands before the command: put options behind it"),
        (["train", "tinny"], "toy: error: no recipe 'tinny': did you mean tiny?\n"),
        (["study", "huge"], "no study 'huge': there are tiny, small"),
        (["train", "tiny", "--stepz", "3"], "--steps"),
        (["train", "tiny", "--lr", "3"], "--optimizer.lr"),
        (["train", "tiny", "--steps", "many"], "many"),
        (["train", "tiny", "--steps", "0"], "toy: error: --steps must be positive, got 0\n"),
        (["train", "tiny", "--batch-size", "0"], "error: --batch-size must be positive, got 0\n"),
        (["train", "--steps", "5", "tinny"], "error: no recipe 'tinny': did you mean tiny?\n"),
        (["only", "--no-compile", "tinny"], "error: no recipe 'tinny': did you mean tiny?\n"),
        (["train", "tiny", "optimizer:rprop"], "optimizer:"),
        (["show"], "--path"),
        ([], "Train a model."),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_cannot_be_understood_exits_with_2_and_a_hint(
    capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    assert hint in refuse(*arguments, capsys=capsys)


def test_help_names_commands_recipes_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    listed = capsys.readouterr().out
    assert all(word in listed for word in ("A toy.", "Train a model.", "Show a file."))
    for arguments, words in (
        (["train", "--help"], ["Train a model.", "Seconds on a CPU.", "--folder"]),
        (["study", "--help"], ["without one it is small"]),
        (["train", "tiny", "--help"], ["--optimizer.lr", "Peak learning rate.", "--folder"]),
    ):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 0
        output = capsys.readouterr().out
        assert all(word in output for word in words), output


def test_only_the_command_that_is_asked_for_is_imported() -> None:
    assert run("--help") == 0
    assert load_command("toys", COMMANDS, "show") is show
    with pytest.raises(ModuleNotFoundError, match="toys"):
        run("missing")


def test_an_interrupt_while_a_command_is_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_slowly(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", load_slowly)
    assert run("show") == 130
    assert capsys.readouterr().err == "toy: interrupted\n"


def test_a_program_that_is_one_command_explains_too(capsys: pytest.CaptureFixture[str]) -> None:
    def look(*, path: Annotated[str, tyro.conf.arg(metavar="PATH")]) -> None:
        """Show."""

    with pytest.raises(SystemExit):
        run_command("toy", look, ["--pth", "x"])
    assert "--path" in capsys.readouterr().err


CHATTY = """
import sys
from lm_shared.command_line import run_command
from rich.console import Console


def talk(how: str = "print") -> None:
    \"\"\"Talk.\"\"\"
    for number in range(100_000):
        print(number) if how == "print" else Console().print(number)


sys.exit(run_command("toy", talk))
"""


@pytest.mark.parametrize("arguments", ["--how print", "--how rich", "--help"])
def test_a_pipe_that_nobody_reads_is_no_error(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(CHATTY)
    # The reader leaves at once, or after one line.
    for reader in ("true", "head -1"):
        script = (
            f"{sys.executable} chatty.py {arguments} 2> told | {reader}; echo ${{PIPESTATUS[0]}}"
        )
        code = f"import subprocess; subprocess.run(['bash', '-c', {script!r}], check=True)"
        assert run_python(["-c", code], folder=tmp_path).stdout.splitlines()[-1] == "0"
        assert (tmp_path / "told").read_text() == ""


@pytest.mark.parametrize(
    ("where", "told"), [(">&-", "standard output is closed"), ("> /dev/full", "No space left on")]
)
@pytest.mark.parametrize("arguments", ["--how print", "--how rich", "--help"])
def test_output_that_cannot_be_written_is_told(
    arguments: str, where: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "chatty.py").write_text(CHATTY)
    script = f"{sys.executable} chatty.py {arguments} {where} 2> told; echo $?"
    code = f"import subprocess; subprocess.run(['bash', '-c', {script!r}], check=True)"
    assert run_python(["-c", code], folder=tmp_path).stdout == "2\n"
    lines = (tmp_path / "told").read_text().splitlines()
    assert all(line.startswith("toy: error: ") and told in line for line in lines)
    assert 1 <= len(lines) <= 2


def test_all_names_are_told_where_none_is_near() -> None:
    assert suggest("abc", ["abd", "xyz"]) == "did you mean abd?"
    assert suggest("qqq", ["abd", "xyz"]) == "there are abd, xyz"


def test_a_command_with_recipes_tells_what_its_function_does() -> None:
    assert inspect.getdoc(train_by_recipe) == "Train a model."


@pytest.mark.parametrize(
    ("environment", "spins"),
    [({}, str(SPIN_COUNT)), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_what_the_environment_says_about_waiting_wins(
    environment: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # Both, so that what the command sets is undone as well.
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run("only") == 0
    assert os.environ.get("GOMP_SPINCOUNT") == spins
