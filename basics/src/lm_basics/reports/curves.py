"""The curves of a training run, read from its folder, finished or not, damaged or not.

What cannot be read is left out and said: a report on ten runs must not fail because of one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from lm_basics.accounting import count_parameters, training_flops_per_token
from lm_basics.training.config import TrainingRunConfig
from lm_basics.training.samples import SAMPLES_NAME, Sample, last_samples, read_samples
from lm_shared.config import load_config, save_config
from lm_shared.metrics import read_whole_metrics
from lm_shared.runs import CONFIG_NAME, METRICS_NAME, RECEIPT_NAME, check_runs, load_receipt

SETTING_NAME = "setting.json"

Values = Float64[np.ndarray, " points"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSetting:
    """Data and device of a run, as the command that started it knows them: ``setting.json``.

    It does not decide the result. Reports need it: the text behind a token, and what the device
    could do at best.
    """

    vocab_hash: str
    """``Tokenizer.vocab_hash`` of the tokenizer that made the tokens."""
    bytes_per_token: float | None
    """UTF-8 bytes of the training text behind a token; None where the token file does not know."""
    validation_bytes_per_token: float | None
    """The same of the validation text; None also without one."""
    device: str
    """Kind of device."""
    ops: str
    """Name of the operations, see ``lm_basics.nn.ops``."""
    dtype: str
    """Type of the matrix products."""
    peak_flops: float | None
    """The device's peak in such products, a second."""
    peak_source: str
    """Where that number comes from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A loss over the course of a run; not known values are NaN."""

    steps: Values
    """Steps done."""
    tokens: Values
    """Tokens trained on."""
    flops: Values
    """Floating-point operations of the matrix products."""
    elapsed_s: Values
    """Seconds of training."""
    loss: Values
    """Nats per token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCurves:
    """What a run folder tells."""

    folder: Path
    """The folder."""
    config: TrainingRunConfig | None
    """Model and training; None if it cannot be read."""
    setting: RunSetting | None
    """Data and device; None for runs that no command started."""
    is_finished: bool
    """Whether there is a receipt."""
    wall_s: float | None
    """Seconds of the whole run by its receipt; None of an unfinished one."""
    training: Curve
    """Loss of every step."""
    validation: Curve
    """Loss on held-out tokens."""
    samples: tuple[Sample, ...]
    """Continuations of the last step that was sampled at."""
    problems: tuple[str, ...]
    """What could not be read."""


def read_run(folder: Path) -> RunCurves:
    """Read a run folder as far as it can be read.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no training run.
    """
    check_runs([folder])
    problems: list[str] = []
    config = setting = None
    try:
        config = load_config(TrainingRunConfig, folder / CONFIG_NAME)
    except (ValueError, OSError) as error:
        problems.append(f"the configuration cannot be read: {error}")
    try:
        setting = load_setting(folder)
    except ValueError as error:
        problems.append(f"the setting cannot be read: {error}")
    is_finished, wall_s = (folder / RECEIPT_NAME).is_file(), None
    if is_finished:
        try:
            wall_s = load_receipt(folder).wall_s
        except ValueError as error:
            problems.append(f"the receipt cannot be read: {error}")
    lines = _read_lines(folder / METRICS_NAME, problems)
    training = _curve(lines, "loss", config)
    return RunCurves(
        folder=folder,
        config=config,
        setting=setting,
        is_finished=is_finished,
        wall_s=wall_s,
        training=training,
        validation=_before_measuring(_curve(lines, "val_loss", config), training),
        samples=_read_samples(folder / SAMPLES_NAME, problems),
        problems=tuple(problems),
    )


def save_setting(setting: RunSetting, folder: Path) -> None:
    """Write the setting into a run folder."""
    save_config(setting, folder / SETTING_NAME)


def load_setting(folder: Path) -> RunSetting | None:
    """Read the setting of a run folder, or return None if it has none.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / SETTING_NAME
    return load_config(RunSetting, path) if path.is_file() else None


def num_parameters(run: RunCurves) -> int | None:
    """Return the parameters of the run's model, or None if it is not known."""
    return None if run.config is None else count_parameters(run.config.model)


def _curve(lines: Sequence[dict[str, Any]], name: str, config: TrainingRunConfig | None) -> Curve:
    """Collect the lines that hold ``name``; of lines of the same step the last one counts."""
    by_step = {line["step"]: line for line in lines if isinstance(line.get(name), int | float)}
    chosen = [by_step[step] for step in sorted(by_step)]
    step_tokens = flops_per_token = math.nan
    if config is not None:
        length = config.model.context_length
        step_tokens = config.training.batch_size * length
        flops_per_token = training_flops_per_token(config.model, length)
    steps = np.array([line["step"] for line in chosen], dtype=np.float64)
    # Validations carry no count of their own.
    counted = [line.get("tokens", line["step"] * step_tokens) for line in chosen]
    tokens = np.array(counted, dtype=np.float64)
    return Curve(
        steps=steps,
        tokens=tokens,
        flops=tokens * flops_per_token,
        elapsed_s=np.array([line["elapsed_s"] for line in chosen], dtype=np.float64),
        loss=np.array([line[name] for line in chosen], dtype=np.float64),
    )


def _before_measuring(validation: Curve, training: Curve) -> Curve:
    """Return validations at the times of their training steps: measuring is no training."""
    times = dict(zip(training.steps, training.elapsed_s, strict=True))
    pairs = zip(validation.steps, validation.elapsed_s, strict=True)
    elapsed_s = np.array([times.get(step, time) for step, time in pairs], dtype=np.float64)
    return replace(validation, elapsed_s=elapsed_s)


def _read_lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Return the lines of a metrics file that are whole; what is not is added to ``problems``."""
    if not path.is_file():
        problems.append(f"there is no {path.name}")
        return []
    lines, num_damaged = read_whole_metrics(path)
    if num_damaged and not _is_torn_alone(path, num_damaged):
        num_lines = len(lines) + num_damaged
        problems.append(f"{num_damaged} of {num_lines:,} lines of {path.name} are damaged")
    return lines


def _is_torn_alone(path: Path, num_damaged: int) -> bool:
    """Tell whether all that is damaged is a last line that a kill cut off, which is no fault."""
    return num_damaged == 1 and not path.read_bytes().endswith(b"\n")


def _read_samples(path: Path, problems: list[str]) -> tuple[Sample, ...]:
    if not path.is_file():
        return ()
    samples, num_damaged = read_samples(path)
    if num_damaged:
        num_lines = len(samples) + num_damaged
        problems.append(f"{num_damaged} of {num_lines:,} lines of {path.name} are damaged")
    return tuple(last_samples(samples))
