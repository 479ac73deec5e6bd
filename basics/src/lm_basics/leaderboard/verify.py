"""The verifier: measures the score again, does parts of the run again, and applies the rules.

What a claim rests on is checked in three ways. The files must be those of the submission and say
nothing that breaks a rule. The model must have the claimed score on the division's held-out tokens
at the division's context. And the recorded losses must come out again, from the seed and from every
checkpoint that the entry kept, on the division's training tokens and at the recorded speed; the
last part is done to its end and must arrive at the model. Training steps between these parts are
taken on trust, unless ``full`` asks for all of them.
"""

import datetime as dt
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from lm_basics.leaderboard.division_data import DivisionData
from lm_basics.leaderboard.divisions import DIVISIONS, Division
from lm_basics.leaderboard.entry_run import CURVE_TOKENS, restrict_cores
from lm_basics.leaderboard.replay import (
    Replay,
    checkpoint_weights,
    entry_model,
    largest_difference,
    milestones,
    replay,
)
from lm_basics.leaderboard.rules import (
    EntryRecord,
    check_clock,
    check_data,
    check_hardware,
    check_overlap,
    check_time,
    check_vocabulary,
    read_record,
)
from lm_basics.leaderboard.score import score_model
from lm_basics.training import evaluate_loss
from lm_basics.transformer import TransformerLM
from lm_shared.files import hash_file
from lm_shared.leaderboard import (
    SUBMISSION_NAME,
    Check,
    Verification,
    check_files,
    read_entry,
    save_verification,
)
from lm_shared.receipt import describe_hardware
from lm_shared.tensors import DeviceName, choose_device

SCORE_TOLERANCE = 2e-3
"""Other devices and versions round otherwise."""
LOSS_TOLERANCE = 0.01
"""Nats per token, for the same reason; other data is off by ten times that."""
ARRIVAL_TOLERANCE = 0.005
"""Of the score after the last replayed part, in which roundings grow."""
SPEED_TOLERANCE = 1.5
"""How much faster than here a run may have been on the same hardware."""
_MEMORY_MARGIN = 0.97


def division_of(folder: Path) -> Division:
    """Return the division that an entry takes part in.

    Raises:
        FileNotFoundError: the folder holds no submission.
        ValueError: there is no such division, or the submission is damaged.
    """
    name = read_entry(folder).submission.division
    for division in DIVISIONS.values():
        if division.name == name:
            return division
    raise ValueError(f"{folder} is of the division {name!r}: known are {', '.join(DIVISIONS)}")


def verify_entry(
    folder: Path,
    data: DivisionData,
    *,
    num_steps: int = 10,
    full: bool = False,
    device: DeviceName = "auto",
) -> Verification:
    """Apply all rules to an entry and write ``verification.json`` into it.

    Args:
        folder: The entry.
        data: The verifier's own; nothing of the entry's is trusted.
        num_steps: Steps that are replayed from the start and from every checkpoint.
        full: Whether to replay all steps instead.
        device: Where to compute.

    Raises:
        FileNotFoundError: the folder holds no submission.
        ValueError: the submission is damaged.
    """
    division, submission = division_of(folder), read_entry(folder).submission
    checks = [check_files(folder, submission)]
    try:
        record = read_record(folder, submission)
    except (OSError, ValueError) as error:
        checks.append(Check(rule="record", passed=False, detail=str(error)))
    else:
        checks += [
            check_time(record, division),
            check_clock(record),
            check_hardware(record, division),
            check_data(record, data),
            check_vocabulary(record, data, division),
            check_overlap(data),
        ]
        with restrict_cores(division.max_cores):
            judge = _Judge(record, data, division, device)
            checks += _guarded("score", judge.check_model)
            checks += judge.check_replays(num_steps, full=full)
    verification = Verification(
        submission_sha256=hash_file(folder / SUBMISSION_NAME),
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        hardware=describe_hardware(),
        checks=tuple(checks),
    )
    save_verification(folder, verification)
    return verification


class _Judge:
    """Applies the rules that need computing."""

    def __init__(
        self, record: EntryRecord, data: DivisionData, division: Division, device: DeviceName
    ) -> None:
        self.record, self.data, self.division, self.device = record, data, division, device

    def check_model(self) -> list[Check]:
        """Measure the score again, and look for signs that the held-out text was learned."""
        model, data, division = self._entry_model(), self.data, self.division
        found, claimed = score_model(model, data, division), self.record.submission.score
        passed = abs(found - claimed) <= SCORE_TOLERANCE
        detail = f"claimed {claimed:.4f}, found {found:.4f} {division.score}"
        longest = model.config.context_length
        if not passed and longest > division.context_length:
            other = score_model(model, data, division, context_length=longest)
            if abs(other - claimed) <= SCORE_TOLERANCE:
                detail += f"; the claim is that of a context of {longest:,} tokens"
        held_out, trained = self._losses(model)
        return [
            Check(rule="score", passed=passed, detail=detail),
            Check(
                rule="memory",
                passed=held_out >= _MEMORY_MARGIN * trained,
                detail=(
                    f"{held_out:.3f} nats per held-out token, {trained:.3f} per training token: "
                    "text that was not learned is not the easier one"
                ),
            ),
        ]

    def check_replays(self, num_steps: int, *, full: bool) -> list[Check]:
        """Replay from the start and from every checkpoint, the last part to its end."""
        total, saved = self.record.recipe.training.steps, milestones(self.record.folder)
        if total not in saved:
            detail = f"the entry has no checkpoint of its last step, {total}"
            return [Check(rule="replay", passed=False, detail=detail)]
        starts = [0, *(step for step in saved if step < total)]
        checks: list[Check] = []
        replays: list[Replay] = []
        for start, end in zip(starts, [*starts[1:], total], strict=True):
            num = end - start if full or end == total else min(num_steps, end - start)
            checks += _guarded("replay", partial(self._replay, start, num, replays))
        if replays and replays[-1].last_step == total:
            check = partial(self._check_arrival, replays[-1], saved[total])
            checks += _guarded("weights", check)
        return [*checks, _check_speed(self.record, replays)]

    def _replay(self, start: int, num_steps: int, replays: list[Replay]) -> list[Check]:
        done = replay(
            self.record, self.data, after_step=start, num_steps=num_steps, device=self.device
        )
        replays.append(done)
        return [_compare_losses(self.record, done)]

    def _check_arrival(self, last: Replay, checkpoint: Path) -> list[Check]:
        """Compare the model with the last checkpoint, and with where the replay arrived."""
        model = self._entry_model()
        saved = largest_difference(model, checkpoint_weights(checkpoint))
        claimed, arrived = (
            score_model(one, self.data, self.division, num_tokens=CURVE_TOKENS)
            for one in (model, last.model)
        )
        off = abs(claimed - arrived)
        return [
            Check(
                rule="weights",
                passed=saved == 0 and off <= ARRIVAL_TOLERANCE,
                detail=(
                    f"the model differs from the last checkpoint by {saved:.2g}, and where the "
                    f"replay arrived scores differently by {off:.2g} {self.division.score}"
                ),
            )
        ]

    def _entry_model(self) -> TransformerLM:
        model = entry_model(self.record.folder, self.record.recipe)
        return model.to(choose_device(self.device))

    def _losses(self, model: TransformerLM) -> tuple[float, float]:
        """Return the losses on held-out tokens and on as many training tokens."""
        data, length = self.data, min(self.division.context_length, model.config.context_length)
        num = min(len(data.train.tokens), len(data.validation.tokens))
        held_out, trained = (
            evaluate_loss(
                model, tokens[:num], first_context=data.end_of_text, context_length=length
            ).nats_per_token
            for tokens in (data.validation.tokens, data.train.tokens)
        )
        return held_out, trained


def _compare_losses(record: EntryRecord, done: Replay) -> Check:
    first, last = done.first_step, done.last_step
    recorded = [line["loss"] for line in record.steps if first <= line["step"] <= last]
    if len(recorded) != len(done.losses):
        detail = f"steps {first} to {last} are not all in the record"
        return Check(rule="replay", passed=False, detail=detail)
    off = float(np.abs(np.subtract(recorded, done.losses)).max(initial=0.0))
    return Check(
        rule="replay",
        # Written so that a NaN fails.
        passed=off <= LOSS_TOLERANCE,
        detail=f"steps {first} to {last}: the losses differ by at most {off:.2g} nats",
    )


def _check_speed(record: EntryRecord, replays: list[Replay]) -> Check:
    """Compare the recorded speed with that of the replays, on the same hardware."""
    here, there = describe_hardware(), record.submission.hardware
    if (here.cpu, here.gpus) != (there.cpu, there.gpus):
        where = ", ".join(there.gpus) or there.cpu
        detail = f"the run was on {where}: not comparable with this machine"
        return Check(rule="speed", passed=None, detail=detail)
    # The first step of each replay may compile; of the others the faster half is undisturbed.
    seconds = sorted(one for done in replays for one in done.step_s[1:])
    if not seconds:
        return Check(rule="speed", passed=None, detail="too few steps were replayed")
    typical = seconds[len(seconds) // 4]
    claimed = record.median_step_s
    return Check(
        rule="speed",
        passed=claimed * SPEED_TOLERANCE >= typical,
        detail=f"{claimed:.3f} s a step in the record, {typical:.3f} s in the replay",
    )


def _guarded(rule: str, check: Callable[[], list[Check]]) -> list[Check]:
    """Return the checks, or one that says why they failed: the files of others may be bad."""
    try:
        return check()
    except (OSError, ValueError, KeyError, RuntimeError, FloatingPointError) as error:
        return [Check(rule=rule, passed=False, detail=f"{type(error).__name__}: {error}")]
