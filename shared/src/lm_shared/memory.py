"""Peak main memory of a stretch of work, where the system can tell."""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Start a new stretch; without Linux's counter the peak of the whole process stays."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        # Containers may forbid it and other systems lack it; the peak is then an upper bound.
        return


def peak_bytes() -> int:
    """Return the most main memory that this process had since the last reset.

    Child processes do not count: a fork begins with the pages of its parent, so the kernel's
    number for children repeats the parent's memory.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
