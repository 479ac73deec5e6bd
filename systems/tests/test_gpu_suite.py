"""The suite for GPUs starts, with or without an installation, and says what it lacks."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from systems.benchmarks import gpu_suite

SUITE = Path(gpu_suite.__file__)


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SUITE, *options], capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
def test_every_part_runs_at_tiny_sizes() -> None:
    result = _run("--tiny")
    ends = result.stdout.splitlines()[-len(gpu_suite.make_parts()) :]
    assert [end[:16].strip() for end in ends] == list(gpu_suite.make_parts())
    assert all(" in " in end and end[16:].startswith("passed") for end in ends), result.stdout
    assert result.returncode == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what is missing where there is no GPU")
def test_a_machine_without_a_gpu_is_told_in_one_line() -> None:
    result = _run()
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("gpu_suite.py: error: needs a GPU, and torch ")
    assert line.endswith("; --tiny runs every part on a CPU")


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_plugin_is_named_only_where_no_package_has(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.metadata.entry_points(group="pytest11", name="lm_shared")
    assert found, "the tests run in an installed workspace"
    nothing = importlib.metadata.EntryPoints()
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda **_: found if is_installed else nothing
    )
    assert ("lm_shared.testing.plugin" in gpu_suite.plugin_options()) is not is_installed


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    result = _run("--tiny", "kernels")
    assert result.returncode == 2
    assert "unknown parts ['kernels']: choose from tests, flash attention" in result.stderr
