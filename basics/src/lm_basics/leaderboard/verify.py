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

import logging
import secrets
from collections.abc import Container, Mapping
from functools import partial
from pathlib import Path

from lm_basics.leaderboard.division_data import DivisionData, check_overlap
from lm_basics.leaderboard.divisions import (
    DIVISIONS,
    NUM_MILESTONES,
    TrainingDivision,
    milestone_steps,
    with_milestones,
)
from lm_basics.leaderboard.entry_run import CURVE_TOKENS, MODEL_NAME, score_model
from lm_basics.leaderboard.replay import (
    Replay,
    TrainingRecord,
    checkpoint_weights,
    entry_model,
    largest_difference,
    listed_milestones,
    milestones,
    read_record,
    replay,
)
from lm_basics.training import evaluate_loss
from lm_basics.training.checkpoints import FOLDER_NAME
from lm_basics.training.loop import OnStep
from lm_basics.transformer import TransformerLM
from lm_shared.config import DeviceName
from lm_shared.leaderboard import (
    RUN_NAME,
    Check,
    Rule,
    Verification,
    check_data,
    check_origin,
    check_replayed,
    check_speed,
    division_of,
    guarded,
    judge_entry,
    read_entry,
)
from lm_shared.tensors import choose_device

_logger = logging.getLogger(__name__)

SCORE_TOLERANCE = 2e-3
"""Other devices and versions round otherwise."""
LOSS_TOLERANCE = 0.01
"""Nats per token, for the same reason; other data is off by ten times that."""
ARRIVAL_TOLERANCE = 0.005
"""Of the score after the last replayed part, in which roundings grow."""
_MEMORY_MARGIN = 0.97


def verify_entry(
    folder: Path,
    data: DivisionData,
    *,
    num_steps: int = 10,
    num_parts: int = 2,
    full: bool = False,
    device: DeviceName = "auto",
    on_step: OnStep | None = None,
) -> Verification:
    """Apply all rules to an entry and write ``verification.json`` into it.

    Args:
        folder: The entry.
        data: The verifier's own; nothing of the entry's is trusted.
        num_steps: Steps that are replayed from the start and from every checkpoint.
        num_parts: Parts that are replayed to their end: the last, and others that chance chooses.
        full: Whether to do all of the run again instead, from its seed.
        device: Where to compute.
        on_step: Called after each step that is replayed.

    Raises:
        FileNotFoundError: the folder holds no submission.
        ValueError: the submission is damaged, or the entry has no weights and ``full`` is not
            asked for; its earlier verification stays as it is.
    """
    division, submission = division_of(folder, DIVISIONS.values()), read_entry(folder).submission
    has_weights = bool(milestones(folder)) or (folder / MODEL_NAME).exists()
    if not has_weights and not full:
        raise ValueError(
            f"{folder} comes without weights, as entries are published: only --full can verify it, "
            f"which does the run of {submission.wall_s:.0f} s again from its seed"
        )

    def rules(record: TrainingRecord) -> list[tuple[str, Rule]]:
        judge = _Judge(record, data, division, device, on_step)
        in_files: list[tuple[str, Rule]] = [
            ("origin", lambda: check_origin(is_official=data.is_official)),
            ("data", lambda: check_data(record, data.hashes())),
            ("vocabulary", lambda: check_vocabulary(record, data, division)),
            ("held-out text", lambda: check_overlap(data)),
        ]
        if not has_weights:
            return [*in_files, ("replay", judge.check_rerun)]
        replays = partial(judge.check_replays, num_steps, num_parts, full)
        return [*in_files, ("score", judge.check_entry_model), ("replay", replays)]

    return judge_entry(
        folder,
        division,
        read_record=read_record,
        rules=rules,
        absent=() if has_weights else (f"{MODEL_NAME}/", f"{RUN_NAME}/{FOLDER_NAME}/"),
    )


def check_milestones(record: TrainingRecord, saved: Container[int]) -> Check:
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


def check_vocabulary(
    record: TrainingRecord, data: DivisionData, division: TrainingDivision
) -> Check:
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


class _Judge:
    """Applies the rules that need computing."""

    def __init__(
        self,
        record: TrainingRecord,
        data: DivisionData,
        division: TrainingDivision,
        device: DeviceName,
        on_step: OnStep | None,
    ) -> None:
        self.record, self.data, self.division, self.on_step = record, data, division, on_step
        self.device: DeviceName = device

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
        checks += guarded("score", lambda: self._check_model(replays[0].model))
        return [*checks, self._check_speed(replays)]

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
        _logger.info("comparing held-out tokens with as many of training")
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
            checks += guarded("replay", partial(self._replay, start, num, saved, replays))
        checks += guarded("weights", partial(self._check_model_is, saved[total]))
        return [*checks, self._check_speed(replays)]

    def _replay(
        self, start: int, num_steps: int, saved: Mapping[int, Path], replays: list[Replay]
    ) -> list[Check]:
        """Replay some steps; where they end at a checkpoint, they must have arrived there."""
        _logger.info("replaying %d steps after step %d", num_steps, start)
        done = replay(
            self.record,
            self.data,
            after_step=start,
            num_steps=num_steps,
            device=self.device,
            on_step=self.on_step,
        )
        replays.append(done)
        checks = [
            check_replayed(
                self.record,
                "loss",
                done.losses,
                first_step=done.first_step,
                tolerance=LOSS_TOLERANCE,
                wording="losses differ by at most {} nats",
            )
        ]
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

    def _check_speed(self, replays: list[Replay]) -> Check:
        """Compare the speed of all replays with the record; the first step of each may compile."""
        return check_speed(self.record, [one for done in replays for one in done.step_s[1:]])
