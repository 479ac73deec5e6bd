"""Steps a second of ``basics train tiny`` beside other busy processes: `--output FILE` keeps them.

Compared are torch's own way to wait for threads, ours, and one thread; every round measures all of
them, one after the other, beside no, one and two processes that compute.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from lm_basics.token_files import write_token_file
from lm_shared.command_line import run_command
from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.metrics import read_metrics
from lm_shared.receipt import describe_hardware

WAYS: Mapping[str, Mapping[str, str]] = {
    # What libgomp takes where nothing is said.
    "default": {"GOMP_SPINCOUNT": "300000"},
    "chosen": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_WARM_UP_STEPS = 20
_BUSY = "while True: pass"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One way to wait, beside some processes."""

    way: str
    """Which."""
    num_busy: int
    """Other processes."""
    steps_per_s: float
    """Median of the rounds."""
    rounds: tuple[float, ...]
    """All of them."""


def measure(
    *,
    rounds: int = 5,
    steps: int = 300,
    spin_counts: tuple[int, ...] = (),
    most_busy: int = 2,
    output: Path | None = None,
) -> None:
    """Measure and print a table.

    Args:
        rounds: Of each way beside each number of processes.
        steps: Of each training.
        spin_counts: Further ways: so many rounds of waiting awake.
        most_busy: Most processes beside.
        output: JSON file for the numbers.
    """
    ways = {**WAYS, **{f"{n} spins": {"GOMP_SPINCOUNT": str(n)} for n in spin_counts}}
    found: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens.bin"
        ids = np.random.default_rng(0).integers(0, 4_096, size=100_000)
        write_token_file(tokens, [ids.tolist()], vocab_size=4_096, vocab_hash="random")
        for number in range(rounds):
            for num_busy in range(most_busy + 1):
                with _busy(num_busy):
                    for way, environment in ways.items():
                        run = Path(folder) / f"{number} {num_busy} {way}"
                        rate = _train(tokens, run, steps, environment)
                        found.setdefault((way, num_busy), []).append(rate)
    hardware = describe_hardware()
    rates = [
        Rate(way=way, num_busy=num_busy, steps_per_s=median(rates), rounds=tuple(rates))
        for (way, num_busy), rates in found.items()
    ]
    print(f"steps a second on {hardware.num_cores} cores, {hardware.cpu}")
    print(f"{'beside':<14}" + "".join(f"{num_busy:>10}" for num_busy in range(most_busy + 1)))
    for way in ways:
        cells = [one.steps_per_s for one in rates if one.way == way]
        print(f"{way:<14}" + "".join(f"{cell:>10.1f}" for cell in cells))
    if output is not None:
        write_json(
            output,
            {"hardware": to_dict(hardware), "steps": steps, "rates": [to_dict(r) for r in rates]},
        )


def _train(tokens: Path, run: Path, steps: int, environment: Mapping[str, str]) -> float:
    """Return the steps a second of one training."""
    command = "import sys; from lm_basics.commands.main import main; main(sys.argv[1:])"
    arguments = ["train", "tiny", "--tokens", tokens, "--output", run, "--steps", str(steps)]
    rest = ["--checkpoint-every", str(steps), "--dtype", "float32", "--device", "cpu"]
    clean = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    subprocess.run(
        [sys.executable, "-c", command, *arguments, *rest],
        env={**clean, **environment},
        check=True,
        capture_output=True,
    )
    elapsed_s = {
        int(row["step"]): float(row["elapsed_s"]) for row in read_metrics(run / "metrics.jsonl")
    }
    return (steps - _WARM_UP_STEPS) / (elapsed_s[steps] - elapsed_s[_WARM_UP_STEPS])


@contextmanager
def _busy(number: int) -> Iterator[None]:
    """Let so many other processes compute meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(run_command("bench_busy_machine", measure))
