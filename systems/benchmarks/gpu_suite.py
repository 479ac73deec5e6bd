"""Everything that needs a GPU, in one command of less than eight minutes: tests, then benchmarks.

It runs with the packages that images for GPUs have, without an installation of this workspace::

    python systems/benchmarks/gpu_suite.py

Parts whose packages are missing are named and skipped. Each part has a limit of time; a part that
fails does not stop the next. Numbers go to ``<unit>/benchmarks/results/<device>/``.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNITS = ("shared", "basics", "systems", "scaling", "data", "alignment")


def gpu_tests() -> list[str]:
    """Return the files of tests of which some need a GPU."""
    files = (one for unit in UNITS for one in (ROOT / unit / "tests").rglob("test_*.py"))
    # The fixture runs kernels on a GPU as well.
    words = ("mark.gpu", "kernel_device")
    return sorted(str(one) for one in files if any(map(one.read_text("utf-8").__contains__, words)))


PARTS: dict[str, tuple[int, tuple[str, ...], list[str]]] = {
    "tests": (
        120,
        ("pytest", "xdist", "hypothesis"),
        [
            # Other files may import what is missing here.
            *("-m", "pytest", *gpu_tests()),
            *("-m", "gpu", "-n", "6", "-q", "-ra", "-o", "addopts=", "--import-mode=importlib"),
            *("-p", "lm_shared.testing.plugin"),
            # Warnings are those of whatever versions the image has.
            *("-W", "default"),
        ],
    ),
    "optimizers": (40, (), ["-m", "basics.benchmarks.bench_optimizers", "--device", "cuda"]),
    "recipes": (150, ("tyro",), ["systems/benchmarks/bench_gpu_recipes.py"]),
    "training step": (120, ("transformers",), ["systems/benchmarks/bench_training_step.py"]),
    "generation": (40, ("transformers",), ["systems/benchmarks/bench_generation.py"]),
}
"""Name -> (seconds at most, packages besides torch, arguments of Python)."""


def main() -> int:
    """Run the parts and return how many failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", help=f"some of: {', '.join(PARTS)}; all by default")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"unknown parts {sorted(unknown)}: choose from {', '.join(PARTS)}")
    results = {name: run(*PARTS[name]) for name in chosen}
    for name, result in results.items():
        print(f"{name:16}{result}")
    return sum(not result.startswith(("passed", "skipped")) for result in results.values())


def run(limit_s: int, packages: tuple[str, ...], arguments: list[str]) -> str:
    """Run one part and return how it ended."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        return f"skipped: no {', '.join(missing)} here"
    paths = [str(ROOT / unit / "src") for unit in UNITS] + [str(ROOT)]
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths + ([inherited] if inherited else [])),
        "PYTHONUNBUFFERED": "1",
    }
    print(f"=== python {' '.join(arguments)}", flush=True)
    began_at = time.monotonic()
    # A group of its own, of which nothing is left to disturb the next part's times.
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        code = process.wait(limit_s)
        ended = "passed" if code == 0 else f"FAILED with code {code}"
    except subprocess.TimeoutExpired:
        ended = f"STOPPED after its limit of {limit_s} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"{ended} in {time.monotonic() - began_at:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
