"""A loop of optimizer steps in a run folder that can be killed at any moment and goes on.

A step may depend on the model, the optimizer and the step's number alone: these three are in the
checkpoint, so a resumed run has the same bits as one that was never interrupted.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch

from lm_basics.optim.schedules import ScheduleConfig
from lm_basics.training.checkpoints import load_checkpoint, save_checkpoint
from lm_basics.transformer import TransformerLM
from lm_shared.runs import RunRecord, read_metrics

StepFunction = Callable[[int], Mapping[str, float]]
"""Does the step with that number, counted from 0, and returns its metrics."""

OnStep = Callable[[int, Mapping[str, float]], None]
"""Called after each step with (steps done, its metrics), for progress bars."""

StopRule = Callable[[Mapping[str, float]], bool]
"""Says from the metrics of a step whether it was the last one needed."""

CHECKPOINT_PATH = "checkpoints/last.safetensors"


@runtime_checkable
class LoopConfig(Protocol):
    """The settings that every kind of run has."""

    @property
    def steps(self) -> int:
        """Steps in the whole run."""
        ...

    @property
    def schedule(self) -> ScheduleConfig:
        """The learning rate over time."""
        ...

    @property
    def checkpoint_every(self) -> int | None:
        """Steps between checkpoints; None means only after the last step."""
        ...


class OptimizerLoop:
    """Runs steps, records their metrics, saves and restores.

    Args:
        model: Changed in place.
        optimizer: Its groups' ``lr`` are the peak rates.
        record: The open run folder.
        config: The run's settings.
        identity: Hash of the run's configuration; a checkpoint of another one is refused.
    """

    def __init__(
        self,
        model: TransformerLM,
        optimizer: torch.optim.Optimizer,
        record: RunRecord,
        config: LoopConfig,
        *,
        identity: str,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.record, self.config, self.identity = record, config, identity
        self.checkpoint_path = record.folder / CHECKPOINT_PATH

    def run(
        self,
        do_step: StepFunction,
        on_step: OnStep | None = None,
        *,
        is_enough: StopRule | None = None,
    ) -> None:
        """Do all steps that are not in the checkpoint.

        Args:
            do_step: One step.
            on_step: Told about it.
            is_enough: Ends the run before its last step.

        Raises:
            ValueError: the checkpoint is damaged or belongs to another run, or the metrics before
                it are lost.
            FloatingPointError: a step's loss or gradient is not finite; names the step.
        """
        # Before a checkpoint is loaded: it holds the scaled rates of its step.
        peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        step = self._resume(is_enough)
        while step < self.config.steps:
            scale = self.config.schedule.scale(step, self.config.steps)
            for group, peak_rate in zip(self.optimizer.param_groups, peak_rates, strict=True):
                group["lr"] = scale * peak_rate
            values = _do_named(do_step, step)
            step += 1
            # Lines of steps after the last checkpoint are cut off by a resume and written again.
            self.record.metrics.write(step=step, lr_scale=scale, **values)
            if on_step is not None:
                on_step(step, values)
            is_last = step == self.config.steps or (is_enough is not None and is_enough(values))
            if is_last or self._is_due(step):
                self._save(step)
            if is_last:
                break

    def _resume(self, is_enough: StopRule | None) -> int:
        """Restore the last checkpoint and return the number of the step to go on with."""
        if not self.checkpoint_path.exists():
            self.record.metrics.resume_at(0)
            return 0
        step = load_checkpoint(
            self.checkpoint_path, self.model, self.optimizer, config_hash=self.identity
        )
        self.record.metrics.resume_at(step)
        # A run that ended early must not go on when it is opened again.
        last = read_metrics(self.record.metrics.path)[-1]
        return self.config.steps if is_enough is not None and is_enough(last) else step

    def _save(self, step: int) -> None:
        self.record.metrics.sync()
        save_checkpoint(
            self.model, self.optimizer, step, self.checkpoint_path, config_hash=self.identity
        )

    def _is_due(self, step: int) -> bool:
        every = self.config.checkpoint_every
        return every is not None and step % every == 0


def _do_named(do_step: StepFunction, step: int) -> Mapping[str, float]:
    """Do a step; what it says of numbers that are not finite gets the step's number, from 1."""
    try:
        return do_step(step)
    except FloatingPointError as error:
        raise FloatingPointError(f"step {step + 1}: {error}") from error
