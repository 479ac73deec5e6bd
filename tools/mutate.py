"""Change the source in small ways, one at a time, and see whether the tests notice.

``uv run python -m tools.mutate basics --sample 60 --seed 3`` tries sixty changes of one unit.

Works on a copy of the checkout. A mutant's tests are those of its unit, beginning with the files
that bear its module's name or are nearest to it in the graph of imports. All start from one process
that has imported torch, so a mutant costs seconds. Those that no test notices are told with their
place; the exit code tells whether each unit has reached the bar.
"""

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest

from tools.mutants import Mutant, find_mutants

NOTICED, SURVIVED, OUT_OF_TIME = "noticed", "survived", "out of time"
ROOT = Path(__file__).parents[1]
UNITS = ("shared", "basics", "systems", "scaling", "data", "alignment")
# Numbers of a drawing are looks.
LEFT_ALONE = ("figures.py", "__init__.py")
# Imported once, before all forks; not what pytest wants to import itself.
PRELOADED = ("torch", "numpy", "einops", "safetensors.torch", "scipy.optimize", "pyarrow")


@dataclass(frozen=True)
class Trial:
    """One mutant, where it is, and the tests that should notice."""

    path: str
    mutant: Mutant
    tests: tuple[str, ...] = ()
    limit_s: float = 0.0

    def __str__(self) -> str:
        """Return place and change in one line."""
        change = f"{self.mutant.kind}: {self.mutant.old} -> {self.mutant.new}"
        return f"{self.path}:{self.mutant.line} {change}"


def main() -> int:
    """Try a sample of each unit; return 1 where one is below the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("units", nargs="*", help=f"some of: {', '.join(UNITS)}; all by default")
    parser.add_argument("--sample", type=int, default=30, help="mutants of each unit")
    parser.add_argument("--seed", type=int, default=0, help="decides which")
    parser.add_argument("--bar", type=float, default=0.9, help="share that has to be noticed")
    parser.add_argument("--files", type=int, default=6, help="files of tests to begin with")
    parser.add_argument("--only", default="", help="modules whose path holds this")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if unknown := set(options.units) - set(UNITS):
        parser.error(f"unknown units {sorted(unknown)}: choose from {', '.join(UNITS)}")
    for name in PRELOADED:
        __import__(name)
    is_met = True
    with tempfile.TemporaryDirectory() as folder:
        copy = (ROOT, Path(folder))
        with ProcessPoolExecutor(options.workers, get_context("fork"), _take_copy, copy) as pool:
            for unit in options.units or UNITS:
                is_met &= try_unit(pool, unit, options) >= options.bar
    return 0 if is_met else 1


def try_unit(pool: ProcessPoolExecutor, unit: str, options: argparse.Namespace) -> float:
    """Print the mutants of ``unit`` that nothing notices; return the share that is noticed."""
    graph = import_graph(ROOT, unit)
    sample = list(sample_mutants(ROOT, unit, options))
    tests = {path: nearest_tests(ROOT, unit, graph, path) for path, _ in sample}
    seconds: dict[str, float | None] = {}
    left = sample
    # Most are noticed by the nearest files; all others are asked about the rest alone.
    for part in (slice(options.files), slice(options.files, None)):
        wanted = {test for path, _ in left for test in tests[path][part]} - seconds.keys()
        seconds |= measure_files(pool, sorted(wanted))
        trials = [make_trial(path, mutant, tests[path][part], seconds) for path, mutant in left]
        endings = list(pool.map(try_mutant, trials))
        left = [one for one, ending in zip(left, endings, strict=True) if ending == SURVIVED]
        for trial, ending in zip(trials, endings, strict=True):
            if ending == OUT_OF_TIME:
                print(f"{ending}, so noticed: {trial}")
    for path, mutant in left:
        print(f"{SURVIVED}: {Trial(path, mutant)}")
    noticed = len(sample) - len(left)
    share = noticed / len(sample) if sample else 1.0
    print(f"{unit}: {noticed} of {len(sample)} noticed ({share:.0%})", flush=True)
    return share


def measure_files(pool: ProcessPoolExecutor, paths: Sequence[str]) -> dict[str, float | None]:
    """Return the seconds of files of tests without a change, None for those that fail."""
    seconds = dict(zip(paths, pool.map(measure_tests, paths), strict=True))
    if failing := [path for path in paths if seconds[path] is None]:
        print(f"left out, as they fail without a change: {', '.join(failing)}", flush=True)
    return seconds


def make_trial(
    path: str, mutant: Mutant, tests: Sequence[str], seconds: Mapping[str, float | None]
) -> Trial:
    """Return a trial with those tests that pass without a change, and time enough for them."""
    passing = {test: taken for test in tests if (taken := seconds[test]) is not None}
    return Trial(path, mutant, tuple(passing), limit_s=60 + 5 * sum(passing.values()))


def sample_mutants(
    root: Path, unit: str, options: argparse.Namespace
) -> Iterator[tuple[str, Mutant]]:
    """Return a random sample in which every kind has the same chance, whatever its number."""
    kinds: dict[str, list[tuple[str, Mutant]]] = defaultdict(list)
    for path in sorted((root / unit / "src").rglob("*.py")):
        name = str(path.relative_to(root))
        if path.name not in LEFT_ALONE and options.only in name:
            for mutant in find_mutants(path.read_text(encoding="utf-8")):
                kinds[mutant.kind].append((name, mutant))
    generator = random.Random(options.seed)
    for mutants in kinds.values():
        generator.shuffle(mutants)
    for _ in range(min(options.sample, sum(map(len, kinds.values())))):
        kind = generator.choice(sorted(kind for kind, left in kinds.items() if left))
        yield kinds[kind].pop()


def import_graph(root: Path, unit: str) -> dict[str, set[str]]:
    """Return for every module of the unit, and every file of its tests, what it imports."""
    graph: dict[str, set[str]] = {}
    for folder, prefix in ((f"{unit}/src", ""), (f"{unit}/tests", f"{unit}.tests")):
        # A stub tells what a package loads when it is asked for.
        for path in sorted((root / folder).rglob("*.py")) + sorted((root / folder).rglob("*.pyi")):
            parts = [prefix, *path.relative_to(root / folder).with_suffix("").parts]
            name = ".".join(part for part in parts if part and part != "__init__")
            tree = ast.parse(path.read_text(encoding="utf-8"))
            graph[name] = graph.get(name, set()) | set(_imports(tree, name))
    return {name: {one for one in found if one in graph} for name, found in graph.items()}


def _imports(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = f"{name}.{base}" if base else name
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def nearest_tests(root: Path, unit: str, graph: Mapping[str, set[str]], path: str) -> list[str]:
    """Return the unit's files of tests, the nearest to the module at ``path`` first."""
    parts = Path(path).with_suffix("").parts
    module, words = ".".join(parts[2:]), set(parts[3:])
    importers = defaultdict(set)
    for name, imported in graph.items():
        for one in imported:
            importers[one].add(name)
    distances, front = {module: 0}, {module}
    while front:
        following = {one for name in front for one in importers[name]} - distances.keys()
        distances |= dict.fromkeys(following, max(distances.values()) + 1)
        front = following

    def order(test: str) -> tuple[float, int]:
        stem = Path(test).stem
        distance = distances.get(".".join(Path(test).with_suffix("").parts), float("inf"))
        shared = len(words & set(re.split(r"[_.]", stem)))
        return (0.5 if Path(path).stem in stem else distance), -shared

    tests = (root / unit / "tests").rglob("test_*.py")
    return sorted((str(test.relative_to(root)) for test in sorted(tests)), key=order)


def _take_copy(root: Path, folder: Path) -> None:
    """Make this worker's copy of the checkout, work in it, and import from it."""
    copy = folder / str(os.getpid())
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
    os.chdir(copy)
    sources = [str(copy / unit / "src") for unit in UNITS]
    sys.path[:0] = [str(copy), *sources]
    os.environ["PYTHONPATH"] = os.pathsep.join([*sources, os.environ.get("PYTHONPATH", "")])


def measure_tests(path: str) -> float | None:
    """Return the seconds of one file of tests without a change, or None where one fails."""
    began_at = time.monotonic()
    code = _run_pytest([path], limit_s=1_200)
    # 5: all are deselected.
    return time.monotonic() - began_at if code in (0, 5) else None


def try_mutant(trial: Trial) -> str:
    """Return how the tests ended."""
    if not trial.tests:
        return SURVIVED
    path = Path(trial.path)
    times, source = path.stat(), path.read_text(encoding="utf-8")
    path.write_text(trial.mutant.apply(source), encoding="utf-8")
    try:
        code = _run_pytest(["-x", *trial.tests], limit_s=trial.limit_s)
    finally:
        path.write_text(source, encoding="utf-8")
        # So that its bytecode counts as new.
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    # 5: all tests are deselected.
    return {0: SURVIVED, 5: SURVIVED, None: OUT_OF_TIME}.get(code, NOTICED)


def _run_pytest(arguments: Sequence[str], limit_s: float) -> int | None:
    """Return pytest's exit code in a fork of this process, None after ``limit_s``."""
    child = os.fork()
    if child == 0:
        os.setsid()
        # Ignored in what a shell has put into the background, where tests that press Ctrl-C fail.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        code = 3
        try:
            options = ("-n0", "-q", "-p", "no:cacheprovider", "--no-header")
            code = int(pytest.main([*options, *arguments]))
        finally:
            os._exit(code)
    began_at = time.monotonic()
    try:
        while time.monotonic() - began_at < limit_s:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


if __name__ == "__main__":
    sys.exit(main())
