"""The loop under everything that takes optimizer steps: recorded, kept, resumable to the bit.

Whoever trains says what one step does and which parts have a state; the loop does the rest. What a
step depends on must be in those parts, in the global random generators, which the loop keeps, or
follow from the step's number: then a resumed run has the bits of one that was never interrupted.
"""

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from lm_basics.optim.schedules import ScheduleConfig
from lm_basics.training.checkpoints import FOLDER_NAME, CheckpointFolder, RandomState
from lm_basics.training.config import DivergencePolicy, StopOnDivergence
from lm_basics.training.divergence import DivergenceGuard
from lm_basics.training.snapshot import Stateful
from lm_basics.training.strategy import Strategy
from lm_shared.config import hash_config
from lm_shared.metrics import MetricsSink, read_metrics
from lm_shared.runs import RunRecord, record_run

_logger = logging.getLogger(__name__)

VALIDATION_LOSS = "val_loss"
"""The number of a validation that decides which checkpoint is the best."""

Metrics = Mapping[str, Any]
"""Numbers and strings by name, for the record."""

DoStep = Callable[[int], Metrics]
"""Does the step with that number, counted from 1, and returns its metrics."""

AfterStep = Callable[[int, Metrics], None]
"""Called after each step with (steps done, its metrics), for displays."""

StopRule = Callable[[Metrics], bool]
"""Says from the metrics of a step whether it was the last one needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """How long a run is, and what happens on its way."""

    steps: int
    """Optimizer steps, or whatever ``do_step`` does."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    keep_checkpoints: int = 1
    """How many of the last checkpoints stay."""
    keep_best: bool = False
    """Whether the checkpoint with the lowest validation loss stays, too."""
    validate_every: int | None = None
    """Steps between validations; None means only after the last step."""


@contextmanager
def open_run(
    folder: Path | str,
    config: Any,
    plan: RunPlan,
    parts: Mapping[str, Stateful],
    *,
    device: torch.device,
    sinks: Sequence[MetricsSink] = (),
) -> Iterator["RunLoop"]:
    """Open a run folder, new or interrupted; the receipt is written when the block succeeds.

    Args:
        folder: The run folder.
        config: What ``config.json`` holds; a folder with another one is refused.
        plan: How long the run is.
        parts: What a checkpoint holds, besides the random generators.
        device: Where the steps draw random numbers.
        sinks: Second places for the metrics.

    Raises:
        ValueError: The folder holds another run, or a damaged one.
        KeyboardInterrupt: Ctrl-C during the last step, after everything is written.
    """
    with record_run(folder, config, sinks=sinks) as record:
        loop = RunLoop(record, plan, parts, identity=hash_config(config), device=device)
        yield loop
    if loop.is_interrupted_at_end:
        raise KeyboardInterrupt("the run has come to its end, and what follows it is left out")


class RunLoop:
    """One process's part of a run; see ``open_run``."""

    def __init__(
        self,
        record: RunRecord,
        plan: RunPlan,
        parts: Mapping[str, Stateful],
        *,
        identity: str,
        device: torch.device,
    ) -> None:
        self.record, self.plan = record, plan
        self.steps_done = 0
        self.is_interrupted_at_end = False
        self._parts = {**parts, "random": RandomState(device)}
        self._checkpoints = CheckpointFolder(
            record.folder / FOLDER_NAME,
            identity=identity,
            keep=plan.keep_checkpoints,
            keep_best=plan.keep_best,
        )

    def run(
        self,
        do_step: DoStep,
        *,
        on_step: AfterStep | None = None,
        validate: Callable[[], Metrics] | None = None,
        is_enough: StopRule | None = None,
    ) -> dict[str, Any]:
        """Do all steps that are not in a checkpoint and return the last validation.

        Args:
            do_step: One step.
            on_step: Told about it.
            validate: Measures; what it calls ``val_loss`` decides which checkpoint is the best.
            is_enough: Ends the run before its last step.

        Raises:
            ValueError: A checkpoint is damaged or of another run, or the metrics before it are
                lost.
            KeyboardInterrupt: Ctrl-C, after the step that was under way and its checkpoint.
        """
        self.steps_done = self._checkpoints.load(self._parts)
        self.record.metrics.resume_at(self.steps_done)
        is_finished = self._was_last(is_enough)
        if is_finished:
            # Its last lines are there already.
            return {} if validate is None else dict(validate())
        if self.steps_done:
            _logger.info("going on after step %d of %d", self.steps_done, self.plan.steps)
        validation: dict[str, Any] = {}
        with delayed_interrupt() as is_interrupted:
            while not is_finished:
                step = self.steps_done + 1
                values = do_step(step)
                self.steps_done = step
                self.record.metrics.write(step=step, **values)
                if on_step is not None:
                    on_step(step, values)
                is_finished = self._is_last(values, is_enough)
                is_due = is_finished or _is_due(step, self.plan.validate_every)
                val_loss: float | None = None
                if validate is not None and is_due:
                    validation = dict(validate())
                    self.record.metrics.write(step=step, **validation)
                    val_loss = self._validation_loss(validation)
                # Asked once: it may change at any moment.
                self._keep(val_loss, is_finished=is_finished, is_stopping=is_interrupted())
            self.is_interrupted_at_end = is_interrupted()
        return validation

    def lines(self) -> list[dict[str, Any]]:
        """Return the record so far, of earlier processes too."""
        return read_metrics(self.record.metrics.path)

    def _was_last(self, is_enough: StopRule | None) -> bool:
        """Tell whether the step of the checkpoint was the last: a run that ended must not go on."""
        if self.steps_done == 0:
            return False
        # The step's own line comes before that of its validation.
        line = next(one for one in self.lines() if one["step"] == self.steps_done)
        return self._is_last(line, is_enough)

    def _is_last(self, values: Metrics, is_enough: StopRule | None) -> bool:
        return self.steps_done >= self.plan.steps or (is_enough is not None and is_enough(values))

    def _keep(self, val_loss: float | None, *, is_finished: bool, is_stopping: bool) -> None:
        """Save a checkpoint where one is due; end the run where Ctrl-C asked for it."""
        step = self.steps_done
        is_best = val_loss is not None and self._checkpoints.would_be_best(val_loss)
        is_due = is_finished or is_best or _is_due(step, self.plan.checkpoint_every)
        if is_due or is_stopping:
            self.record.metrics.sync()
            self._checkpoints.save(step, self._parts, val_loss=val_loss, is_extra=not is_due)
        if is_stopping and not is_finished:
            raise KeyboardInterrupt(
                f"step {step} of {self.plan.steps} is kept: the same command goes on from it"
            )

    def _validation_loss(self, validation: Metrics) -> float | None:
        if self.plan.keep_best and VALIDATION_LOSS not in validation:
            raise ValueError(
                f"keep_best needs a validation that returns {VALIDATION_LOSS!r}, got "
                f"{sorted(validation)}"
            )
        loss = validation.get(VALIDATION_LOSS)
        return None if loss is None else float(loss)


class GradientSteps:
    """From gradients to updates: reduce, clip, check, step at the rate of the schedule."""

    def __init__(
        self,
        strategy: Strategy,
        schedule: ScheduleConfig,
        *,
        steps: int,
        max_grad_norm: float,
        on_divergence: DivergencePolicy | None = None,
    ) -> None:
        """Prepare.

        Args:
            strategy: Holds the gradients and updates the parameters.
            schedule: The learning rate over time.
            steps: Of the whole run.
            max_grad_norm: Gradients are clipped to this global norm.
            on_divergence: What to do when numbers are not finite; None means an error.
        """
        self.strategy, self.schedule = strategy, schedule
        self.steps, self.max_grad_norm = steps, max_grad_norm
        self.guard = DivergenceGuard(on_divergence or StopOnDivergence())

    def parts(self) -> dict[str, Stateful]:
        """Return what a checkpoint holds."""
        return self.strategy.parts() | {"guard": self.guard}

    def take(self, step: int, loss: float) -> dict[str, Any]:
        """Update on the gradients that are there, or skip that, and return numbers of the step.

        Without any gradient, parameters and moments stay as they are.

        Args:
            step: Counted from 1.
            loss: What the gradients are of.

        Raises:
            FloatingPointError: The run diverged; no parameter has changed then.
        """
        strategy = self.strategy
        strategy.reduce_gradients()
        grad_norm = strategy.clip(self.max_grad_norm).item()
        lr_scale = self.schedule.scale(step - 1, self.steps)
        # No divergence: a smaller scale of the loss brings the next gradients back into range.
        if math.isfinite(loss) and strategy.has_overflowed():
            reason = "float16 overflow"
        else:
            reason = self.guard.judge(step, loss, grad_norm)
        numbers: dict[str, Any] = {"grad_norm": grad_norm, "lr_scale": lr_scale}
        if reason is not None:
            strategy.skip()
            return numbers | {"skipped": reason}
        strategy.step(lr_scale)
        return numbers


@contextmanager
def delayed_interrupt() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C instead of raising inside of the block; a second one raises at once.

    Yields:
        A function that tells whether Ctrl-C was pressed. Whoever asks ends the work.
    """
    was_pressed = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal was_pressed
        was_pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _logger.warning("the step under way ends first; Ctrl-C again ends at once")

    # Only Python's own behaviour is replaced: a program that handles Ctrl-C in its own way, or
    # trains in a thread, keeps what it has.
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: was_pressed
    except Exception as error:
        # Whatever ends the block, the press must not be lost.
        if was_pressed:
            raise KeyboardInterrupt(str(error)) from error
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
