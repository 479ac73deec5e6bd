import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_shared.processes import num_available_cores
from lm_shared.receipt import (
    describe_hardware,
    describe_origin,
    git_state,
    installed_versions,
    peak_memory,
)
from lm_shared.testing.processes import run_python

MEBIBYTE = 2**20


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_clean_repository_gives_its_commit(repository: Path) -> None:
    assert git_state(repository) == (git(repository, "rev-parse", "HEAD").strip(), False)


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_changed_and_new_files_make_it_dirty(repository: Path, name: str) -> None:
    (repository / name).write_text("x = 2\n")
    assert git_state(repository)[1] is True


def test_no_commit_and_no_repository_give_nothing(tmp_path: Path) -> None:
    assert git_state(tmp_path / "absent") == (None, None)
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path) == (None, None)


def test_versions_are_those_of_the_imported_packages() -> None:
    versions = installed_versions()
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == np.__version__
    assert versions["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    assert "lm-shared" in versions


def test_hardware_is_described() -> None:
    hardware = describe_hardware()
    assert hardware.cpu
    assert hardware.num_cores == num_available_cores()
    assert hardware.memory_bytes > 2**28
    assert len(hardware.gpus) == torch.cuda.device_count()


def test_the_peak_of_several_devices_is_that_of_the_fullest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda index: (5, 7, 6)[index])
    assert peak_memory()[1] == 7


@pytest.mark.gpu
def test_peak_gpu_memory_counts_tensors() -> None:
    torch.cuda.reset_peak_memory_stats()
    x = torch.ones(1 << 20, device="cuda")
    assert peak_memory()[1] >= x.numel() * x.element_size()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's own account")
def test_a_reset_forgets_what_is_gone() -> None:
    script = """
from pathlib import Path
from lm_shared.receipt import peak_bytes, reset_peak
data = b"x" * (200 << 20)
high = peak_bytes()
del data
reset_peak()
print(high, peak_bytes(), int(Path("/proc/self/stat").read_text().split()[23]) * 4096)
"""
    result = run_python(["-c", script])
    assert result.returncode == 0, result.stderr
    high, low, resident = map(int, result.stdout.split())
    assert high >= 200 * MEBIBYTE
    # Where a container forbids the reset, the peak stays an upper bound.
    assert low == high or resident <= low < 100 * MEBIBYTE


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's own account")
def test_a_child_does_not_repeat_the_memory_of_its_parent() -> None:
    script = """
import subprocess
from lm_shared.receipt import peak_bytes
data = b"x" * (200 << 20)
before = peak_bytes()
subprocess.run(["true"], check=True)
print(peak_bytes() - before)
"""
    result = run_python(["-c", script])
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 50 * MEBIBYTE


def test_the_origin_of_numbers_can_be_written_as_json() -> None:
    origin = json.loads(json.dumps(describe_origin()))
    assert origin["versions"]["torch"] == installed_versions()["torch"]
    assert origin["hardware"]["cpu"] == describe_hardware().cpu
    assert {"commit", "is_modified"} < origin.keys()
