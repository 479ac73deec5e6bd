"""All-reduce, all-gather and reduce-scatter among 2, 4 and 6 GPUs, as far as there are so many.

With ``--tiny`` between two processes on a CPU::

    PYTHONPATH=shared/src:basics/src:systems/src python systems/benchmarks/bench_collectives.py
"""

import argparse
from pathlib import Path

import torch

from lm_shared.config import to_dict
from lm_shared.files import write_json
from lm_shared.receipt import describe_origin
from lm_shared.tensors import choose_device, device_slug
from lm_systems.parallel.collective_times import time_collectives

SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
NUMBERS = (2, 4, 6)


def main() -> None:
    """Measure, print a line for each collective and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tiny", action="store_true", help="on a CPU, to see that it works")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    numbers = [one for one in NUMBERS if one <= torch.cuda.device_count()]
    numbers, sizes = ([2], SIZES[:1]) if options.tiny else (numbers, SIZES)
    device = "cpu" if options.tiny else "cuda"
    times = [one for number in numbers for one in time_collectives(number, sizes, device=device)]
    for one in times:
        print(
            f"{one.num_processes} {one.kind:16}{one.num_bytes / 1e6:8,.0f} MB"
            f"{1e3 * one.mean_s:10.3f} ms{one.bus_bytes_per_s / 1e9:10.3f} GB/s on the bus"
        )
    write_json(
        options.results / device_slug(choose_device(device)) / "collectives.json",
        {
            "times": [to_dict(one) for one in times],
            **describe_origin(),
        },
    )


if __name__ == "__main__":
    main()
