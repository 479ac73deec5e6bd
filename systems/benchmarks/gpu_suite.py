"""Everything that needs a GPU, in one command of less than eight minutes: tests, then benchmarks.

It runs with the packages that images for GPUs have, installed workspace or not::

    python systems/benchmarks/gpu_suite.py

Parts whose packages are missing are named and skipped. Each part has a limit of time; a part that
fails does not stop the next. Numbers go to ``<unit>/benchmarks/results/<device>/``. ``--tiny`` does
the same on a CPU, with small shapes and interpreted kernels, to see that every part works.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNITS = ("shared", "basics", "systems", "scaling", "data", "alignment")
PLUGIN = "lm_shared"
# A part takes ten seconds, on a busy machine some times as many.
TINY_LIMIT_S = 200


@dataclass(frozen=True)
class Part:
    """One process."""

    limit_s: int
    """Seconds at most, on a GPU."""
    packages: tuple[str, ...]
    """What it needs besides torch."""
    arguments: list[str]
    """Of Python."""
    full: tuple[str, ...] = ()
    """Further arguments on a GPU."""
    tiny: tuple[str, ...] = ("--tiny", "--rounds", "2", "--threads", "1")
    """Further arguments at tiny sizes."""
    least_gpus: int = 1
    """Without as many it is skipped, but not at tiny sizes."""


def gpu_tests() -> list[str]:
    """Return the files of tests of which some need a GPU."""
    files = (one for unit in UNITS for one in (ROOT / unit / "tests").rglob("test_*.py"))
    # The fixture runs kernels on a GPU as well.
    words = ("mark.gpu", "kernel_device")
    return sorted(str(one) for one in files if any(map(one.read_text("utf-8").__contains__, words)))


def plugin_options() -> list[str]:
    """Return what makes pytest load our plugin where no installed package has named it."""
    installed = importlib.metadata.entry_points(group="pytest11", name=PLUGIN)
    return [] if installed else ["-p", "lm_shared.testing.plugin"]


def make_parts() -> dict[str, Part]:
    """Return all parts by name."""
    pytest_options = ["-q", "-ra", "-o", "addopts=", "--import-mode=importlib", *plugin_options()]
    return {
        "tests": Part(
            120,
            ("pytest", "xdist", "hypothesis"),
            # Other files may import what is missing here. Warnings are those of whatever versions
            # the image has.
            ["-m", "pytest", *gpu_tests(), *pytest_options, "-W", "default"],
            full=("-m", "gpu", "-n", "6"),
            tiny=("-m", "not slow", "-k", "cpu or cuda"),
        ),
        "flash attention": Part(
            30,
            ("triton",),
            ["systems/benchmarks/bench_flash_attention.py"],
            tiny=("--tiny", "--rounds", "2"),
        ),
        "optimizers": Part(
            40, (), ["-m", "basics.benchmarks.bench_optimizers"], full=("--device", "cuda")
        ),
        "recipes": Part(
            120,
            ("tyro",),
            ["systems/benchmarks/bench_gpu_recipes.py"],
            tiny=("--tiny", "--steps", "1"),
        ),
        "training step": Part(90, ("transformers",), ["systems/benchmarks/bench_training_step.py"]),
        "parts of a step": Part(40, (), ["systems/benchmarks/bench_steps.py"]),
        "collectives": Part(
            40, (), ["systems/benchmarks/bench_collectives.py"], tiny=("--tiny",), least_gpus=2
        ),
        "generation": Part(40, ("transformers",), ["systems/benchmarks/bench_generation.py"]),
    }


def main() -> int:
    """Run the parts and return how many failed."""
    parts = make_parts()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", help=f"some of: {', '.join(parts)}; all by default")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, in seconds each")
    options = parser.parse_args()
    chosen = options.parts or list(parts)
    if unknown := set(chosen) - set(parts):
        parser.error(f"unknown parts {sorted(unknown)}: choose from {', '.join(parts)}")
    if not options.tiny and (missing := what_is_missing()):
        parser.exit(2, f"{parser.prog}: error: {missing}; --tiny runs every part on a CPU\n")
    with tempfile.TemporaryDirectory() as folder:
        results = {
            name: run(parts[name], Path(folder) if options.tiny else None) for name in chosen
        }
    for name, result in results.items():
        print(f"{name:16}{result}")
    return sum(not result.startswith(("passed", "skipped")) for result in results.values())


def what_is_missing() -> str | None:
    """Return what keeps this machine from running anything here, in a few words."""
    if importlib.util.find_spec("torch") is None:
        return "no torch here"
    import torch

    if torch.cuda.is_available():
        return None
    kind = "has no CUDA" if torch.version.cuda is None else "finds no CUDA device"
    return f"needs a GPU, and torch {torch.__version__} {kind}"


def run(part: Part, tiny_results: Path | None) -> str:
    """Run one part and return how it ended; tiny numbers go to a folder that nobody keeps."""
    missing = [name for name in part.packages if importlib.util.find_spec(name) is None]
    if missing:
        return f"skipped: no {', '.join(missing)} here"
    if tiny_results is None and (there := _count_gpus()) < part.least_gpus:
        return f"skipped: needs {part.least_gpus} GPUs, there is {there}"
    limit_s = part.limit_s if tiny_results is None else TINY_LIMIT_S
    arguments = [*part.arguments, *(part.full if tiny_results is None else part.tiny)]
    if tiny_results is not None and "--tiny" in arguments:
        arguments += ["--results", str(tiny_results)]
    print(f"=== python {' '.join(arguments)}", flush=True)
    began_at = time.monotonic()
    # A group of its own, of which nothing is left to disturb the next part's times.
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=_environment(is_tiny=tiny_results is not None),
        start_new_session=True,
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


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _environment(*, is_tiny: bool) -> dict[str, str]:
    paths = [str(ROOT / unit / "src") for unit in UNITS] + [str(ROOT)]
    inherited = os.environ.get("PYTHONPATH")
    tiny = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} if is_tiny else {}
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths + ([inherited] if inherited else [])),
        "PYTHONUNBUFFERED": "1",
        **tiny,
    }


if __name__ == "__main__":
    sys.exit(main())
