"""``systems bench-step``: time the parts of a training step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lm_shared.command_options import PATH, Overwrite, with_recipes
from lm_shared.config import to_dict
from lm_shared.files import claim_file, claim_folder, write_json
from lm_shared.wording import wrote
from lm_systems.profiling.step_config import STEP_SIZES, StepBenchmark

if TYPE_CHECKING:
    from rich.table import Table

    from lm_systems.profiling.steps import StepTimes

OUTPUT = Path("runs/bench-step")
RESULT_NAME = "step.json"


def bench_step(
    benchmark: StepBenchmark,
    *,
    memory_snapshot: Annotated[Path | None, PATH] = None,
    output: Path = OUTPUT,
    overwrite: Overwrite = False,
) -> None:
    """Time forward pass, backward pass and optimizer of a model's training step.

    Args:
        benchmark: What is measured.
        memory_snapshot: File for the history of a GPU's memory, for pytorch.org/memory_viz.
        output: Folder for step.json.
        overwrite: Replace an earlier measurement; in the default folder it is replaced anyway.
    """
    parts = (RESULT_NAME,)
    claim_folder(output, "a benchmark", parts=parts, default=OUTPUT, overwrite=overwrite)
    if memory_snapshot is not None:
        claim_file(memory_snapshot, overwrite=overwrite)
    from rich.console import Console

    from lm_shared.receipt import describe_origin
    from lm_systems.profiling.steps import measure_step

    times = measure_step(benchmark, memory_snapshot=memory_snapshot)
    Console().print(_table(benchmark, times))
    numbers = {"benchmark": to_dict(benchmark), **to_dict(times), **describe_origin()}
    write_json(output / RESULT_NAME, numbers)
    print(wrote(output / RESULT_NAME, *([] if memory_snapshot is None else [memory_snapshot])))


def _table(benchmark: StepBenchmark, times: "StepTimes") -> "Table":
    from rich.table import Table

    from lm_basics.accounting import count_parameters
    from lm_basics.accounting.account import in_bytes, in_count

    size = f"{benchmark.batch_size:,} × {benchmark.context_length:,} tokens"  # noqa: RUF001 - a times sign
    parameters = in_count(count_parameters(benchmark.model()))
    title = f"{parameters} parameters, {size}, {times.dtype}, {benchmark.ops}, {times.device}"
    table = Table(title=title, show_header=False)
    for name, (mean, deviation) in times.mean_ms().items():
        table.add_row(f"{name}, ms", f"{mean:,.3f} ± {deviation:,.3f}")
    table.add_row("tokens/s", f"{times.tokens_per_s:,.0f}")
    table.add_row("of the peak", f"{times.share_of_peak:.1%} ({times.peak_source})")
    if times.peak_gpu_bytes is not None:
        table.add_row("most memory", in_bytes(times.peak_gpu_bytes))
    return table


bench_step_by_size = with_recipes(bench_step, STEP_SIZES, kind="size", default="tiny")
