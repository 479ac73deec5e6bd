from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import pytest
import tyro

from lm_shared.command_line import run_command, run_commands, with_recipes
from lm_shared.usage_errors import parse_or_explain, suggest


@dataclass(frozen=True, kw_only=True, slots=True)
class Sgd:
    """Plain."""

    lr: float = 1.0
    """Learning rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adam:
    """Adaptive."""

    lr: float = 0.1
    """Learning rate."""
    eps: float = 1e-8
    """Added; it has nothing to do with --momentum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A training."""

    optimizer: Sgd | Adam = field(default_factory=Sgd)
    """The rule."""
    num_steps: int = 3
    """Steps."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be positive, got {self.num_steps}")


def train(training: Training, *, folder: str) -> None:
    """Train."""
    if folder == "broken":
        raise SystemExit(7)
    print(training, folder)  # noqa: T201 - what the tests look for


COMMANDS = {"train": with_recipes(train, {"tiny": ("Small.", Training())})}


def explain(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        run_commands("toy", "A toy.", COMMANDS, arguments)
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("toy: error: ")
    assert output.err.count("\n") == 1
    return output.err.removeprefix("toy: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        # Also where something required is missing.
        (["train", "tiny", "--num-step", "3"], "no option --num-step: did you mean --num-steps?"),
        (["train", "tiny", "--folder", "x", "--num_step=3"], "did you mean --num-steps?"),
        (["train", "tiny", "--optimizer.rl", "3"], "did you mean --optimizer.lr?"),
        (["train", "tiny", "--qqq"], "no option --qqq: --help lists all"),
        (["train", "tiny", "--folder"], "Missing value for argument '--folder'"),
        (["train", "tiny"], "Missing from toy train"),
        (["train", "tiny", "--num-steps", "x", "--folder", "y"], "'x'"),
        (["train", "tiny", "--lr", "3"], "no option --lr: did you mean --optimizer.lr?"),
        (["train", "--tiny"], "no option --tiny: did you mean the recipe tiny?"),
        (
            ["train", "tiny", "--optimizer", "adam"],
            "no option --optimizer: it is chosen by a word, optimizer:sgd or optimizer:adam",
        ),
        (["train", "tiny", "--folder", "the:cat", "--stepz", "5"], "no option --stepz: "),
        (["train", "tiny", "optimizer:a-dam"], "did you mean optimizer:adam?"),
        (["train", "tiny", "optimizer:rprop"], "there are optimizer:sgd, optimizer:adam"),
        (["train", "tinny", "--folder", "x"], "no recipe 'tinny': did you mean tiny?"),
        (["train", "huge"], "no recipe 'huge': there are tiny"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in explain(*arguments, capsys=capsys)


def test_an_option_of_another_choice_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    train = ("train", "tiny", "--folder", "x")
    assert "no option --optimizer.eps: " in explain(*train, "--optimizer.eps", "1", capsys=capsys)
    adam = (*train, "optimizer:adam", "--optimizer.eps", "1")
    assert run_commands("toy", "A toy.", COMMANDS, adam) == 0
    assert "Adam(lr=0.1, eps=1.0)" in capsys.readouterr().out
    line = explain(*adam, "--optimizer.epz", "2", capsys=capsys)
    assert line == "no option --optimizer.epz: did you mean --optimizer.eps?"


def test_an_option_that_only_a_description_names_is_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    adam = ("train", "tiny", "--folder", "x", "optimizer:adam", "--momentum", "1")
    assert explain(*adam, capsys=capsys).startswith("no option --momentum: ")


def test_what_the_work_says_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "tiny", "--folder", "broken"]
    with pytest.raises(SystemExit) as stopped:
        run_commands("toy", "A toy.", COMMANDS, arguments)
    assert stopped.value.code == 7


def test_a_value_that_a_config_refuses_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("train", "tiny", "--folder", "x", "--num-steps", "0")
    line = explain(*arguments, capsys=capsys)
    # How tyro begins it depends on how wide its box is.
    assert line.removeprefix("Value error ") == "num_steps must be positive, got 0"


def test_tyros_own_words_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    line = explain("train", "tiny", "--folder", "x", "--num-steps", "x", capsys=capsys)
    assert "Steps." not in line
    assert "helptext" not in line


def test_names_are_called_what_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {"tiny": ("Small.", Training())}
    monkeypatch.setitem(COMMANDS, "train", with_recipes(train, studies, kind="study"))
    assert explain("train", "tinny", capsys=capsys) == "no study 'tinny': did you mean tiny?"


def test_a_program_that_is_one_command_explains_too(capsys: pytest.CaptureFixture[str]) -> None:
    def show(*, path: Annotated[str, tyro.conf.arg(metavar="PATH")]) -> None:
        """Show."""

    with pytest.raises(SystemExit):
        run_command("toy", show, ["--pth", "x"])
    assert capsys.readouterr().err == "toy: error: no option --pth: did you mean --path?\n"


def test_help_still_ends_the_process_well() -> None:
    def parse(arguments: Sequence[str]) -> None:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        parse_or_explain(parse, ["--help"])


def test_without_words_there_is_still_a_line() -> None:
    def parse(arguments: Sequence[str]) -> None:
        raise SystemExit(2)

    assert parse_or_explain(parse, ["x"]) == (
        None,
        "the command line cannot be read: --help shows how",
    )


def test_all_names_are_told_where_none_is_near() -> None:
    assert suggest("abc", ["abd", "xyz"]) == "did you mean abd?"
    assert suggest("qqq", ["abd", "xyz"]) == "there are abd, xyz"
