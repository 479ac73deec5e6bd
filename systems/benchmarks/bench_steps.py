"""The parts of a training step of the course's small model: forward, backward, optimizer.

Each set of operations in bfloat16, first without a backward pass, then without the optimizer, then
whole::

    PYTHONPATH=shared/src:basics/src:systems/src python systems/benchmarks/bench_steps.py
"""

import argparse
import dataclasses
from pathlib import Path
from typing import get_args

import torch

from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import describe_origin
from lm_systems.kernels import OpsName
from lm_systems.profiling.step_config import STEP_SIZES, StepMode
from lm_systems.profiling.steps import measure_step

OPS: tuple[OpsName, ...] = ("reference", "fused")


def main() -> None:
    """Measure, print a line for each run and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tiny", action="store_true", help="to see that it works")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _, benchmark = STEP_SIZES["tiny" if options.tiny else "small"]
    benchmark = dataclasses.replace(benchmark, dtype="bfloat16", steps=options.rounds)
    runs, device = [], ""
    for ops in OPS:
        for mode in get_args(StepMode):
            one = dataclasses.replace(benchmark, ops=ops, mode=mode)
            times = measure_step(one)
            device = times.device
            parts = ", ".join(
                f"{name} {mean:.2f} ± {deviation:.2f} ms"
                for name, (mean, deviation) in times.mean_ms().items()
            )
            print(f"{ops:10}{mode:9}{parts}; {times.share_of_peak:.1%} of the peak")
            runs.append({"benchmark": to_dict(one), **to_dict(times)})
    write_json(
        options.results / device / "step_parts.json",
        {
            "runs": runs,
            **describe_origin(),
        },
    )


if __name__ == "__main__":
    main()
