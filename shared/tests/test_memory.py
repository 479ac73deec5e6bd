import sys

import pytest

from lm_shared.testing.processes import run_python

MEBIBYTE = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's own account")
def test_a_reset_forgets_what_is_gone() -> None:
    script = """
from pathlib import Path
from lm_shared.memory import peak_bytes, reset_peak
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
from lm_shared.memory import peak_bytes
data = b"x" * (200 << 20)
before = peak_bytes()
subprocess.run(["true"], check=True)
print(peak_bytes() - before)
"""
    result = run_python(["-c", script])
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 50 * MEBIBYTE
