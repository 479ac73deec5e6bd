"""One finished training run as scaling laws see it: size, data, loss and compute.

The table that every fit starts from is a list of ``ScalingPoint``. Where only two of parameters N,
tokens D and FLOPs C are known, the third follows from ``C = 6 N D`` (Kaplan et al., 2020: two
FLOPs per parameter and token forward, four backward).
"""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_shared.files import read_json, write_json

FLOPS_PER_PARAMETER_TOKEN = 6.0
"""FLOPs that training spends on one parameter and one token."""

COLUMN_NAMES = {
    "parameters": ("parameters", "N", "n", "Model Size", "params"),
    "tokens": ("tokens", "D", "train_tokens"),
    "flops": ("flops", "C", "compute_budget", "Training FLOP"),
    "loss": ("loss", "final_loss", "val_loss"),
}
"""The column or key names under which each quantity is found in a table, first match wins."""

_EXTRA_CELLS = "cells beyond the header"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingPoint:
    """One run of a scaling study."""

    parameters: float
    """Parameters N that multiply an activation: with the head, without the input table."""
    tokens: float
    """Tokens D that the run was trained on."""
    loss: float
    """Final validation loss, nats per token."""
    flops: float
    """Training FLOPs C."""

    def __post_init__(self) -> None:
        check_positive(
            parameters=self.parameters, tokens=self.tokens, loss=self.loss, flops=self.flops
        )

    @classmethod
    def from_run(cls, *, parameters: float, tokens: float, loss: float) -> "ScalingPoint":
        """Return the point of a run whose compute is ``6 N D``."""
        flops = FLOPS_PER_PARAMETER_TOKEN * parameters * tokens
        return cls(parameters=parameters, tokens=tokens, loss=loss, flops=flops)

    @classmethod
    def from_budget(cls, *, parameters: float, flops: float, loss: float) -> "ScalingPoint":
        """Return the point of a run that spent ``flops``, with ``D = C / 6 N``."""
        tokens = flops / (FLOPS_PER_PARAMETER_TOKEN * parameters)
        return cls(parameters=parameters, tokens=tokens, loss=loss, flops=flops)


def check_positive(**values: float | None) -> None:
    """Refuse a value that has no logarithm; None is absent and passes.

    Raises:
        ValueError: A value is not positive or not finite; names it.
    """
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value}")


def read_points(path: Path | str) -> list[ScalingPoint]:
    """Read a table of runs: CSV with a header, or JSON with a list of objects.

    Other columns are ignored; ``COLUMN_NAMES`` lists the names that are understood.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of another kind, damaged or empty, or a row lacks a quantity; names
            the row.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        rows = read_json(path)
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise ValueError(f"{path}: expected a list of objects")
        places = ["" for _ in rows]
    elif suffix == ".csv":
        places, rows = _read_csv(path)
    else:
        raise ValueError(f"expected a .csv or .json table, got {path}")
    if not rows:
        raise ValueError(f"{path} holds no runs")
    points = []
    for row_index, (place, row) in enumerate(zip(places, rows, strict=True)):
        try:
            points.append(_parse_row(row))
        except ValueError as error:
            raise ValueError(f"{path}{place}, run {row_index + 1}: {error}") from error
    return points


def write_points(points: Sequence[ScalingPoint], path: Path | str) -> None:
    """Write ``points`` as the JSON table that ``read_points`` reads."""
    rows = [{name: getattr(point, name) for name in COLUMN_NAMES} for point in points]
    write_json(path, rows)


def group_by_budget(
    points: Sequence[ScalingPoint], *, tolerance: float = 0.05
) -> dict[float, list[ScalingPoint]]:
    """Group runs of about equal compute; the key is the group's median FLOPs, in rising order.

    Real sweeps miss a budget by a rounded step or two: a group holds what lies within ``tolerance``
    (relative) of its smallest member.
    """
    groups: list[list[ScalingPoint]] = []
    # Sorted by size as well: a group's order must not depend on the order of the table.
    for point in sorted(points, key=lambda point: (point.flops, point.parameters)):
        if groups and point.flops <= groups[-1][0].flops * (1 + tolerance):
            groups[-1].append(point)
        else:
            groups.append([point])
    return {statistics.median(point.flops for point in group): group for group in groups}


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return where each row stands and its cells; a byte order mark is no part of the header."""
    places, rows, line = [], [], 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey=_EXTRA_CELLS)
            for row in reader:
                line = reader.line_num
                # Empty ones are a comma at the end of the line.
                extra = [cell for cell in row.pop(_EXTRA_CELLS, []) if cell]
                if extra:
                    raise ValueError(f"{path}, line {line}: cells beyond the header: {extra}")
                places.append(f", line {line}")
                rows.append(row)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    except csv.Error as error:
        raise ValueError(f"{path}, after line {line}: {error}") from error
    return places, rows


def _parse_row(row: Mapping[str, Any]) -> ScalingPoint:
    values = {name: _find(row, names) for name, names in COLUMN_NAMES.items()}
    parameters, tokens, flops, loss = (
        values[name] for name in ("parameters", "tokens", "flops", "loss")
    )
    if parameters is None or loss is None:
        raise ValueError(f"needs the parameters and the loss, has the columns {sorted(row)}")
    if flops is not None and tokens is not None:
        return ScalingPoint(parameters=parameters, tokens=tokens, loss=loss, flops=flops)
    if flops is not None:
        return ScalingPoint.from_budget(parameters=parameters, flops=flops, loss=loss)
    if tokens is not None:
        return ScalingPoint.from_run(parameters=parameters, tokens=tokens, loss=loss)
    raise ValueError(f"needs the tokens or the FLOPs, has the columns {sorted(row)}")


def _find(row: Mapping[str, Any], names: Sequence[str]) -> float | None:
    for name in names:
        # An empty CSV cell is an absent value, not a zero.
        if row.get(name) not in (None, ""):
            # A truth value is no number, though float() takes it for one.
            if isinstance(row[name], bool):
                raise ValueError(f"{name} must be a number, got {row[name]!r}")
            try:
                return float(row[name])
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"{name} must be a number, got {row[name]!r}") from error
    return None
