"""How long help takes, beside ``import torch``: `--output FILE` keeps the numbers.

Every round runs all lines once, each in a process of its own, one after the other; the least time
of a line counts, and its ratio to that of torch.
"""

import importlib
import subprocess
import sys
import time
from pathlib import Path

from lm_shared.command_line import run_command
from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import describe_hardware

UNITS = ("basics", "systems", "scaling", "data", "alignment")
_TORCH = "import torch"


def measure(*, rounds: int = 5, output: Path | None = None) -> None:
    """Measure all help of all units and print a table.

    Args:
        rounds: How often each is run.
        output: JSON file for the numbers.
    """
    lines = {_TORCH: ["-c", "import torch"]}
    for unit in UNITS:
        commands = importlib.import_module(f"lm_{unit}.commands.main").COMMANDS
        for words in [[], *([name] for name in commands)]:
            program = f"from lm_{unit}.commands.main import main; main({[*words, '--help']})"
            lines[" ".join([unit, *words, "--help"])] = ["-c", program]
    least_s = dict.fromkeys(lines, float("inf"))
    for _ in range(rounds):
        for line, arguments in lines.items():
            start_s = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            least_s[line] = min(least_s[line], time.perf_counter() - start_s)
    ratios = {line: seconds / least_s[_TORCH] for line, seconds in least_s.items()}
    for line, seconds in least_s.items():
        print(f"{line:<40} {seconds:6.3f} s {ratios[line]:6.3f}")
    hardware = describe_hardware()
    print(f"{hardware.num_cores} cores, {hardware.cpu}")
    if output is not None:
        write_json(
            output, {"hardware": to_dict(hardware), "seconds": least_s, "ratio_to_torch": ratios}
        )


if __name__ == "__main__":
    sys.exit(run_command("bench_startup", measure))
