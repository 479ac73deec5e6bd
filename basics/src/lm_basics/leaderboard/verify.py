"""The verifier: measures the score again, does parts of the run again, and applies the rules.

What a claim rests on is checked in three ways. The files must be those of the submission and say
nothing that breaks a rule. The model must have the claimed score on the division's held-out tokens
at the division's context. And the recorded losses must come out again, from the seed and from each
of the eight checkpoints, on the division's training tokens and at the recorded speed. The steps
between two checkpoints are one *part* of the run. The last part, and some others that chance
chooses, are done to their end and must arrive at the checkpoint there. What happened inside of the
other parts is taken on trust, unless ``full`` does the whole run again from its seed, without any
of the entry's checkpoints.

Published entries come without their weights, which are large. Of these ``full`` alone can judge,
and the model that the run arrives at has to have the claimed score.
"""

import datetime as dt
import logging
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from lm_basics.leaderboard.division_data import DivisionData
from lm_basics.leaderboard.divisions import DIVISIONS, Division
from lm_basics.leaderboard.entry_run import CURVE_TOKENS, MODEL_NAME, restrict_cores
from lm_basics.leaderboard.recipe import milestone_steps
from lm_basics.leaderboard.replay import (
    Replay,
    checkpoint_weights,
    entry_model,
    largest_difference,
    listed_milestones,
    milestones,
    replay,
)
from lm_basics.leaderboard.rules import (
    RUN_NAME,
    EntryRecord,
    check_clock,
    check_data,
    check_hardware,
    check_milestones,
    check_origin,
    check_overlap,
    check_time,
    check_vocabulary,
    read_record,
)
from lm_basics.leaderboard.score import score_model
from lm_basics.training import evaluate_loss
from lm_basics.training.checkpoint_folder import FOLDER_NAME
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

_logger = logging.getLogger(__name__)

SCORE_TOLERANCE = 2e-3
"""Other devices and versions round otherwise."""
LOSS_TOLERANCE = 0.01
"""Nats per token, for the same reason; other data is off by ten times that."""
ARRIVAL_TOLERANCE = 0.005
"""Of the score after the last replayed part, in which roundings grow."""
SPEED_TOLERANCE = 1.25
"""How much faster than here a run may have been on the same hardware."""
_MEMORY_MARGIN = 0.97
# All that a file of somebody else can make go wrong.
_BAD_FILES = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


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
    num_parts: int = 2,
    full: bool = False,
    device: DeviceName = "auto",
) -> Verification:
    """Apply all rules to an entry and write ``verification.json`` into it.

    Args:
        folder: The entry.
        data: The verifier's own; nothing of the entry's is trusted.
        num_steps: Steps that are replayed from the start and from every checkpoint.
        num_parts: Parts that are replayed to their end: the last, and others that chance chooses.
        full: Whether to do all of the run again instead, from its seed.
        device: Where to compute.

    Raises:
        FileNotFoundError: the folder holds no submission.
        ValueError: the submission is damaged, or the entry has no weights and ``full`` is not
            asked for; its earlier verification stays as it is.
    """
    division, submission = division_of(folder), read_entry(folder).submission
    has_weights = bool(milestones(folder)) or (folder / MODEL_NAME).exists()
    if not has_weights and not full:
        raise ValueError(
            f"{folder} comes without weights, as entries are published: only --full can verify it, "
            f"which does the run of {submission.wall_s:.0f} s again from its seed"
        )
    absent = () if has_weights else (f"{MODEL_NAME}/", f"{RUN_NAME}/{FOLDER_NAME}/")
    checks = _guarded("files", lambda: [check_files(folder, submission, absent=absent)])
    record = None
    try:
        record = read_record(folder, submission)
    except _BAD_FILES as error:
        checks.append(_broken("record", error))
    if record is not None:
        for rule, check in _file_rules(record, data, division).items():
            checks += _guarded(rule, lambda check=check: [check()])
        with restrict_cores(division.max_cores):
            judge = _Judge(record, data, division, device)
            if has_weights:
                checks += _guarded("score", judge.check_entry_model)
                check_replays = partial(judge.check_replays, num_steps, num_parts, full)
                checks += _guarded("replay", check_replays)
            else:
                checks += _guarded("replay", judge.check_rerun)
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

    def check_entry_model(self) -> list[Check]:
        """Judge the model that lies in the entry."""
        model = entry_model(self.record.folder, self.record.recipe)
        return self._check_model(model.to(choose_device(self.device)))

    def check_rerun(self) -> list[Check]:
        """Do the run again and judge the model that it arrives at."""
        replays: list[Replay] = []
        # What is left out has to have been there: the clock counts the writing of checkpoints.
        checks = [check_milestones(self.record, listed_milestones(self.record.submission))]
        checks += self._replay(0, self.record.recipe.training.steps, {}, replays)
        checks += _guarded("score", lambda: self._check_model(replays[0].model))
        return [*checks, _check_speed(self.record, replays)]

    def _check_model(self, model: TransformerLM) -> list[Check]:
        """Measure the score again, and look for signs that the held-out text was learned."""
        data, division = self.data, self.division
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

    def check_replays(self, num_steps: int, num_parts: int, full: bool) -> list[Check]:
        """Replay the run, or parts of it; see this module."""
        total, saved = self.record.recipe.training.steps, milestones(self.record.folder)
        milestones_check = check_milestones(self.record, saved)
        if not milestones_check.passed:
            return [milestones_check]
        ends = milestone_steps(self.record.recipe.training)
        if full:
            starts, ends, followed = [0], [total], {total}
        else:
            starts = [0, *ends[:-1]]
            chosen = secrets.SystemRandom().sample(ends[:-1], min(num_parts, len(ends)) - 1)
            followed = {total, *chosen}
        checks: list[Check] = [milestones_check]
        replays: list[Replay] = []
        for start, end in zip(starts, ends, strict=True):
            num = end - start if end in followed else min(num_steps, end - start)
            checks += _guarded("replay", partial(self._replay, start, num, saved, replays))
        checks += _guarded("weights", partial(self._check_model_is, saved[total]))
        return [*checks, _check_speed(self.record, replays)]

    def _replay(
        self, start: int, num_steps: int, saved: Mapping[int, Path], replays: list[Replay]
    ) -> list[Check]:
        """Replay some steps; where they end at a checkpoint, they must have arrived there."""
        _logger.info("replaying %d steps after step %d", num_steps, start)
        done = replay(
            self.record, self.data, after_step=start, num_steps=num_steps, device=self.device
        )
        replays.append(done)
        checks = [_compare_losses(self.record, done)]
        if done.last_step in saved:
            checks.append(self._check_arrival(done, saved[done.last_step]))
        return checks

    def _check_arrival(self, done: Replay, checkpoint: Path) -> Check:
        """Compare where a replay arrived with the checkpoint that the entry has there."""
        there = TransformerLM(self.record.recipe.model)
        # Where a run averages its weights, the average is what counts, but only at the end.
        is_end = done.last_step == self.record.recipe.training.steps
        there.load_state_dict(checkpoint_weights(checkpoint, averaged=is_end))
        there.to(choose_device(self.device))
        scores = [
            score_model(one, self.data, self.division, num_tokens=CURVE_TOKENS)
            for one in (there, done.model)
        ]
        off = abs(scores[0] - scores[1])
        return Check(
            rule="replay",
            passed=off <= ARRIVAL_TOLERANCE,
            detail=(
                f"step {done.last_step}: the checkpoint there and where the replay arrived differ "
                f"by {off:.2g} {self.division.score}"
            ),
        )

    def _check_model_is(self, checkpoint: Path) -> list[Check]:
        """Compare the entry's model with the checkpoint of the last step."""
        model = entry_model(self.record.folder, self.record.recipe)
        off = largest_difference(model, checkpoint_weights(checkpoint, averaged=True))
        detail = f"the model differs from the last checkpoint by {off:.2g}"
        return [Check(rule="weights", passed=off == 0, detail=detail)]

    def _losses(self, model: TransformerLM) -> tuple[float, float]:
        """Return the losses on held-out tokens and on as many training tokens, from anywhere."""
        data, length = self.data, min(self.division.context_length, model.config.context_length)
        num = min(len(data.train.tokens), len(data.validation.tokens))
        first = secrets.randbelow(len(data.train.tokens) - num + 1)
        held_out, trained = (
            evaluate_loss(
                model, tokens, first_context=data.end_of_text, context_length=length
            ).nats_per_token
            for tokens in (
                data.validation.tokens[:num],
                data.train.tokens[first : first + num],
            )
        )
        return held_out, trained


def _file_rules(
    record: EntryRecord, data: DivisionData, division: Division
) -> dict[str, Callable[[], Check]]:
    """Return the rules that need no model."""
    return {
        "time": lambda: check_time(record, division),
        "clock": lambda: check_clock(record),
        "hardware": lambda: check_hardware(record, division),
        "origin": lambda: check_origin(data),
        "data": lambda: check_data(record, data),
        "vocabulary": lambda: check_vocabulary(record, data, division),
        "held-out text": lambda: check_overlap(data),
    }


def _compare_losses(record: EntryRecord, done: Replay) -> Check:
    first, last = done.first_step, done.last_step
    recorded = [line["loss"] for line in record.steps if first <= line["step"] <= last]
    if len(recorded) != len(done.losses):
        detail = f"steps {first} to {last} are not all in the record"
        return Check(rule="replay", passed=False, detail=detail)
    # A step that was skipped because its loss was not finite is replayed as such, too.
    off = float(np.nanmax(np.abs(np.subtract(recorded, done.losses)), initial=0.0))
    same_gaps = np.isfinite(recorded) == np.isfinite(done.losses)
    return Check(
        rule="replay",
        passed=off <= LOSS_TOLERANCE and bool(same_gaps.all()),
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
    claimed = record.mean_step_s
    return Check(
        rule="speed",
        passed=claimed * SPEED_TOLERANCE >= typical,
        detail=f"{claimed:.3f} s a step on the clock, {typical:.3f} s in the replay",
    )


def _guarded(rule: str, check: Callable[[], list[Check]]) -> list[Check]:
    """Return the checks, or one that says why they failed: the files of others may be bad."""
    try:
        return check()
    except _BAD_FILES as error:
        return [_broken(rule, error)]


def _broken(rule: str, error: BaseException) -> Check:
    return Check(rule=rule, passed=False, detail=f"{type(error).__name__}: {error}"[:500])
