import subprocess
from pathlib import Path

import pytest

from lm_shared.testing.processes import run_python, start_python


def test_output_and_exit_code_come_back(tmp_path: Path) -> None:
    script = "import os, sys; print(os.getcwd()); sys.stderr.write('no'); sys.exit(3)"
    result = run_python(["-c", script], folder=tmp_path)
    assert (result.returncode, result.stderr) == (3, "no")
    assert result.stdout.strip() == str(tmp_path)


def test_warnings_are_errors() -> None:
    result = run_python(["-c", "import warnings; warnings.warn('careful')"])
    assert result.returncode == 1
    assert "UserWarning: careful" in result.stderr


def test_processes_are_offline_on_one_thread_and_take_extra_variables() -> None:
    script = (
        "import os; print(*(os.environ[n] for n in ('HF_HUB_OFFLINE', 'OMP_NUM_THREADS', 'X')))"
    )
    assert run_python(["-c", script], environment={"X": "y"}).stdout == "1 1 y\n"


def test_a_process_that_hangs_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_python(["-c", "import time; time.sleep(60)"], timeout_s=0.2)


def test_a_started_process_can_be_killed() -> None:
    with start_python(["-c", "import time; time.sleep(60)"]) as process:
        process.kill()
    assert process.returncode == -9
