"""``scaling plan``: choose a model for a budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_shared.command_options import Overwrite
from lm_shared.config import from_dict, save_config
from lm_shared.files import claim_file, read_json
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from lm_scaling.planner import Candidate


def plan_run(
    table: Annotated[Path, tyro.conf.Positional],
    candidates: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    budget_s: float | None = None,
    budget_flops: float | None = None,
    unique_tokens: float | None = None,
    max_epochs: float | None = None,
    tokens_multiple: int = 1,
    output: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Choose a model and its tokens for a budget, from a table of finished runs.

    Args:
        table: CSV with a header or JSON list: parameters, tokens or FLOPs, loss.
        candidates: JSON list of objects with name, parameters, flops_per_token, seconds_per_token.
        budget_s: seconds for the run; give this or budget-flops.
        budget_flops: training FLOPs for the run.
        unique_tokens: tokens of the training data; repeats count for less.
        max_epochs: most passes over the unique tokens.
        tokens_multiple: tokens of one optimizer step.
        output: JSON file for the plan.
        overwrite: replace an earlier file.
    """
    from lm_scaling.laws.points import read_points
    from lm_scaling.planner import plan

    if output is not None:
        claim_file(output, overwrite=overwrite, inputs=[table, candidates])
    planned = plan(
        read_points(table),
        read_candidates(candidates),
        budget_s=budget_s,
        budget_flops=budget_flops,
        unique_tokens=unique_tokens,
        max_epochs=float("inf") if max_epochs is None else max_epochs,
        tokens_multiple=tokens_multiple,
    )
    print(f"{'candidate':<16}{'parameters':>12}{'tokens':>14}{'FLOPs':>11}{'loss':>9}  interval")
    for run in planned.alternatives:
        print(
            f"{run.name:<16}{run.parameters:>12,.0f}{run.tokens:>14,}{run.flops:>11.2e}"
            f"{run.predicted_loss:>9.4f}  {run.interval.low:.3f} to {run.interval.high:.3f}"
        )
    print(f"train {planned.chosen}: {planned.extrapolation:.1f} times the largest run's compute")
    if output is not None:
        save_config(planned, output)
        print(wrote(output))


def read_candidates(path: Path) -> "list[Candidate]":
    """Read a list of candidates; fields with a default may be missing.

    Raises:
        ValueError: The file is not a list of candidates; names the first wrong one.
    """
    from lm_scaling.planner import Candidate

    rows = read_json(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of candidates, got {type(rows).__name__}")
    # A recorded plan must name every field; a list written by hand may leave out the defaults.
    optional = {"seconds_per_token": None, "overhead_s": 0.0}
    candidates = []
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"{path}, candidate {index + 1}: expected an object, got {row!r}")
        try:
            candidates.append(from_dict(Candidate, {**optional, **row}))
        except ValueError as error:
            raise ValueError(f"{path}, candidate {index + 1}: {error}") from error
    return candidates
