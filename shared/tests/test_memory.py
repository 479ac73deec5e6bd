import resource
import sys

import pytest

from lm_shared.memory import peak_bytes
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


def test_the_largest_child_counts_on_top() -> None:
    run_python(["-c", f"x = b'x' * {100 * MEBIBYTE}"])
    unit = 1 if sys.platform == "darwin" else 1024
    child_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    assert child_bytes >= 100 * MEBIBYTE
    assert peak_bytes() >= child_bytes + 10 * MEBIBYTE
