"""The loop under everything that takes optimizer steps: recorded, kept, resumable to the bit.

Whoever trains says what one step does and which parts have a state; the loop does the rest. What a
step depends on must be in those parts, in the global random generators, which the loop keeps, or
follow from the step's number: then a resumed run has the bits of one that was never interrupted.
"""

import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from lm_basics.training.checkpoints import FOLDER_NAME, CheckpointFolder
from lm_basics.training.snapshot import Stateful, check_states
from lm_basics.training.team import ALONE, Team
from lm_shared.config import hash_config
from lm_shared.metrics import MetricsSink, read_metrics
from lm_shared.runs import RunRecord, follow_run, record_run

_logger = logging.getLogger(__name__)

VALIDATION_LOSS = "val_loss"
"""The number of a validation that decides which checkpoint is the best."""

Metrics = Mapping[str, Any]
"""Numbers and strings by name, for the record."""

DoStep = Callable[[int], Metrics]
"""Does the step with that number, counted from 1, and returns its metrics."""

AfterStep = Callable[[int, Metrics], None]
"""Called after each step with (steps done, its metrics), for displays.

Where an error ended what follows a step, it is called for that step again when the run goes on; so
are the sinks.
"""

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

    @classmethod
    def from_config(cls, config: Any) -> "RunPlan":
        """Return the plan of a training's settings: those of the same names, as far as it has."""
        names = [one.name for one in fields(cls) if hasattr(config, one.name)]
        return cls(**{name: getattr(config, name) for name in names})


@contextmanager
def open_run(
    folder: Path | str,
    config: Any,
    plan: RunPlan,
    parts: Mapping[str, Stateful],
    *,
    device: torch.device,
    sinks: Sequence[MetricsSink] = (),
    team: Team = ALONE,
) -> Iterator["RunLoop"]:
    """Open a run folder, new or interrupted; the receipt is written when the block succeeds.

    Args:
        folder: The run folder.
        config: What ``config.json`` holds; a folder with another one is refused.
        plan: How long the run is.
        parts: What a checkpoint holds, besides the random generators.
        device: Where the steps draw random numbers.
        sinks: Second places for the metrics.
        team: The processes of the run, which all see the folder. Process 0 writes; the others do
            the same steps.

    Raises:
        TypeError: A part's state cannot be saved.
        ValueError: The folder holds another run, or a damaged one.
        KeyboardInterrupt: Ctrl-C during the last step, after everything is written.
    """
    # Not at the first checkpoint, which may be hours away.
    check_states(parts)
    is_writer = team.rank == 0
    recorded = record_run(folder, config, sinks=sinks)
    with recorded if is_writer else nullcontext(follow_run(folder)) as record:
        loop = RunLoop(record, plan, parts, identity=hash_config(config), device=device, team=team)
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
        team: Team = ALONE,
    ) -> None:
        self.record, self.plan, self._team = record, plan, team
        self.steps_done = 0
        self.is_interrupted_at_end = False
        self._random = RandomState(device)
        self._parts = {**parts, "random": self._random}
        self._checkpoints = CheckpointFolder(
            record.folder / FOLDER_NAME,
            identity=identity,
            keep=plan.keep_checkpoints,
            keep_best=plan.keep_best,
            is_writer=team.rank == 0,
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
            TypeError: A part's state cannot be saved after the first step.
            ValueError: A checkpoint is damaged or of another run, or the metrics before it are
                lost.
            KeyboardInterrupt: Ctrl-C, after the step that was under way and its checkpoint.
        """
        first_step = self._resume() + 1
        values = self._recorded_values()
        is_finished = self.steps_done > 0 and self._is_last(values, is_enough)
        if is_finished and not self._checkpoints.is_cut_short:
            # Its last lines are there already.
            return {} if validate is None else dict(validate())
        if self.steps_done:
            _logger.info("going on after step %d of %d", self.steps_done, self.plan.steps)
        validation: dict[str, Any] = {}
        with delayed_interrupt() as is_interrupted:
            while self._checkpoints.is_cut_short or not is_finished:
                if not self._checkpoints.is_cut_short:
                    step = self.steps_done + 1
                    values = do_step(step)
                    if step == first_step:
                        # Optimizers make their state in it.
                        check_states(self._parts)
                    self.record.metrics.append(step=step, **values)
                    self.steps_done = step
                    is_finished = self._is_last(values, is_enough)
                validation = self._end_step(
                    values, on_step, validate, is_interrupted, is_finished=is_finished
                )
            self.is_interrupted_at_end = is_interrupted()
        return validation

    def lines(self) -> list[dict[str, Any]]:
        """Return the record so far, of earlier processes too."""
        return read_metrics(self.record.metrics.path)

    def _resume(self) -> int:
        """Go back to the newest checkpoint and return its step, or 0 where there is none."""
        self.steps_done = self._checkpoints.load(self._parts)
        # What follows the step, if it is done again, is recorded again.
        num_lines = 1 if self._checkpoints.is_cut_short else None
        self.record.metrics.resume_at(self.steps_done, num_lines=num_lines)
        self._team.wait()
        return self.steps_done

    def _recorded_values(self) -> Metrics:
        """Return the metrics of the checkpoint's step; none where there is no checkpoint."""
        if self.steps_done == 0:
            return {}
        # The step's own line comes before that of its validation.
        line = next(one for one in self.lines() if one["step"] == self.steps_done)
        return {name: one for name, one in line.items() if name not in ("step", "elapsed_s")}

    def _is_last(self, values: Metrics, is_enough: StopRule | None) -> bool:
        return self.steps_done >= self.plan.steps or (is_enough is not None and is_enough(values))

    def _end_step(
        self,
        values: Metrics,
        on_step: AfterStep | None,
        validate: Callable[[], Metrics] | None,
        is_interrupted: Callable[[], bool],
        *,
        is_finished: bool,
    ) -> dict[str, Any]:
        """Tell, validate and save where that is due; end the run where Ctrl-C asked for it."""
        step, validation, val_loss = self.steps_done, {}, None
        if not is_finished and not _is_due(step, self.plan.validate_every):
            validate = None
        # Nothing can fail where nothing is called, and no generator has to be copied.
        is_idle = on_step is None and validate is None and not self.record.metrics.has_sinks
        # An error in one process of many ends all of them: they gather no state any more.
        is_kept = self._team.size == 1 and not is_idle
        with self._kept_on_error() if is_kept else nullcontext():
            self.record.metrics.pass_on(step=step, **values)
            if on_step is not None:
                on_step(step, values)
            if validate is not None:
                validation = dict(validate())
                val_loss = self._validation_loss(validation)
                self.record.metrics.write(step=step, **validation)
        is_due = is_finished or _is_due(step, self.plan.checkpoint_every)
        is_due |= val_loss is not None and self._checkpoints.would_be_best(val_loss)
        # Asked once: it may change at any moment.
        is_stopping = self._team.agree(step, wish=is_interrupted())
        if is_due or is_stopping or self._checkpoints.is_cut_short:
            self._save(val_loss=val_loss, is_extra=not is_due)
        if is_stopping and not is_finished:
            raise KeyboardInterrupt(self._kept)
        return validation

    @contextmanager
    def _kept_on_error(self) -> Iterator[None]:
        """Save the step where an error ends the block.

        What the block drew at random is taken back: it is run again when the run goes on.
        """
        before = self._random.state_dict()
        try:
            yield
        except Exception:
            self._random.load_state_dict(before)
            try:
                self._save(is_extra=True, is_cut_short=True)
            except Exception as error:
                # The first error stays the one that is told: both may have the same reason.
                _logger.warning("step %d could not be kept: %s", self.steps_done, error)
            else:
                _logger.warning(self._kept)
            raise

    @property
    def _kept(self) -> str:
        return (
            f"step {self.steps_done} of {self.plan.steps} is kept: the same command goes on from it"
        )

    def _save(self, **about: Any) -> None:
        self.record.metrics.sync()
        self._checkpoints.save(self.steps_done, self._parts, **about)

    def _validation_loss(self, validation: Metrics) -> float | None:
        if self.plan.keep_best and VALIDATION_LOSS not in validation:
            raise ValueError(
                f"keep_best needs a validation that returns {VALIDATION_LOSS!r}, got "
                f"{sorted(validation)}"
            )
        loss = validation.get(VALIDATION_LOSS)
        return None if loss is None else float(loss)


class RandomState:
    """The global generators of Python, NumPy and torch, there on the CPU and on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        """Return where the generators stand."""
        numpy_state = dict(np.random.get_state(legacy=False))  # noqa: NPY002
        numpy_state["state"] = {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": numpy_state["state"]["pos"],
        }
        state: dict[str, Any] = {
            "python": random.getstate(),
            "torch": torch.get_rng_state(),
            "numpy": numpy_state,
        }
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the generators where they stood; a device that has none of its own is left out."""
        version, words, next_gauss = state_dict["python"]
        random.setstate((version, tuple(words), next_gauss))
        torch.set_rng_state(state_dict["torch"])
        numpy_state = dict(state_dict["numpy"])
        key = numpy_state["state"]["key"].numpy().astype(np.uint32)
        numpy_state["state"] = {"key": key, "pos": numpy_state["state"]["pos"]}
        np.random.set_state(numpy_state)  # noqa: NPY002
        if self.device.type == "cuda" and "cuda" in state_dict:
            torch.cuda.set_rng_state(state_dict["cuda"], self.device)


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
