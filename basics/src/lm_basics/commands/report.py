"""``basics report``: training runs side by side, as figures, tables and one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_shared.command_options import Overwrite
from lm_shared.config import save_config
from lm_shared.files import claim_folder
from lm_shared.runs import check_runs
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from lm_basics.reports.numbers import TrainingReport

REPORT_NAME = "report.html"
OUTPUT = Path("runs/report")
PARTS = ("report.json", REPORT_NAME)

# A loss beyond is that of a run that diverged.
_WIDE = 1e4


def report_runs(
    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)"),
    ],
    /,
    *,
    output: Path = OUTPUT,
    overwrite: Overwrite = False,
) -> None:
    """Compare training runs: loss against steps, tokens, FLOPs and time, and the final numbers.

    Runs may be unfinished or damaged: the page says so.

    Args:
        runs: run folders of basics train.
        output: folder for report.json and report.html.
        overwrite: replace an earlier report; in the default folder it is replaced anyway.
    """
    check_runs(runs)
    claim_folder(output, "a report", parts=PARTS, default=OUTPUT, overwrite=overwrite, inputs=runs)
    numbers = write_report(runs, output)
    _print_numbers(numbers)
    print(wrote(output / REPORT_NAME))


def write_report(runs: Sequence[Path], output: Path) -> "TrainingReport":
    """Write report.json and report.html of some runs and return the numbers.

    Raises:
        FileNotFoundError: there is no such run folder.
        ValueError: no run is given, one is given twice, or a folder holds none.
    """
    from lm_basics.reports.numbers import read_runs, summarize_runs
    from lm_basics.reports.page import training_report_page

    curves = read_runs(runs)
    numbers = summarize_runs(curves)
    save_config(numbers, output / "report.json")
    training_report_page(curves, numbers).write(output / REPORT_NAME)
    return numbers


def _print_numbers(numbers: "TrainingReport") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("run", overflow="fold")
    for column in ("steps", "tokens", "seconds", "loss", "val loss", "val bits/byte"):
        table.add_column(column, justify="right", overflow="fold")
    for run in numbers.runs:
        losses = (run.training_loss, run.validation_loss, run.validation_bits_per_byte)
        table.add_row(
            run.name,
            f"{run.steps:,}" + ("" if run.is_finished else " (unfinished)"),
            "-" if run.tokens is None else f"{run.tokens:,}",
            "-" if run.elapsed_s is None else f"{run.elapsed_s:,.1f}",
            *("-" if loss is None else _in_digits(loss) for loss in losses),
        )
    Console().print(table)
    print("seconds include validations if any, loss is the mean of the last tenth of the steps")
    for remark in (
        *numbers.warnings,
        *(f"{r.name}: {p}" for r in numbers.runs for p in r.problems),
    ):
        print(remark)


def _in_digits(loss: float) -> str:
    return f"{loss:.4f}" if abs(loss) < _WIDE else f"{loss:.2e}"
