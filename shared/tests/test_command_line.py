import inspect
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import tyro

from lm_shared.command_line import SPIN_COUNT, load_command, run_command
from lm_shared.command_options import (
    Positional,
    There,
    _take_recipe,
    name_options,
    suggest,
)
from shared.tests import toy_commands
from shared.tests.toy_commands import (
    COMMANDS,
    RECIPES,
    AdamW,
    Extra,
    Sgd,
    Training,
    refuse,
    run,
    seen,
    show,
    train,
    train_by_recipe,
)

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """A path inside of a group."""

    table: Annotated[Path | None, There()] = None
    """A table."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this module be the unit's, forget earlier calls, and restore the log handlers."""
    monkeypatch.setitem(sys.modules, "toys.commands", toy_commands)
    monkeypatch.setitem(sys.modules, "toys.extra", Extra("toys.extra"))
    seen.clear()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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
        (["xyz", "--steps", "3"], "no command 'xyz': there are train, study, only, show, bound, "),
        (["--steps", "3"], "toy: error: --steps stands before the command: put options behind it"),
        (["train", "tinny"], "toy: error: no recipe 'tinny': did you mean tiny?\n"),
        (["study", "huge"], "no study 'huge': there are tiny, small"),
        (
            ["train", "tiny", "--stepz", "3"],
            "toy: error: no option --stepz: did you mean --steps? toy train tiny --help lists all",
        ),
        (["train", "tiny", "--lr", "3"], "no option --lr: did you mean --optimizer.lr? toy train "),
        (["train", "--optimizer_lrr=3"], "no option --optimizer-lrr: did you mean --optimizer.lr?"),
        (["show", "--xyz"], "toy: error: no option --xyz: toy show --help lists all"),
        (["train", "tiny", "--no-folder"], "toy: error: no option --no-folder: "),
        (["bound", "--counts", "1", "-2"], "toy: error: --counts must be at least 1, got -2\n"),
        (["bound", "--share", "0"], "toy: error: --share must be more than 0, got 0.0\n"),
        (["bound", "--share", "nan"], "toy: error: --share must be more than 0, got nan\n"),
        (["bound", "--width", "0"], "toy: error: --width must be at least 1, got 0\n"),
        (
            ["train", "tiny", "--steps", "many"],
            "toy: error: --steps: expected a whole number, got 'many'\n",
        ),
        (["train", "tiny", "--optimizer.lr", "x"], "lr: expected a number, got 'x'\n"),
        (["bound", "--share", "x"], "toy: error: --share: expected a number, got 'x'\n"),
        (["bound", "--share"], "toy: error: --share: expected a number, got nothing\n"),
        (["paint", "redd"], "toy: error: no color 'redd': did you mean red?\n"),
        (["paint", "red", "--coats", "no"], "toy: error: no coats 'no': there are one, two\n"),
        (["paint"], "required"),
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


def test_numbers_within_their_bounds_are_taken() -> None:
    assert run("bound", "--counts", 1, 3, "--share", 0.5) == 0
    assert run("bound") == 0
    assert run("bound", "--share", "None") == 0
    assert seen == [(1, (1, 3), 0.5), (1, (), None), (1, (), None)]


def test_help_names_commands_recipes_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    listed = capsys.readouterr().out
    assert all(word in listed for word in ("A toy.", "Train a model.", "Show a file."))
    assert "  train     Train a model.\n  study     Study a model.\n" in listed
    for arguments, words in (
        (["train", "--help"], ["Train a model.", "  tiny   Seconds on a CPU.\n", "--folder"]),
        (["study", "--help"], ["one study by its name, behind toy study; without one it is small"]),
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


@pytest.mark.parametrize(
    "words", [["absent"], ["--more", "absent", "there"], ["there", "--inner.table", "absent"]]
)
def test_a_path_that_leads_nowhere_is_told_before_the_work(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def look(
        path: Annotated[Path, There()],
        /,
        *,
        more: Annotated[Path | None, There()] = None,
        inner: Paths = Paths(),
    ) -> None:
        """Show."""
        seen.append(path)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    assert run_command("toy", look, words) == 2
    assert capsys.readouterr().err == "toy: error: No such file or directory: absent\n"
    assert seen == []
    assert run_command("toy", look, ["there", "--more", "there"]) == 0


def test_an_interrupt_while_the_parser_is_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "lm_shared.command_options", Interrupted("options"))
    assert run("show") == 130
    assert capsys.readouterr().err == "toy: interrupted\n"


@pytest.mark.parametrize("name", ["--weird.txt", "--path", "-x"])
def test_what_stands_behind_two_dashes_is_no_option(name: str, tmp_path: Path) -> None:
    def look(path: Positional[Path]) -> None:
        """Show."""
        seen.append(path)

    assert run_command("toy", look, ["--", name]) == 0
    assert seen == [Path(name)]


def test_the_parser_has_options_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["train", "tiny"], ["study"], ["show"]):
        with pytest.raises(SystemExit) as stopped:
            run(*words, "--tyro-print-completion", "bash")
        assert not stopped.value.code
        assert "complete" in capsys.readouterr().out


def test_the_same_mistake_gets_the_same_hint(capsys: pytest.CaptureFixture[str]) -> None:
    def tune(
        *, f: AdamW, d: AdamW, b: AdamW, h: AdamW, a: AdamW, g: AdamW, c: AdamW, e: AdamW
    ) -> None:
        """Tune."""

    for name in ("lr", "eps", "amsgrad"):
        with pytest.raises(SystemExit):
            run_command("toy", tune, [f"--{name}", "1"])
        assert f"did you mean --a.{name}?" in capsys.readouterr().err
