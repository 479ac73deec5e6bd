"""Pretraining: what a step does with a batch of tokens; ``run_loop`` does the steps."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from lm_basics.accounting import training_flops_per_token
from lm_basics.training.checkpoints import EMA_PART
from lm_basics.training.config import TrainingConfig, TrainingRunConfig, check_decay
from lm_basics.training.data import (
    Loader,
    check_document_starts,
    check_tokens,
    fingerprint,
    window_sampler,
)
from lm_basics.training.progress import StepReport, TokenRate
from lm_basics.training.run_loop import Metrics, RunPlan, open_run
from lm_basics.training.snapshot import Stateful
from lm_basics.training.strategy import SerialStrategy, Strategy, StrategyFactory
from lm_basics.training.team import ALONE, Team
from lm_basics.training.updates import GradientSteps
from lm_basics.transformer import TransformerLM
from lm_shared.metrics import MetricsSink
from lm_shared.runs import RunRecord


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
    ema: "WeightEMA | None"
    """The averaged weights, if any."""

    def validated_weights(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the weights that ``validation`` is of."""
        return nullcontext() if self.ema is None else self.ema.applied()


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
    strategy: StrategyFactory = SerialStrategy.from_config,
    validate: Validation | None = None,
    on_step: OnStep | None = None,
    sinks: Sequence[MetricsSink] = (),
    team: Team = ALONE,
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
        strategy: Makes of model and settings what computes a step: in one process, or in many.
        validate: Measures the model from time to time, with averaged weights if there are any. What
            it calls ``val_loss`` decides which checkpoint is the best.
        on_step: Called after each step, for displays; see ``run_loop.AfterStep``.
        sinks: Second places for the metrics.
        team: The processes of the run, each of which calls this; see ``run_loop.open_run``.

    Raises:
        TypeError: The tokens are no integers, or a part's state cannot be saved.
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
    steps = _Steps(model, loader, config, strategy(model, config))
    plan, parts = RunPlan.from_config(config), steps.parts()
    with open_run(
        folder, run_config, plan, parts, device=loader.device, sinks=sinks, team=team
    ) as loop:
        validation = loop.run(
            steps.do_step,
            on_step=None
            if on_step is None
            else lambda step, values: steps.report(step, values, loop.record, on_step),
            validate=None if validate is None else lambda: steps.validate(validate),
        )
        flops, num_tokens = steps.flops_per_step * config.steps, steps.tokens * config.steps
        loop.record.add(flops=flops, tokens=num_tokens)
        lines = loop.lines()
    steps.strategy.finish()
    return TrainingResult(
        steps=config.steps,
        tokens=num_tokens,
        flops=flops,
        elapsed_s=loop.record.wall_s,
        final_loss=_final_loss(lines, config.steps),
        validation=validation,
        ema=steps.ema,
    )


class _Steps:
    """What one step of pretraining does."""

    def __init__(
        self, model: TransformerLM, loader: Loader, config: TrainingConfig, strategy: Strategy
    ) -> None:
        self.model, self.loader, self.config, self.strategy = model, loader, config, strategy
        self.tokens = config.batch_size * loader.length
        self.flops_per_step = self.tokens * training_flops_per_token(model.config, loader.length)
        self.updates = GradientSteps(
            strategy,
            config.schedule,
            steps=config.steps,
            max_grad_norm=config.max_grad_norm,
            on_divergence=config.on_divergence,
        )
        self.ema = None if config.ema_decay is None else WeightEMA(model, config.ema_decay)
        self.rate = TokenRate(self.tokens)
        self.tokens_per_s = 0.0
        self.is_begun = False
        """Whether this process has done a step."""

    def parts(self) -> dict[str, Stateful]:
        """Return all that a resumed run needs to go on with the same bits."""
        parts = self.updates.parts()
        return parts if self.ema is None else parts | {EMA_PART: self.ema}

    def do_step(self, step: int) -> dict[str, Any]:
        """Do the step of that number, counted from 1."""
        began_at = time.perf_counter()
        batch = self.loader.batch(step - 1)
        loss = self.strategy.forward_backward(
            batch.token_ids, batch.targets, batch.documents
        ).item()
        numbers = self.updates.take(step, loss)
        if self.ema is not None and "skipped" not in numbers:
            self.ema.update()
        self.tokens_per_s = self.rate.add(time.perf_counter() - began_at)
        self.is_begun = True
        return {"loss": loss, **numbers, "tokens": step * self.tokens}

    def report(self, step: int, values: Metrics, record: RunRecord, on_step: OnStep) -> None:
        """Tell a display about a step that was done."""
        told = {name: values[name] for name in ("loss", "grad_norm", "lr_scale", "tokens")}
        on_step(
            StepReport(
                step=step,
                steps=self.config.steps,
                elapsed_s=record.metrics.elapsed_s,
                tokens_per_s=self.tokens_per_s,
                validated_weights=self.validated_weights,
                is_told_again=not self.is_begun,
                **told,
            )
        )

    def validate(self, validate: Validation) -> dict[str, float]:
        """Measure the model, with its averaged weights if there are any."""
        with self.validated_weights():
            return validate(self.model)

    def validated_weights(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the weights that validations are of."""
        return self.strategy.evaluating() if self.ema is None else self.ema.applied()


class WeightEMA:
    """Averages the weights over the steps, with a decay that begins low.

    After step ``t``, counted from 1::

        d_t = min(decay, (1 + t) / (10 + t))
        average = d_t * average + (1 - d_t) * weights

    The smaller ``d_t`` of the first steps lets the average forget the random initial weights, as in
    TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``. Torch's ``AveragedModel`` copies
    the whole model, begins with the weights of the first step and lends its averages to no one.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the weights that ``model`` has.

        Raises:
            ValueError: ``decay`` is not in (0, 1).
        """
        check_decay(decay)
        self.decay = decay
        self.num_updates = 0
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages: dict[str, Tensor] = {
            name: weight.detach().clone() for name, weight in self._weights.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after one more step."""
        self.num_updates += 1
        t = self.num_updates
        decay = min(self.decay, (1 + t) / (10 + t))
        for name, weight in self._weights.items():
            self.averages[name].lerp_(weight, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averages as its weights while the block runs."""
        trained = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(trained)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and how many steps they took in."""
        return {"num_updates": self.num_updates, "averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned.

        Raises:
            ValueError: It is of a model with other parameters.
        """
        found = state_dict["averages"]
        if found.keys() != self.averages.keys():
            different = sorted(found.keys() ^ self.averages.keys())
            raise ValueError(f"the averages are of another model: {different} are not in both")
        self.num_updates = state_dict["num_updates"]
        for name, average in self.averages.items():
            average.copy_(found[name])

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])


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


def _final_loss(lines: Sequence[Metrics], steps: int) -> float:
    last = [line for line in lines if "loss" in line][-max(1, steps // 10) :]
    losses = [line["loss"] for line in last if "skipped" not in line]
    return float(np.mean(losses)) if losses else math.nan
