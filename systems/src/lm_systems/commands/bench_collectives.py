"""``systems bench-collectives``: time what processes send each other."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lm_shared.command_options import Above, Least, Overwrite
from lm_shared.config import DeviceName, to_dict
from lm_shared.files import claim_folder, write_json
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from rich.table import Table

    from lm_systems.parallel.collective_times import CollectiveTimes

OUTPUT = Path("runs/bench-collectives")
RESULT_NAME = "collectives.json"


def bench_collectives(
    *,
    processes: Annotated[tuple[int, ...], Least(2)] = (2,),
    sizes: Annotated[tuple[float, ...], Above(0)] = (1, 10, 100),
    device: DeviceName = "auto",
    warmup: Annotated[int, Least(0)] = 5,
    rounds: Annotated[int, Least(2)] = 10,
    output: Path = OUTPUT,
    overwrite: Overwrite = False,
) -> None:
    """Time all-reduce, all-gather and reduce-scatter among processes.

    Args:
        processes: How many, one number or several: 2 4 6.
        sizes: Megabytes of the whole tensor of float32, one number or several; 1000 is a gigabyte.
        device: cuda takes a GPU for each process (NCCL), cpu none (gloo).
        warmup: Rounds before, which do not count.
        rounds: Rounds that count.
        output: Folder for collectives.json.
        overwrite: Replace an earlier measurement; in the default folder it is replaced anyway.
    """
    parts = (RESULT_NAME,)
    claim_folder(output, "a benchmark", parts=parts, default=OUTPUT, overwrite=overwrite)
    from rich.console import Console

    from lm_shared.receipt import describe_origin
    from lm_systems.parallel.collective_times import time_collectives

    sizes_bytes = [round(1e6 * size) for size in sizes]
    times = [
        one
        for number in processes
        for one in time_collectives(
            number, sizes_bytes, device=device, warmup=warmup, rounds=rounds
        )
    ]
    Console().print(_table(times))
    numbers = {"times": [to_dict(one) for one in times], **describe_origin()}
    write_json(output / RESULT_NAME, numbers)
    print(wrote(output / RESULT_NAME))


def _table(times: Sequence["CollectiveTimes"]) -> "Table":
    from rich.table import Table

    table = Table(title="slowest process of each round; float32, GB/s")
    for heading in ("processes", "collective", "MB", "ms", "algorithm", "bus"):
        table.add_column(heading, justify="left" if heading == "collective" else "right")
    for one in times:
        mean, deviation = 1e3 * one.mean_s, 1e3 * statistics.stdev(one.elapsed_s)
        table.add_row(
            str(one.num_processes),
            one.kind.replace("_", "-"),
            f"{one.num_bytes / 1e6:,g}",
            f"{mean:,.2f} ± {deviation:,.2f}",
            f"{one.algorithm_bytes_per_s / 1e9:,.3f}",
            f"{one.bus_bytes_per_s / 1e9:,.3f}",
        )
    return table
