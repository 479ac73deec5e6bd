"""The rules that all leaderboards share: data, time, clock, hardware, and replays that come out.

A unit reads an entry into an ``EntryRecord``, perhaps with more fields, and adds rules of its own.
Rules take what an entry's files say and return a ``Check``.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lm_shared.devices import listed_device
from lm_shared.leaderboard.entry import Check, Submission
from lm_shared.receipt import Hardware, Receipt, describe_hardware
from lm_shared.runs import METRICS_NAME, read_metrics

RUN_NAME = "run"
"""Folder of an entry with the record of its run."""
SPEED_TOLERANCE = 1.25
"""How much faster than here a run may have been on the same hardware."""
_FASTEST_CORE_FLOPS = 4e12
"""More than any CPU core does, matrix units included."""
_CLOCK_S = 0.01
"""Seconds that two readings of one clock may differ by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """What every entry of a division has to keep; a unit's own may ask for more."""

    name: str
    """Of the division."""
    title: str
    """The task in one sentence."""
    time_limit_s: float
    """Seconds from the first line of the run to its last step."""
    score: str
    """What is compared, in words that stand above a column."""
    max_cores: int | None
    """Cores that the process may use; None where a GPU does the work."""
    gpu: str | None
    """Word in the name of the one GPU; None where there is none."""
    lower_is_better: bool = True
    """Whether the least score wins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryRecord:
    """What an entry's files say."""

    folder: Path
    """The entry."""
    submission: Submission
    """The claim."""
    receipt: Receipt
    """Of the run."""
    steps: tuple[dict[str, Any], ...]
    """The metrics of each step, from the first to the last."""
    flops: float
    """Floating-point operations that the run takes at least; 0 where nobody counts them."""

    @property
    def mean_step_s(self) -> float:
        """Seconds of a step, all that the clock counted spread over them."""
        return self.submission.wall_s / len(self.steps)


def read_steps(folder: Path, measure: str, *, num_steps: int) -> tuple[dict[str, Any], ...]:
    """Read the lines of an entry's record that hold ``measure``, one for each step from 1.

    Raises:
        FileNotFoundError: there is no record.
        ValueError: it is damaged, or not that of so many steps.
    """
    lines = read_metrics(folder / RUN_NAME / METRICS_NAME)
    steps = tuple(line for line in lines if measure in line)
    # The numbers of others: nothing is computed from them before they are known to be sane.
    if len(steps) != num_steps:
        raise ValueError(f"the record has {len(steps)} of {num_steps} steps")
    for number, line in enumerate(steps, start=1):
        is_time = isinstance(line["elapsed_s"], int | float) and line["elapsed_s"] >= 0
        if line["step"] != number or not is_time or not isinstance(line[measure], float):
            raise ValueError(f"line {number} of the record is not that of step {number}: {line}")
    return steps


def check_data(record: EntryRecord, official: Mapping[str, str]) -> Check:
    """Compare the hashes of the entry's data with those of the verifier's."""
    claimed = record.submission.data
    different = [name for name in official if claimed.get(name) != official[name]]
    return Check(
        rule="data",
        passed=not different,
        detail=(
            f"the run's {' and '.join(different)} {'is' if len(different) == 1 else 'are'} not the "
            "division's"
            if different
            else f"{', '.join(official)} are the division's"
        ),
    )


def check_origin(*, is_official: bool) -> Check:
    """Tell whether the verifier made its data itself."""
    return Check(
        rule="origin",
        passed=True if is_official else None,
        detail=(
            "the data was made anew from the division's texts"
            if is_official
            else "the data was given as files: that they are the division's is taken on trust"
        ),
    )


def check_time(record: EntryRecord, division: Division) -> Check:
    """Compare the run's clock with the division's limit."""
    seconds, limit_s = record.submission.wall_s, division.time_limit_s
    return Check(
        rule="time", passed=seconds <= limit_s, detail=f"{seconds:.1f} s of {limit_s:.0f} s"
    )


def check_clock(record: EntryRecord) -> Check:
    """Look for a clock that contradicts itself or the hardware."""
    times = [line["elapsed_s"] for line in record.steps]
    wall_s, problems = record.submission.wall_s, []
    if any(later < earlier for earlier, later in pairwise(times)):
        problems.append("the clock runs backwards")
    if times and abs(times[-1] - wall_s) > _CLOCK_S:
        problems.append(f"the last step is at {times[-1]:.1f} s, claimed are {wall_s:.1f} s")
    if record.receipt.wall_s + _CLOCK_S < wall_s:
        problems.append(f"the receipt has only {record.receipt.wall_s:.1f} s")
    speed, peak = record.flops / max(wall_s, 1e-9), _peak_flops(record)
    if peak is not None and speed > peak:
        problems.append(
            f"{speed:.3g} FLOPs a second are more than the hardware can do, at most {peak:.3g}"
        )
    fine = f"{speed:.3g} FLOPs a second" if record.flops else "the clock runs forwards"
    return Check(rule="clock", passed=not problems, detail="; ".join(problems) or fine)


def check_hardware(record: EntryRecord, division: Division) -> Check:
    """Compare what the run used with what the division allows."""
    hardware, claim = record.receipt.hardware, record.submission
    problems = hardware_problems(
        hardware, division, device=claim.device, num_threads=claim.num_threads
    )
    if hardware != claim.hardware:
        problems.append("the submission names other hardware than the run's receipt")
    used = ", ".join(hardware.gpus) or f"{hardware.num_cores} cores of {hardware.cpu}"
    return Check(rule="hardware", passed=not problems, detail="; ".join(problems) or used)


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


def check_replayed(
    record: EntryRecord,
    measure: str,
    values: Sequence[float],
    *,
    first_step: int,
    tolerance: float,
    wording: str,
) -> Check:
    """Compare values that a replay gave, step by step, with the recorded ones.

    Args:
        record: What the entry says.
        measure: Name of the values in its record.
        values: Of the steps from ``first_step`` on.
        first_step: Number of the first one, from 1.
        tolerance: How far apart they may be.
        wording: ``losses differ by at most {} nats``, to be filled with the largest difference.
    """
    last_step = first_step + len(values) - 1
    recorded = [one[measure] for one in record.steps if first_step <= one["step"] <= last_step]
    if len(recorded) != len(values):
        detail = f"steps {first_step} to {last_step} are not all in the record"
        return Check(rule="replay", passed=False, detail=detail)
    # A step that was skipped because its loss was not finite is replayed as such, too.
    off = float(np.nanmax(np.abs(np.subtract(recorded, values)), initial=0.0))
    same_gaps = np.isfinite(recorded) == np.isfinite(values)
    return Check(
        rule="replay",
        passed=off <= tolerance and bool(same_gaps.all()),
        detail=f"steps {first_step} to {last_step}: the {wording.format(f'{off:.2g}')}",
    )


def check_speed(record: EntryRecord, seconds: Sequence[float]) -> Check:
    """Compare the recorded speed with the seconds of replayed steps, on the same hardware."""
    here, there = describe_hardware(), record.submission.hardware
    if (here.cpu, here.gpus) != (there.cpu, there.gpus):
        where = ", ".join(there.gpus) or there.cpu
        detail = f"the run was on {where}: not comparable with this machine"
        return Check(rule="speed", passed=None, detail=detail)
    if not seconds:
        return Check(rule="speed", passed=None, detail="too few steps were replayed")
    # The faster half is undisturbed.
    typical, claimed = sorted(seconds)[len(seconds) // 4], record.mean_step_s
    return Check(
        rule="speed",
        passed=claimed * SPEED_TOLERANCE >= typical,
        detail=f"{claimed:.3f} s a step on the clock, {typical:.3f} s in the replay",
    )


@contextmanager
def restrict_cores(max_cores: int | None) -> Iterator[None]:
    """Keep the process to some cores while the block runs; None means all that it has."""
    if max_cores is None:
        yield
        return
    # Whoever only reads entries does without its four seconds.
    import torch  # noqa: PLC0415

    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if sys.platform == "linux" else set[int]()
    torch.set_num_threads(min(threads, max_cores))
    if allowed:
        os.sched_setaffinity(0, sorted(allowed)[:max_cores])
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
        torch.set_num_threads(threads)


def _peak_flops(record: EntryRecord) -> float | None:
    if record.submission.device == "cpu":
        return record.submission.num_threads * _FASTEST_CORE_FLOPS
    gpus = record.receipt.hardware.gpus
    listed = listed_device(gpus[0]) if gpus else None
    return None if listed is None else listed.peak("bfloat16")
