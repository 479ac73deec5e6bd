"""The rules that need no computing: what an entry's files say about time, data and hardware."""

from collections.abc import Container
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lm_basics.accounting import count_parameters, training_flops_per_token
from lm_basics.leaderboard.division_data import (
    MAX_OVERLAP,
    WINDOW_LENGTH,
    DivisionData,
    validation_overlap,
)
from lm_basics.leaderboard.divisions import Division
from lm_basics.leaderboard.recipe import (
    NUM_MILESTONES,
    RECIPE_NAME,
    EntryRecipe,
    milestone_steps,
    with_milestones,
)
from lm_shared.config import load_config
from lm_shared.devices import listed_device
from lm_shared.leaderboard import Check, Submission
from lm_shared.receipt import Hardware, Receipt
from lm_shared.runs import METRICS_NAME, load_receipt, read_metrics

RUN_NAME = "run"
MAX_PARAMETERS = 10**10
_FASTEST_CORE_FLOPS = 4e12
"""More than any CPU core does, matrix units included."""


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
    def mean_step_s(self) -> float:
        """Seconds of a step, all that the clock counted spread over them."""
        return self.submission.wall_s / len(self.steps)


def read_record(folder: Path, submission: Submission) -> EntryRecord:
    """Read the files of an entry.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: one is damaged, or the record is not that of the recipe's steps.
    """
    lines = read_metrics(folder / RUN_NAME / METRICS_NAME)
    steps = tuple(line for line in lines if "loss" in line)
    recipe = load_config(EntryRecipe, folder / RECIPE_NAME)
    # The numbers of others: nothing is computed from them before they are known to be sane.
    if len(steps) != recipe.training.steps:
        raise ValueError(f"the record has {len(steps)} of {recipe.training.steps} steps")
    for number, line in enumerate(steps, start=1):
        is_time = isinstance(line["elapsed_s"], int | float) and line["elapsed_s"] >= 0
        if line["step"] != number or not is_time or not isinstance(line["loss"], float):
            raise ValueError(f"line {number} of the record is not that of step {number}: {line}")
    if count_parameters(recipe.model) > MAX_PARAMETERS:
        raise ValueError(f"the model has more than {MAX_PARAMETERS:,} parameters")
    return EntryRecord(
        folder=folder,
        submission=submission,
        recipe=recipe,
        receipt=load_receipt(folder / RUN_NAME),
        steps=steps,
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


def check_origin(data: DivisionData) -> Check:
    """Tell whether the verifier made its data itself."""
    return Check(
        rule="origin",
        passed=True if data.is_official else None,
        detail=(
            "the data was made anew from the division's texts"
            if data.is_official
            else "the data was given as files: that they are the division's is taken on trust"
        ),
    )


def check_milestones(record: EntryRecord, saved: Container[int]) -> Check:
    """Check that the entry has every checkpoint that a verifier replays from."""
    training = record.recipe.training
    wanted = milestone_steps(training)
    missing = [step for step in wanted if step not in saved]
    if training != with_milestones(training):
        detail = f"the recipe does not keep {NUM_MILESTONES} evenly spread checkpoints"
    elif missing:
        detail = f"there is no checkpoint of step {missing[-1]}"
    else:
        detail = f"{len(wanted)} checkpoints"
    passed = training == with_milestones(training) and not missing
    return Check(rule="checkpoints", passed=passed, detail=detail)


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
    hardware, claim = record.receipt.hardware, record.submission
    problems = hardware_problems(
        hardware, division, device=claim.device, num_threads=claim.num_threads
    )
    if hardware != record.submission.hardware:
        problems.append("the submission names other hardware than the run's receipt")
    return Check(
        rule="hardware",
        passed=not problems,
        detail="; ".join(problems) or _name(hardware),
    )


def hardware_problems(
    hardware: Hardware, division: Division, *, device: str, num_threads: int
) -> list[str]:
    """Return what a division does not allow; a GPU that stands idle does no harm."""
    problems = []
    if division.max_cores is not None and num_threads > division.max_cores:
        problems.append(f"{num_threads} threads, allowed are {division.max_cores}")
    if division.gpu is None:
        if device != "cpu":
            problems.append(f"the run was on {device}, allowed is cpu")
    elif len(hardware.gpus) != 1 or division.gpu not in hardware.gpus[0]:
        found = ", ".join(hardware.gpus) or "none"
        problems.append(f"GPUs: {found}, allowed is one {division.gpu}")
    return problems


def check_clock(record: EntryRecord) -> Check:
    """Look for a clock that contradicts itself or the hardware."""
    times = [line["elapsed_s"] for line in record.steps]
    wall_s, problems = record.submission.wall_s, []
    if any(later < earlier for earlier, later in pairwise(times)):
        problems.append("the clock runs backwards")
    if times and abs(times[-1] - wall_s) > 0.01:
        problems.append(f"the last step is at {times[-1]:.1f} s, claimed are {wall_s:.1f} s")
    if record.receipt.wall_s + 0.01 < wall_s:
        problems.append(f"the receipt has only {record.receipt.wall_s:.1f} s")
    speed, peak = _speed(record), _peak(record)
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


def _peak(record: EntryRecord) -> float | None:
    if record.submission.device == "cpu":
        return record.submission.num_threads * _FASTEST_CORE_FLOPS
    gpus = record.receipt.hardware.gpus
    listed = listed_device(gpus[0]) if gpus else None
    return None if listed is None else listed.peak("bfloat16")


def _name(hardware: Hardware) -> str:
    return ", ".join(hardware.gpus) or f"{hardware.num_cores} cores of {hardware.cpu}"
