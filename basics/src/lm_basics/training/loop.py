"""The training loop: resumable to the bit, recorded step by step."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lm_basics.accounting import training_flops_per_token
from lm_basics.model_config import TransformerConfig
from lm_basics.optim.adamw import AdamWConfig
from lm_basics.optim.build import OptimizerConfig, build_optimizer
from lm_basics.optim.schedules import CosineSchedule, ScheduleConfig
from lm_basics.training.batches import ShuffledWindows, fingerprint, read_windows
from lm_basics.training.checkpoint import load_checkpoint, save_checkpoint
from lm_basics.training.step_report import StepReport
from lm_basics.training.strategy import SerialStrategy, Strategy
from lm_basics.transformer import TransformerLM
from lm_shared.config import hash_config
from lm_shared.runs import MetricsSink, RunRecord, read_metrics, record_run
from lm_shared.tensors import choose_dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Everything but data and model that decides a run's result."""

    steps: int
    """Optimizer steps."""
    batch_size: int = 16
    """Sequences a step."""
    micro_batch_size: int | None = None
    """Sequences a pass; None means the whole batch at once."""
    optimizer: OptimizerConfig = field(default_factory=AdamWConfig)
    """The update rule."""
    schedule: ScheduleConfig = field(default_factory=CosineSchedule)
    """Learning rate over time."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the matrix products; parameters stay float32."""
    validate_every: int | None = None
    """Steps between validations; None means only after the last step."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    seed: int = 0
    """Decides the order of the data."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("micro_batch_size", "validate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive or None, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRunConfig:
    """What a run folder's ``config.json`` holds."""

    model: TransformerConfig
    """Shape of the model."""
    training: TrainingConfig
    """The run's settings."""
    data: str
    """Fingerprint of the training tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """What came out of a run."""

    steps: int
    """Steps done, earlier processes included."""
    tokens: int
    """Tokens trained on."""
    flops: float
    """Floating-point operations of the matrix products."""
    elapsed_s: float
    """Seconds of training, earlier processes included."""
    final_loss: float
    """Mean training loss of the last tenth of the steps, in nats per token."""
    validation: dict[str, float]
    """What ``validate`` returned after the last step."""


Validation = Callable[[TransformerLM], dict[str, float]]
"""Called on the model; returns named numbers for the record."""

OnStep = Callable[[StepReport], None]
"""Told about each step after it."""


def train(
    model: TransformerLM,
    tokens: NDArray[np.integer],
    config: TrainingConfig,
    *,
    folder: Path,
    validate: Validation | None = None,
    on_step: OnStep | None = None,
    sinks: Sequence[MetricsSink] = (),
) -> TrainingResult:
    """Train ``model`` in place and leave config, metrics, checkpoint and receipt in ``folder``.

    A folder with an interrupted run of the same configuration is continued from its last
    checkpoint. On a CPU the result has the same bits as that of an uninterrupted run; with several
    threads that needs ``lm_shared.tensors.require_determinism``.

    Args:
        model: Freshly initialized, on its device.
        tokens: Training tokens, may be memory-mapped.
        config: The run's settings.
        folder: The run folder.
        validate: Measures the model from time to time.
        on_step: Told about each step, for displays and samples.
        sinks: Further places for the metrics.

    Raises:
        ValueError: The folder holds another run, or the data is too short.
        FloatingPointError: The loss or the gradient is not finite.
    """
    # Before the folder is claimed: a run that cannot begin leaves no trace.
    windows = ShuffledWindows(
        num_tokens=len(tokens),
        length=model.config.context_length,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    run_config = TrainingRunConfig(model=model.config, training=config, data=fingerprint(tokens))
    with record_run(folder, run_config, sinks=sinks) as record:
        loop = _Loop(model, tokens, windows, config, record, identity=hash_config(run_config))
        validation = loop.run(validate, on_step)
        record.add(flops=loop.flops_per_step * config.steps, tokens=loop.step_tokens * config.steps)
        elapsed_s = record.metrics.elapsed_s
    losses = [line["loss"] for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]
    return TrainingResult(
        steps=config.steps,
        tokens=loop.step_tokens * config.steps,
        flops=loop.flops_per_step * config.steps,
        elapsed_s=elapsed_s,
        final_loss=float(np.mean(losses[-max(1, config.steps // 10) :])),
        validation=validation,
    )


class _Loop:
    """The state of one process's part of a run."""

    def __init__(
        self,
        model: TransformerLM,
        tokens: NDArray[np.integer],
        windows: ShuffledWindows,
        config: TrainingConfig,
        record: RunRecord,
        *,
        identity: str,
    ) -> None:
        self.model, self.tokens, self.windows = model, tokens, windows
        self.config, self.record, self.identity = config, record, identity
        self.device = model.output_weight.device
        self.length = model.config.context_length
        self.step_tokens = config.batch_size * self.length
        self.flops_per_step = self.step_tokens * training_flops_per_token(model.config, self.length)
        self.strategy: Strategy = SerialStrategy(
            model,
            build_optimizer(model, config.optimizer),
            dtype=choose_dtype(config.dtype, self.device),
            micro_batch_size=config.micro_batch_size,
        )
        self.checkpoint_path = record.folder / "checkpoints" / "last.safetensors"
        self.first_step, self.started_at = 0, time.perf_counter()

    def run(self, validate: Validation | None, on_step: OnStep | None) -> dict[str, float]:
        """Do the remaining steps and return the last validation."""
        first = self._resume()
        self.first_step, self.started_at = first, time.perf_counter()
        validation: dict[str, float] | None = None
        for step in range(first, self.config.steps):
            report = self._step(step)
            if on_step is not None:
                on_step(report)
            is_last = step + 1 == self.config.steps
            if validate is not None and (is_last or _is_due(step, self.config.validate_every)):
                validation = validate(self.model)
                self.record.metrics.write(step=step + 1, **validation)
            if is_last or _is_due(step, self.config.checkpoint_every):
                self._save(step + 1)
        # A finished run that is opened again has its last line already.
        if first == self.config.steps and validate is not None:
            validation = validate(self.model)
        return validation or {}

    def _step(self, step: int) -> StepReport:
        inputs, targets = read_windows(
            self.tokens, self.windows.starts(step), self.length, self.device
        )
        loss = self.strategy.forward_backward(inputs, targets).item()
        self.strategy.reduce_gradients()
        grad_norm = self.strategy.clip(self.config.max_grad_norm).item()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise FloatingPointError(
                f"the loss is {loss} and the norm of its gradient {grad_norm} at step {step + 1}: "
                "lower the learning rate"
            )
        lr_scale = self.config.schedule.scale(step, self.config.steps)
        self.strategy.step(lr_scale)
        self.record.metrics.write(
            step=step + 1,
            loss=loss,
            grad_norm=grad_norm,
            lr_scale=lr_scale,
            tokens=(step + 1) * self.step_tokens,
        )
        num_done = step + 1 - self.first_step
        return StepReport(
            step=step + 1,
            steps=self.config.steps,
            loss=loss,
            grad_norm=grad_norm,
            lr_scale=lr_scale,
            tokens=(step + 1) * self.step_tokens,
            elapsed_s=self.record.metrics.elapsed_s,
            tokens_per_s=num_done * self.step_tokens / (time.perf_counter() - self.started_at),
        )

    def _resume(self) -> int:
        if not self.checkpoint_path.exists():
            self.record.metrics.resume_at(0)
            return 0
        model, optimizer = self.strategy.state()
        step = load_checkpoint(self.checkpoint_path, model, optimizer, config_hash=self.identity)
        self.record.metrics.resume_at(step)
        return step

    def _save(self, step: int) -> None:
        self.record.metrics.sync()
        model, optimizer = self.strategy.state()
        save_checkpoint(model, optimizer, step, self.checkpoint_path, config_hash=self.identity)


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and (step + 1) % every == 0
