import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lm_shared.command_line import load_commands, run_commands, with_recipes

seen: list[object] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    """AdamW."""

    lr: float = 1e-3
    """Peak learning rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A training run."""

    optimizer: AdamW = field(default_factory=AdamW)
    """The optimizer."""
    steps: int = 10
    """Optimizer steps."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be positive, got {self.steps}")


def train(config: Training, *, folder: Path = Path("runs")) -> None:
    """Train a model."""
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
    }[kind]


RECIPES = {
    "tiny": ("Seconds on a CPU.", Training(steps=1)),
    "small": ("Minutes on a CPU.", Training(steps=100, optimizer=AdamW(lr=0.5))),
}
COMMANDS = {"train": with_recipes(train, RECIPES), "show": show, "fail": fail}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Forget earlier calls, and restore the log handlers that a command sets up."""
    seen.clear()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def run(*arguments: object) -> int:
    return run_commands("toy", "A toy.", COMMANDS, [str(one) for one in arguments])


def test_a_recipe_is_a_whole_config_with_single_fields_overridden() -> None:
    assert run("train", "small", "--steps", "7", "--folder", "x") == 0
    assert seen == [(Training(steps=7, optimizer=AdamW(lr=0.5)), Path("x"))]


def test_options_of_the_command_may_precede_the_recipe() -> None:
    assert run("train", "--folder", "x", "tiny", "--optimizer.lr", "0.25") == 0
    assert seen == [(Training(steps=1, optimizer=AdamW(lr=0.25)), Path("x"))]


def test_one_command_is_still_a_sub_command(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("text")
    assert run_commands("toy", "A toy.", {"show": show}, ["show", "--path", f"{tmp_path}/x"]) == 0
    assert seen == ["text"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["fail", "--kind", "value"], 2, "toy: error: two lines\n"),
        (["fail", "--kind", "empty"], 2, "toy: error: ValueError\n"),
        (["fail", "--kind", "interrupt"], 130, "toy: interrupted\n"),
        (["fail", "--kind", "told interrupt"], 130, "toy: interrupted; step 3 is kept\n"),
        (["show", "--path", "/no/file"], 2, "toy: error: No such file or directory: /no/file\n"),
    ],
)
def test_bad_input_is_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, line: str
) -> None:
    assert run(*arguments) == code
    assert capsys.readouterr() == ("", line)


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
        (["trian"], "train"),
        (["train", "huge"], "tiny"),
        (["train", "tiny", "--stepz", "3"], "--steps"),
        (["train", "tiny", "--steps", "many"], "many"),
        (["train", "tiny", "--steps", "0"], "steps must be positive, got 0"),
        (["show"], "--path"),
        ([], "train"),
    ],
)
def test_an_unusable_command_line_exits_with_2_and_a_hint(
    capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert seen == []
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "hint"), [("trian", "did you mean train?"), ("xyz", "there are train, show, fail")]
)
def test_an_unknown_command_is_one_line(
    capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(name, "--steps", "3")
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"toy: error: no command '{name}': {hint}\n")


def test_help_names_commands_recipes_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--help"], ["A toy.", "Train a model.", "Show a file."]),
        (["train", "--help"], ["Seconds on a CPU.", "--folder"]),
        (["train", "tiny", "--help"], ["--optimizer.lr", "Peak learning rate."]),
    ):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 0
        output = capsys.readouterr().out
        assert all(word in output for word in words), output


def test_only_the_command_that_is_asked_for_is_imported() -> None:
    places = {"join": "posixpath:join", "missing": "no_such_module:run"}
    assert load_commands("lm_shared", {"hash": "files:hash_file"}, ["hash", "x"])
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_commands("lm_shared", {"hash": "files:hash_file", **places}, ["missing"])
    loaded = load_commands("lm_shared", {"hash": "files:hash_file", **places}, ["hash"])
    assert list(loaded) == ["hash"]
    both = {"hash": "files:hash_file", "write": "files:write_json"}
    for arguments in ([], ["--help"], ["unknown"]):
        assert list(load_commands("lm_shared", both, arguments)) == ["hash", "write"]


def test_an_interrupt_while_a_command_is_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_slowly(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", load_slowly)
    with pytest.raises(SystemExit) as stopped:
        load_commands("toys", {"show": "shows:show"}, ["show"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
