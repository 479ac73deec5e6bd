"""Output of commands that nobody reads or that cannot be written."""

import sys
from pathlib import Path

import pytest

from lm_shared.testing.processes import run_python

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


def test_the_end_does_not_look_for_garbage() -> None:
    # What is registered first is called last.
    script = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000))"
    talk = CHATTY.replace("100_000", "0")
    assert run_python(["-c", script + talk]).stdout == "True\n"


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


def test_a_broken_pipe_of_the_work_is_told_while_somebody_reads() -> None:
    failing = CHATTY.replace(
        "for number", "raise BrokenPipeError(32, 'Broken pipe')\n    for number"
    )
    finished = run_python(["-c", failing])
    assert (finished.returncode, finished.stderr) == (2, "toy: error: Broken pipe\n")


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
