"""The rules that need no computing: what an entry's files say about time, data and hardware."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from lm_basics.accounting import training_flops_per_token
from lm_basics.leaderboard.division_data import (
    MAX_OVERLAP,
    WINDOW_LENGTH,
    DivisionData,
    validation_overlap,
)
from lm_basics.leaderboard.divisions import Division
from lm_basics.leaderboard.recipe import RECIPE_NAME, EntryRecipe
from lm_basics.peak_flops import listed_peak
from lm_shared.config import load_config
from lm_shared.leaderboard import Check, Submission
from lm_shared.receipt import Hardware, Receipt
from lm_shared.runs import METRICS_NAME, load_receipt, read_metrics

RUN_NAME = "run"
_FASTEST_CORE_FLOPS = 5e11
"""More than any CPU core does, matrix units included, in training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryRecord:
    """What an entry's files say."""

    folder: Path
    """The entry."""
    submission: Submission
    """The claim."""
    recipe: EntryRecipe
    """Model and training."""
    receipt: Receipt
    """Of the run."""
    steps: tuple[dict[str, Any], ...]
    """The metrics of each step, from the first to the last."""

    @property
    def median_step_s(self) -> float:
        """Seconds of a typical step; the first one, which may compile, does not count."""
        times = [line["elapsed_s"] for line in self.steps]
        return median(later - earlier for earlier, later in pairwise(times)) if times[1:] else 0.0


def read_record(folder: Path, submission: Submission) -> EntryRecord:
    """Read the files of an entry.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: one is damaged.
    """
    lines = read_metrics(folder / RUN_NAME / METRICS_NAME)
    return EntryRecord(
        folder=folder,
        submission=submission,
        recipe=load_config(EntryRecipe, folder / RECIPE_NAME),
        receipt=load_receipt(folder / RUN_NAME),
        steps=tuple(line for line in lines if "loss" in line),
    )


def check_data(record: EntryRecord, data: DivisionData) -> Check:
    """Compare the hashes of the entry's data with those of the verifier's."""
    official = data.hashes()
    claimed = record.submission.data
    different = [name for name in official if claimed.get(name) != official[name]]
    return Check(
        rule="data",
        passed=not different,
        detail=(
            f"the run's {' and '.join(different)} {'is' if len(different) == 1 else 'are'} not the "
            "division's"
            if different
            else "training tokens, held-out tokens and tokenizer are the division's"
        ),
    )


def check_overlap(data: DivisionData) -> Check:
    """Look for held-out text in the training tokens."""
    share = validation_overlap(data.train.tokens, data.validation.tokens)
    return Check(
        rule="held-out text",
        passed=share <= MAX_OVERLAP,
        detail=(
            f"{share:.1%} of the held-out windows of {WINDOW_LENGTH} tokens occur in the training "
            f"tokens, {MAX_OVERLAP:.0%} may"
        ),
    )


def check_vocabulary(record: EntryRecord, data: DivisionData, division: Division) -> Check:
    """Compare the model's vocabulary with the tokenizer's and the division's."""
    size, wanted = record.recipe.model.vocab_size, division.vocab_size
    tokenizer_size = data.tokenizer.vocab_size
    passed = size == tokenizer_size and wanted in (None, size)
    rule = "" if wanted is None else f", the division asks for {wanted:,}"
    return Check(
        rule="vocabulary",
        passed=passed,
        detail=f"the model has {size:,} tokens, the tokenizer {tokenizer_size:,}{rule}",
    )


def check_time(record: EntryRecord, division: Division) -> Check:
    """Compare the run's clock with the division's limit."""
    seconds, limit_s = record.submission.wall_s, division.time_limit_s
    return Check(
        rule="time",
        passed=seconds <= limit_s,
        detail=f"{seconds:.1f} s of {limit_s:.0f} s",
    )


def check_hardware(record: EntryRecord, division: Division) -> Check:
    """Compare what the run used with what the division allows."""
    hardware = record.receipt.hardware
    problems = hardware_problems(hardware, division)
    if hardware != record.submission.hardware:
        problems.append("the submission names other hardware than the run's receipt")
    return Check(
        rule="hardware",
        passed=not problems,
        detail="; ".join(problems) or _name(hardware),
    )


def hardware_problems(hardware: Hardware, division: Division) -> list[str]:
    """Return what a division does not allow."""
    problems = []
    if division.max_cores is not None and hardware.num_cores > division.max_cores:
        problems.append(f"{hardware.num_cores} cores, allowed are {division.max_cores}")
    if division.gpu is None:
        if hardware.gpus:
            problems.append(f"there is a GPU ({', '.join(hardware.gpus)}), none is allowed")
    elif len(hardware.gpus) != 1 or division.gpu not in hardware.gpus[0]:
        found = ", ".join(hardware.gpus) or "none"
        problems.append(f"GPUs: {found}, allowed is one {division.gpu}")
    return problems


def check_clock(record: EntryRecord) -> Check:
    """Look for a clock that contradicts itself or the hardware."""
    times = [line["elapsed_s"] for line in record.steps]
    wall_s, problems = record.submission.wall_s, []
    numbers = [line["step"] for line in record.steps]
    if numbers != list(range(1, record.recipe.training.steps + 1)):
        problems.append(
            f"the record has {len(numbers)} of {record.recipe.training.steps} steps, or not in "
            "their order"
        )
    if any(later < earlier for earlier, later in pairwise(times)):
        problems.append("the clock runs backwards")
    if times and abs(times[-1] - wall_s) > 0.01:
        problems.append(f"the last step is at {times[-1]:.1f} s, claimed are {wall_s:.1f} s")
    if record.receipt.wall_s + 0.01 < wall_s:
        problems.append(f"the receipt has only {record.receipt.wall_s:.1f} s")
    speed, peak = _speed(record), _peak(record.receipt.hardware)
    if peak is not None and speed > peak:
        problems.append(
            f"{speed:.3g} FLOPs a second are more than the hardware can do, at most {peak:.3g}"
        )
    return Check(
        rule="clock",
        passed=not problems,
        detail="; ".join(problems) or f"{speed:.3g} FLOPs a second",
    )


def _speed(record: EntryRecord) -> float:
    """Return the FLOPs a second of the whole run."""
    model, training = record.recipe.model, record.recipe.training
    tokens = training.steps * training.batch_size * model.context_length
    flops = tokens * training_flops_per_token(model, model.context_length)
    return flops / max(record.submission.wall_s, 1e-9)


def _peak(hardware: Hardware) -> float | None:
    if not hardware.gpus:
        return hardware.num_cores * _FASTEST_CORE_FLOPS
    listed = listed_peak(hardware.gpus[0])
    return None if listed is None else listed.flops_per_s


def _name(hardware: Hardware) -> str:
    return ", ".join(hardware.gpus) or f"{hardware.num_cores} cores of {hardware.cpu}"
