"""The HTML page of a report on training runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from lm_basics.reports.curves import Curve, RunCurves
from lm_basics.reports.numbers import RunNumbers, TrainingReport, share_tokenizer
from lm_basics.training.progress import to_bits_per_byte
from lm_shared.config import to_dict
from lm_shared.figures import Points, figure_svg, line_figure
from lm_shared.report import Cell, Report

_MOST_POINTS = 300
_AXES = {
    "steps": "steps",
    "tokens": "tokens",
    "flops": "floating-point operations",
    "elapsed_s": "seconds of training",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Quantity:
    """What the figures show."""

    label: str
    """Of the axis."""
    training_scale: Mapping[str, float]
    """For each run, what its training loss is multiplied by."""
    validation_scale: Mapping[str, float]
    """The same for its validation loss."""


def training_report_page(runs: Mapping[str, RunCurves], numbers: TrainingReport) -> Report:
    """Lay out curves and numbers of named runs on a self-contained page; its ``write`` saves it."""
    is_one = len(runs) == 1
    title = f"Training: {next(iter(runs))}" if is_one else f"{len(runs)} training runs"
    page = Report(title, " ".join(numbers.warnings))
    _add_state(page, numbers)
    _add_numbers(page, numbers.runs)
    _add_curves(page, runs)
    _add_samples(page, runs)
    if not is_one:
        _add_differences(page, runs)
    return page


def _add_state(page: Report, numbers: TrainingReport) -> None:
    """Say which runs are unfinished and what could not be read."""
    remarks = []
    for run in numbers.runs:
        if not run.is_finished:
            planned = "" if run.planned_steps is None else f" of {run.planned_steps:,}"
            remarks.append(f"{run.name} is unfinished: {run.steps:,}{planned} steps are recorded.")
        remarks += [f"{run.name} is damaged: {problem}." for problem in run.problems]
    if remarks or numbers.warnings:
        page.section("Mind")
    for remark in (*numbers.warnings, *remarks):
        page.paragraph(remark)


def _add_numbers(page: Report, runs: Sequence[RunNumbers]) -> None:
    losses: list[list[Cell]] = [
        [
            run.name,
            "finished" if run.is_finished else "unfinished",
            run.steps,
            run.training_loss,
            run.validation_loss,
            run.training_bits_per_byte,
            run.validation_bits_per_byte,
        ]
        for run in runs
    ]
    page.section("Final numbers").table(
        ["run", "state", "steps", "training", "validation", "training", "validation"],
        losses,
        "Loss, first in nats per token, then in bits per byte; in training it is the mean of the "
        "last tenth of the steps.",
    )
    costs: list[list[Cell]] = [
        [
            run.name,
            run.parameters,
            run.tokens,
            run.flops,
            run.elapsed_s,
            None if run.mfu is None else f"{run.mfu:.1%}",
        ]
        for run in runs
    ]
    sources = sorted({run.peak_source for run in runs if run.peak_source and run.mfu is not None})
    page.table(
        ["run", "parameters", "tokens", "FLOPs", "seconds", "MFU"],
        costs,
        "FLOPs are those of the matrix products; seconds include validations and checkpoints."
        + (f" Peak of the MFU: {'; '.join(sources)}." if sources else ""),
    )


def _add_curves(page: Report, runs: Mapping[str, RunCurves]) -> None:
    quantity = _choose_quantity(runs)
    page.section(
        "Curves",
        "Lines are training loss, neighbors averaged where a run is long; points are validation "
        "loss.",
    )
    for attribute, x_label in _AXES.items():
        lines = _series(runs, attribute, quantity.training_scale, is_training=True)
        points = _series(runs, attribute, quantity.validation_scale, is_training=False)
        if not lines and not points:
            page.paragraph(f"No run tells its {x_label}.")
            continue
        figure = line_figure(lines, points=points, x_label=x_label, y_label=quantity.label)
        page.figure(figure_svg(figure), f"Loss against {x_label}.")


def _choose_quantity(runs: Mapping[str, RunCurves]) -> _Quantity:
    """Return nats per token, or bits per byte where only these can be compared."""
    training = {name: _bits_scale(run, is_training=True) for name, run in runs.items()}
    validation = {name: _bits_scale(run, is_training=False) for name, run in runs.items()}
    known = {name: scale for name, scale in training.items() if scale is not None}
    if share_tokenizer(list(runs.values())) or len(known) < len(runs):
        ones = dict.fromkeys(runs, 1.0)
        return _Quantity(label="nats per token", training_scale=ones, validation_scale=ones)
    return _Quantity(
        label="bits per byte",
        training_scale=known,
        validation_scale={name: one for name, one in validation.items() if one is not None},
    )


def _bits_scale(run: RunCurves, *, is_training: bool) -> float | None:
    if run.setting is None:
        return None
    setting = run.setting
    known = setting.bytes_per_token if is_training else setting.validation_bytes_per_token
    return to_bits_per_byte(1.0, known)


def _series(
    runs: Mapping[str, RunCurves],
    attribute: str,
    scales: Mapping[str, float],
    *,
    is_training: bool,
) -> dict[str, Points]:
    """Return the points of each run that has some."""
    found: dict[str, Points] = {}
    for name, scale in scales.items():
        curve = runs[name].training if is_training else runs[name].validation
        x, y = _thin(curve, attribute) if is_training else (getattr(curve, attribute), curve.loss)
        is_there = np.isfinite(x) & np.isfinite(y)
        if is_there.any():
            found[name] = (x[is_there].tolist(), (scale * y[is_there]).tolist())
    return found


def _thin(
    curve: Curve, attribute: str
) -> tuple[Float64[np.ndarray, " parts"], Float64[np.ndarray, " parts"]]:
    """Average neighbors, so that a long run is a smooth line of few points."""
    x: Float64[np.ndarray, " points"] = getattr(curve, attribute)
    num_parts = min(_MOST_POINTS, max(1, len(x)))
    parts = np.array_split(np.arange(len(x)), num_parts)
    x_means = [x[part].mean() if len(part) else np.nan for part in parts]
    y_means = [curve.loss[part].mean() if len(part) else np.nan for part in parts]
    return np.array(x_means), np.array(y_means)


def _add_samples(page: Report, runs: Mapping[str, RunCurves]) -> None:
    rows: list[list[Cell]] = [
        [name, one.step, one.prompt, one.continuation]
        for name, run in runs.items()
        for one in run.samples
    ]
    if rows:
        columns = ["run", "step", "prompt", "continuation"]
        page.section("Samples", "What the models made of the prompts in the end.")
        page.sample_table(columns, rows)


def _add_differences(page: Report, runs: Mapping[str, RunCurves]) -> None:
    """List the settings that are not the same in all runs."""
    flat = {
        name: _flatten(to_dict(run.config)) for name, run in runs.items() if run.config is not None
    }
    if len(flat) < 2:
        return
    keys = dict.fromkeys(key for settings in flat.values() for key in settings)
    rows: list[list[Cell]] = [
        [key, *(settings.get(key, "") for settings in flat.values())]
        for key in keys
        if len({settings.get(key, "") for settings in flat.values()}) > 1
    ]
    page.section("Settings that differ")
    if rows:
        page.table(["setting", *flat], rows)
    else:
        page.paragraph("None.")


def _flatten(value: Any, place: str = "") -> dict[str, str]:
    """Return the leaves of nested JSON by their dotted places."""
    if isinstance(value, Mapping):
        items = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, list):
        items = [(str(index), one) for index, one in enumerate(value)]
    else:
        return {place: str(value)}
    found: dict[str, str] = {}
    for key, one in items:
        found |= _flatten(one, f"{place}.{key}" if place else key)
    return found
