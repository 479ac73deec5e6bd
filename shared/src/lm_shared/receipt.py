"""What a run cost and what it ran on: the receipt that lies beside every result."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_shared.config import to_dict

_PACKAGES = (
    "torch",
    "triton",
    "numpy",
    "lm-shared",
    "lm-basics",
    "lm-systems",
    "lm-scaling",
    "lm-data",
    "lm-alignment",
)
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """The machine."""

    platform: str
    """Operating system and architecture."""
    cpu: str
    """Processor model."""
    num_cores: int
    """Cores that the process may use."""
    memory_bytes: int
    """Main memory of the machine."""
    gpus: tuple[str, ...]
    """Names of the CUDA devices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """Where a result comes from and what it cost."""

    git_commit: str | None
    """Commit of the code; ``None`` for code outside of a repository, as from a wheel."""
    git_dirty: bool | None
    """Whether tracked or new files differed from that commit."""
    versions: dict[str, str]
    """Python and the installed packages that decide the numbers."""
    hardware: Hardware
    """The machine it ran on."""
    input_hashes: dict[str, str]
    """SHA-256 of each input file or folder, by its path."""
    wall_s: float
    """Seconds, including earlier processes of a resumed run as far as their metrics were kept."""
    flops: float
    """Floating-point operations, as counted by the caller."""
    tokens: int
    """Tokens worked through, as counted by the caller."""
    peak_bytes: int
    """Highest main memory, as ``peak_bytes`` counts it."""
    peak_gpu_bytes: int
    """Highest memory of tensors on any one CUDA device; 0 without one."""
    parent_runs: tuple[str, ...]
    """Folders of the runs whose results went in."""


def describe_hardware() -> Hardware:
    """Return what this machine is made of."""
    # Whoever only reads receipts does without its four seconds.
    import torch  # noqa: PLC0415

    return Hardware(
        platform=f"{platform.system()} {platform.machine()}",
        cpu=_cpu_model(),
        # A container or a batch system often grants fewer cores than the machine has.
        num_cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
    )


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_origin() -> dict[str, Any]:
    """Return what stands beside measured numbers: versions, commit and machine."""
    commit, is_modified = code_state()
    return {
        "versions": installed_versions(),
        "commit": commit,
        "is_modified": is_modified,
        "hardware": to_dict(describe_hardware()),
    }


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the repository around ``folder`` and whether files differ from it."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain")
    return commit, None if commit is None or changes is None else bool(changes)


def code_state() -> tuple[str | None, bool | None]:
    """Return ``git_state`` of this code, or nothing where it is not under version control."""
    # An installed wheel may lie inside of somebody else's repository, which does not track it.
    source_path = Path(__file__).resolve()
    if _git(source_path.parent, "ls-files", "--error-unmatch", source_path.name) is None:
        return None, None
    return git_state(source_path.parent)


def peak_memory() -> tuple[int, int]:
    """Return the highest memory so far in bytes: main memory, and that of one CUDA device."""
    # A process that never loaded torch has put nothing on a device.
    torch = sys.modules.get("torch")
    if torch is None:
        return peak_bytes(), 0
    devices = range(torch.cuda.device_count())
    gpu_bytes = max((torch.cuda.max_memory_allocated(i) for i in devices), default=0)
    return peak_bytes(), gpu_bytes


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


def _git(folder: Path, *arguments: str) -> str | None:
    # Without the optional lock a receipt never stands in the way of the user's own git.
    command = ["git", "--no-optional-locks", *arguments]
    try:
        # Outside of a repository git fails, and that is an answer.
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _cpu_model() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
