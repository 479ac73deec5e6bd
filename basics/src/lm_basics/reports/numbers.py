"""Numbers of one training run or several, side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lm_basics.reports.curves import Curve, RunCurves, num_parameters, read_run
from lm_basics.training.progress import to_bits_per_byte
from lm_shared.files import resolve_path
from lm_shared.report import distinct_names
from lm_shared.runs import check_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class RunNumbers:
    """A run at its end, or as far as it came; None stands for what is not known."""

    name: str
    """As much of the folder's path as tells it from the others."""
    is_finished: bool
    """Whether it came to its end."""
    steps: int
    """Steps done."""
    planned_steps: int | None
    """Steps that it was to do."""
    parameters: int | None
    """Parameters of the model."""
    tokens: int | None
    """Tokens trained on."""
    flops: float | None
    """Floating-point operations of the matrix products."""
    elapsed_s: float | None
    """Seconds of training with its validations and checkpoints."""
    training_loss: float | None
    """Mean of the last tenth of the steps, in nats per token."""
    training_bits_per_byte: float | None
    """The same in bits per byte of text."""
    validation_loss: float | None
    """Last one, in nats per token."""
    validation_bits_per_byte: float | None
    """The same in bits per byte of text."""
    mfu: float | None
    """Share of the device's peak that the matrix products used, over the whole time."""
    peak_source: str | None
    """Where the peak comes from."""
    problems: tuple[str, ...]
    """What could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport:
    """Several runs."""

    runs: tuple[RunNumbers, ...]
    """In the order given."""
    warnings: tuple[str, ...]
    """What stands in the way of comparing them."""


def read_runs(folders: Sequence[Path]) -> dict[str, RunCurves]:
    """Read run folders and name them by as much of their paths as tells them apart.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no folder is given, one is given twice, or one holds no run.
    """
    check_runs(folders)
    names = distinct_names([resolve_path(folder) for folder in folders])
    return {name: read_run(folder) for name, folder in zip(names, folders, strict=True)}


def summarize_runs(runs: dict[str, RunCurves]) -> TrainingReport:
    """Return the final numbers of named runs, and whether their losses can be compared."""
    numbers = tuple(_summarize(name, run) for name, run in runs.items())
    return TrainingReport(runs=numbers, warnings=tuple(_warnings(runs)))


def share_tokenizer(runs: Sequence[RunCurves]) -> bool:
    """Tell whether nothing speaks against all runs' tokens coming from one tokenizer."""
    hashes = {run.setting.vocab_hash for run in runs if run.setting is not None}
    sizes = {run.config.model.vocab_size for run in runs if run.config is not None}
    return len(hashes) <= 1 and len(sizes) <= 1


def _warnings(runs: dict[str, RunCurves]) -> list[str]:
    found = []
    if not share_tokenizer(list(runs.values())):
        sizes = ", ".join(
            f"{name} {run.config.model.vocab_size:,}"
            for name, run in runs.items()
            if run.config is not None
        )
        found.append(
            f"The runs use different tokenizers (vocabularies: {sizes}): a loss per token cannot "
            "be compared between them, bits per byte can."
        )
    seen = {run.config.data for run in runs.values() if run.config is not None}
    if len(seen) > 1 and not found:
        found.append("The runs learned from different tokens.")
    return found


def _summarize(name: str, run: RunCurves) -> RunNumbers:
    curve, setting = run.training, run.setting
    loss = _mean_of_last_tenth(curve)
    validation = _last(run.validation.loss)
    elapsed_s = _last(curve.elapsed_s) if run.wall_s is None else run.wall_s
    flops = _last(curve.flops)
    peak = None if setting is None else setting.peak_flops
    tokens = _last(curve.tokens)
    return RunNumbers(
        name=name,
        is_finished=run.is_finished,
        steps=int(_last(curve.steps) or 0),
        planned_steps=None if run.config is None else run.config.training.steps,
        parameters=num_parameters(run),
        tokens=None if tokens is None else int(tokens),
        flops=flops,
        elapsed_s=elapsed_s,
        training_loss=loss,
        training_bits_per_byte=_bits(loss, setting and setting.bytes_per_token),
        validation_loss=validation,
        validation_bits_per_byte=_bits(validation, setting and setting.validation_bytes_per_token),
        mfu=flops / elapsed_s / peak if flops and elapsed_s and peak else None,
        peak_source=None if setting is None else setting.peak_source,
        problems=run.problems,
    )


def _bits(loss: float | None, bytes_per_token: float | None) -> float | None:
    return None if loss is None else to_bits_per_byte(loss, bytes_per_token)


def _mean_of_last_tenth(curve: Curve) -> float | None:
    if len(curve.loss) == 0:
        return None
    mean = float(np.mean(curve.loss[-max(1, len(curve.loss) // 10) :]))
    return mean if math.isfinite(mean) else None


def _last(values: np.ndarray) -> float | None:
    """Return the last value, or None if there is none or it is not finite."""
    if len(values) == 0 or not math.isfinite(values[-1]):
        return None
    return float(values[-1])
