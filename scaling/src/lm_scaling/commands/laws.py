"""``scaling fit`` and ``scaling plan``: from a table of runs to a law, and to the next run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lm_scaling.commands.sweep import CANDIDATES_NAME
from lm_shared.command_options import Overwrite, There
from lm_shared.config import from_dict, save_config
from lm_shared.files import claim_file, read_json
from lm_shared.wording import counted, wrote

if TYPE_CHECKING:
    from lm_scaling.laws.parametric import ParametricLaw
    from lm_scaling.laws.points import ScalingPoint
    from lm_scaling.planner import Candidate


def fit(
    table: Annotated[Path, There(), tyro.conf.Positional],
    /,
    *,
    law: Literal["parametric", "small-sample", "isoflop"] = "parametric",
    budgets: tuple[float, ...] = (),
    valley: Literal["parabola", "minimum"] = "parabola",
    space: Literal["log", "linear"] = "log",
    output: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit a law to a table of runs and print it, with the best size and data for each budget.

    Args:
        table: CSV with a header or JSON list: parameters, tokens or FLOPs, loss.
        law: parametric for many runs, small-sample for a handful, isoflop for runs in budgets.
        budgets: training FLOPs to allocate.
        valley: how isoflop reads a budget's optimum.
        space: where isoflop takes the errors of its power laws.
        output: JSON file for the fit.
        overwrite: replace an earlier file.
    """
    from lm_scaling.laws.isoflop import fit_isoflop
    from lm_scaling.laws.parametric_fit import fit_parametric
    from lm_scaling.laws.points import check_positive, read_points
    from lm_scaling.laws.small_sample import fit_small_sample

    for flops in budgets:
        check_positive(budgets=flops)
    points = read_points(table)
    if output is not None:
        claim_file(output, overwrite=overwrite, inputs=[table])
    if law == "isoflop":
        fitted = fit_isoflop(points, method=valley, space=space)
        size, data = fitted.parameters_law, fitted.tokens_law
        print(f"N_opt = {size.coefficient:.5g} * C^{size.exponent:.5f}  R^2 {size.r_squared:.4f}")
        print(f"D_opt = {data.coefficient:.5g} * C^{data.exponent:.5f}  R^2 {data.r_squared:.4f}")
        for one in fitted.optima:
            if not one.is_bracketed:
                print(
                    f"C {one.flops:.3g}: N_opt {one.parameters:.4g} extrapolated, without worse "
                    "runs on both sides"
                )
        for flops in budgets:
            print(f"C {flops:.3g}: N {size(flops):.4g}, D {data(flops):.4g}")
    else:
        fitted = fit_parametric(points) if law == "parametric" else fit_small_sample(points)
        _print_law(fitted.law, fitted.rms_error, points, budgets)
    if output is not None:
        save_config(fitted, output)
    places, then = () if output is None else (output,), _plan(table, points)
    if places or then:
        print(wrote(*places, then=then))


def _plan(table: Path, points: "list[ScalingPoint]") -> tuple[object, ...]:
    """Return the words that plan a run of ten times the compute, after a sweep."""
    candidates = table.parent / CANDIDATES_NAME
    if not candidates.is_file():
        return ()
    flops = f"{10 * max(point.flops for point in points):.2g}"
    return ("scaling", "plan", table, candidates, "--budget-flops", flops)


def _print_law(
    law: "ParametricLaw", error: float, points: "list[ScalingPoint]", budgets: tuple[float, ...]
) -> None:
    print(f"L = {law.E:.4f} + {law.A:.5g} / N^{law.alpha:.4f} + {law.B:.5g} / D^{law.beta:.4f}")
    print(f"{counted(len(points), 'run')}, root mean square relative error {error:.3%}")
    print(f"N_opt ~ C^{law.size_exponent():.4f}")
    for flops in budgets:
        best = law.optimum(flops)
        print(f"C {flops:.3g}: N {best.parameters:.4g}, D {best.tokens:.4g}, loss {best.loss:.4f}")


def plan_run(
    table: Annotated[Path, There(), tyro.conf.Positional],
    candidates: Annotated[Path, There(), tyro.conf.Positional],
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

    points, models = read_points(table), read_candidates(candidates)
    if output is not None:
        claim_file(output, overwrite=overwrite, inputs=[table, candidates])
    planned = plan(
        points,
        models,
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
