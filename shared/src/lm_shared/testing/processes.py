"""Python processes for tests: offline, on one thread, with every warning an error."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Fixed width and no color, so that tests can compare what is shown.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "WANDB_MODE": "offline",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "100",
    "NO_COLOR": "1",
}


def run_python(
    arguments: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run ``python -W error <arguments>`` to its end and return its exit code and output."""
    return subprocess.run(
        python_command(arguments),
        cwd=folder,
        env=offline_environment(environment),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def start_python(
    arguments: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start the same without waiting, for tests that kill it; use it as a context manager."""
    return subprocess.Popen(
        python_command(arguments),
        cwd=folder,
        env=offline_environment(environment),
        stdout=subprocess.PIPE,
        # One pipe: a second one that nobody reads would fill up and stop the process.
        stderr=subprocess.STDOUT,
        text=True,
    )


def python_command(arguments: Sequence[str | Path]) -> list[str]:
    """Return the command line of this interpreter with warnings as errors."""
    return [sys.executable, "-W", "error", *map(str, arguments)]


def offline_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a test process: this one's, offline, plus ``extra``."""
    return {**os.environ, **_ENVIRONMENT, **(extra or {})}
