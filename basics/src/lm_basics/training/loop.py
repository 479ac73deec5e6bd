"""The training loop: resumable to the bit, recorded step by step."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from lm_basics.accounting import training_flops_per_token
from lm_basics.optim.build import build_optimizer
from lm_basics.training.checkpoints import EMA_PART, FOLDER_NAME, CheckpointFolder, RandomState
from lm_basics.training.config import TrainingConfig, TrainingRunConfig
from lm_basics.training.data import (
    Loader,
    check_document_starts,
    check_tokens,
    fingerprint,
    window_sampler,
)
from lm_basics.training.divergence import DivergenceGuard
from lm_basics.training.ema import WeightEMA
from lm_basics.training.progress import StepReport, TokenRate
from lm_basics.training.run_loop import delayed_interrupt
from lm_basics.training.snapshot import Stateful
from lm_basics.training.strategy import SerialStrategy, Strategy
from lm_basics.transformer import TransformerLM
from lm_shared.config import hash_config
from lm_shared.runs import MetricsSink, RunRecord, read_metrics, record_run
from lm_shared.tensors import choose_dtype

_logger = logging.getLogger(__name__)

VALIDATION_LOSS = "val_loss"
"""The number of a validation that decides which checkpoint is the best."""


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
    """Mean training loss of the updates of the last tenth of the steps, in nats per token."""
    validation: dict[str, float]
    """What ``validate`` returned after the last step."""
    ema: WeightEMA | None
    """The averaged weights, if any; inside of ``ema.applied()`` the model has them."""


Validation = Callable[[TransformerLM], dict[str, float]]
"""Called on the model; returns named numbers for the record."""

OnStep = Callable[[StepReport], None]
"""Called after each step."""


def train(
    model: TransformerLM,
    tokens: NDArray[np.integer],
    config: TrainingConfig,
    *,
    folder: Path,
    document_starts: Int64[np.ndarray, " documents"] | None = None,
    validate: Validation | None = None,
    on_step: OnStep | None = None,
    sinks: Sequence[MetricsSink] = (),
) -> TrainingResult:
    """Train ``model`` in place and leave config, metrics, checkpoints and receipt in ``folder``.

    A folder with an interrupted run of the same configuration is continued from its last
    checkpoint. On a CPU the result has the same bits as that of an uninterrupted run; with several
    threads that needs ``lm_shared.tensors.require_determinism``.

    Args:
        model: Freshly initialized, on its device.
        tokens: Training tokens, may be memory-mapped.
        config: The run's settings.
        folder: The run folder.
        document_starts: Position of each document's first token, for ``mask_documents``.
        validate: Measures the model from time to time, with averaged weights if there are any. What
            it calls ``val_loss`` decides which checkpoint is the best.
        on_step: Called after each step, for displays.
        sinks: Second places for the metrics.

    Raises:
        TypeError: The tokens are no integers.
        ValueError: The folder holds another run, the data is too short or not of the model's
            vocabulary, or what the settings need is missing.
        FloatingPointError: The run diverged, by ``config.on_divergence``.
        KeyboardInterrupt: Ctrl-C, after the step that was under way and its checkpoint.
    """
    # Before the folder is claimed: a run that cannot begin leaves no trace.
    if config.keep_best and validate is None:
        raise ValueError("keep_best needs a function to validate with, got None")
    loader = _make_loader(model, tokens, config, document_starts)
    starts = loader.document_starts
    run_config = TrainingRunConfig(
        model=model.config,
        training=config,
        data=fingerprint(tokens),
        documents=None if starts is None else fingerprint(starts),
    )
    with record_run(folder, run_config, sinks=sinks) as record:
        loop = _Loop(model, loader, config, record, identity=hash_config(run_config))
        validation = loop.run(validate, on_step)
        record.add(flops=loop.flops_per_step * config.steps, tokens=loop.step_tokens * config.steps)
    if loop.is_interrupted_at_end:
        raise KeyboardInterrupt("the run has come to its end, and what follows it is left out")
    return TrainingResult(
        steps=config.steps,
        tokens=loop.step_tokens * config.steps,
        flops=loop.flops_per_step * config.steps,
        elapsed_s=record.wall_s,
        final_loss=_final_loss(folder, config.steps),
        validation=validation,
        ema=loop.ema,
    )


class _Loop:
    """The state of one process's part of a run."""

    def __init__(
        self,
        model: TransformerLM,
        loader: Loader,
        config: TrainingConfig,
        record: RunRecord,
        *,
        identity: str,
    ) -> None:
        self.model, self.loader, self.config, self.record = model, loader, config, record
        self.step_tokens = config.batch_size * loader.length
        self.flops_per_step = self.step_tokens * training_flops_per_token(
            model.config, loader.length
        )
        self.strategy: Strategy = SerialStrategy(
            model,
            build_optimizer(model, config.optimizer),
            dtype=choose_dtype(config.dtype, loader.device),
            micro_batch_size=config.micro_batch_size,
        )
        self.guard = DivergenceGuard(config.on_divergence)
        self.ema = None if config.ema_decay is None else WeightEMA(model, config.ema_decay)
        self.rate = TokenRate(self.step_tokens)
        self.is_interrupted_at_end = False
        self.checkpoints = CheckpointFolder(
            record.folder / FOLDER_NAME,
            identity=identity,
            keep=config.keep_checkpoints,
            keep_best=config.keep_best,
        )

    def run(self, validate: Validation | None, on_step: OnStep | None) -> dict[str, float]:
        """Do the remaining steps and return the last validation."""
        config = self.config
        first = self.checkpoints.load(self._parts())
        self.record.metrics.resume_at(first)
        if 0 < first < config.steps:
            _logger.info("going on after step %d of %d", first, config.steps)
        validation: dict[str, float] = {}
        with delayed_interrupt() as is_interrupted:
            for step in range(first + 1, config.steps + 1):
                report = self._step(step)
                if on_step is not None:
                    on_step(report)
                is_last = step == config.steps
                val_loss: float | None = None
                if validate is not None and (is_last or _is_due(step, config.validate_every)):
                    validation = self._validate(validate)
                    self.record.metrics.write(step=step, **validation)
                    val_loss = self._validation_loss(validation)
                is_best = val_loss is not None and self.checkpoints.would_be_best(val_loss)
                is_due = is_last or is_best or _is_due(step, config.checkpoint_every)
                # Asked once: it may change at any moment.
                is_stopping = is_interrupted()
                if is_due or is_stopping:
                    self.record.metrics.sync()
                    self.checkpoints.save(
                        step, self._parts(), val_loss=val_loss, is_extra=not is_due
                    )
                if is_stopping and not is_last:
                    raise KeyboardInterrupt(
                        f"step {step} of {config.steps} is kept: the same command goes on from it"
                    )
            self.is_interrupted_at_end = is_interrupted()
        # A finished run that is opened again has its last line already.
        if first == config.steps and validate is not None:
            validation = self._validate(validate)
        return validation

    def _step(self, step: int) -> StepReport:
        """Do the step of that number, counted from 1."""
        began_at = time.perf_counter()
        batch = self.loader.batch(step - 1)
        loss = self.strategy.forward_backward(
            batch.token_ids, batch.targets, batch.documents
        ).item()
        self.strategy.reduce_gradients()
        grad_norm = self.strategy.clip(self.config.max_grad_norm).item()
        lr_scale = self.config.schedule.scale(step - 1, self.config.steps)
        skipped = self._update(step, loss, grad_norm, lr_scale)
        tokens = step * self.step_tokens
        self.record.metrics.write(
            step=step, loss=loss, grad_norm=grad_norm, lr_scale=lr_scale, tokens=tokens, **skipped
        )
        return StepReport(
            step=step,
            steps=self.config.steps,
            loss=loss,
            grad_norm=grad_norm,
            lr_scale=lr_scale,
            tokens=tokens,
            elapsed_s=self.record.metrics.elapsed_s,
            tokens_per_s=self.rate.add(time.perf_counter() - began_at),
        )

    def _update(self, step: int, loss: float, grad_norm: float, lr_scale: float) -> dict[str, str]:
        """Update the weights, or skip that and return why, for the record."""
        # No divergence: a smaller scale of the loss brings the next gradients back into range.
        if math.isfinite(loss) and self.strategy.has_overflowed():
            reason = "float16 overflow"
        else:
            reason = self.guard.judge(step, loss, grad_norm)
        if reason is not None:
            self.strategy.skip()
            return {"skipped": reason}
        self.strategy.step(lr_scale)
        if self.ema is not None:
            self.ema.update()
        return {}

    def _validate(self, validate: Validation) -> dict[str, float]:
        with nullcontext() if self.ema is None else self.ema.applied():
            return validate(self.model)

    def _validation_loss(self, validation: dict[str, float]) -> float | None:
        if self.config.keep_best and VALIDATION_LOSS not in validation:
            raise ValueError(
                f"keep_best needs a validation that returns {VALIDATION_LOSS!r}, got "
                f"{sorted(validation)}"
            )
        loss = validation.get(VALIDATION_LOSS)
        return None if loss is None else float(loss)

    def _parts(self) -> dict[str, Stateful]:
        """Return all that a resumed run needs to go on with the same bits."""
        parts = self.strategy.parts() | {
            "guard": self.guard,
            "random": RandomState(self.loader.device),
        }
        return parts if self.ema is None else parts | {EMA_PART: self.ema}


def _make_loader(
    model: TransformerLM,
    tokens: NDArray[np.integer],
    config: TrainingConfig,
    document_starts: Int64[np.ndarray, " documents"] | None,
) -> Loader:
    """Return the loader, after a check of everything that it will read."""
    check_tokens(tokens, model.config.vocab_size)
    if config.mask_documents:
        if document_starts is None:
            raise ValueError("mask_documents needs document_starts, got None")
        check_document_starts(document_starts, len(tokens))
    sampler = window_sampler(
        config.data_order,
        num_tokens=len(tokens),
        length=model.config.context_length,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    return Loader(
        tokens=tokens,
        vocab_size=model.config.vocab_size,
        sampler=sampler,
        length=model.config.context_length,
        device=model.output_weight.device,
        document_starts=document_starts if config.mask_documents else None,
    )


def _final_loss(folder: Path, steps: int) -> float:
    lines = [line for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]
    last = lines[-max(1, steps // 10) :]
    losses = [line["loss"] for line in last if "skipped" not in line]
    return float(np.mean(losses)) if losses else math.nan


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
