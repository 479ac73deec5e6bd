"""Supervised fine-tuning: imitate reference answers, with the loss on the answers alone.

The loss of a batch is the mean of ``-log p`` over all response tokens in it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lm_alignment.examples import Example, draw_examples
from lm_alignment.log_probs import response_log_probs
from lm_alignment.masking import ResponseBatch, join_responses
from lm_alignment.optimizer_loop import OnStep, OptimizerLoop
from lm_alignment.optimizer_step import update_parameters
from lm_alignment.settings import check_settings
from lm_alignment.starting_point import StartingPoint
from lm_alignment.templates import ChatTemplate
from lm_basics.accounting import training_flops_per_token
from lm_basics.optim.build import build_optimizer
from lm_basics.optim.config import AdamWConfig, OptimizerConfig
from lm_basics.optim.schedules import ConstantSchedule, ScheduleConfig
from lm_basics.tokenizer import Tokenizer
from lm_basics.transformer import TransformerLM
from lm_shared.config import hash_config
from lm_shared.runs import read_metrics, record_run


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTConfig:
    """Everything but model and data that decides the result."""

    steps: int
    """Optimizer steps, at most."""
    batch_size: int = 32
    """Examples a step."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: AdamWConfig(lr=1e-3, weight_decay=0.0)
    )
    """The update rule."""
    schedule: ScheduleConfig = field(default_factory=lambda: ConstantSchedule(warmup_fraction=0.1))
    """Learning rate over time."""
    target_loss: float | None = None
    """Training ends early with the first step whose loss is at most this; None means never.

    How fast a model learns depends on its pretraining; its loss says better than a number of steps
    how much it has learned. An answer of ``n`` tokens is then right with about ``exp(-n loss)``.
    """
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    seed: int = 0
    """Decides the order of the examples."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("steps", "batch_size", "max_grad_norm"),
            positive_or_none=("checkpoint_every",),
        )
        if self.target_loss is not None and math.isnan(self.target_loss):
            raise ValueError("target_loss must be a number or None, got nan")

    def is_target_reached(self, metrics: Mapping[str, float]) -> bool:
        """Say whether the step with these metrics ends the training."""
        return self.target_loss is not None and metrics["loss"] <= self.target_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTRunConfig:
    """What the run folder's ``config.json`` holds."""

    start: StartingPoint
    """Model, examples and prompt format."""
    sft: SFTConfig
    """The run's settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTResult:
    """What came out of a run."""

    steps: int
    """Steps done, earlier processes included."""
    final_loss: float
    """Mean loss of the last tenth of the steps, in nats per response token."""
    elapsed_s: float
    """Seconds, earlier processes included."""


def train_sft(
    model: TransformerLM,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    config: SFTConfig,
    *,
    folder: Path | str,
    template: ChatTemplate | None = None,
    on_step: OnStep | None = None,
) -> SFTResult:
    """Fine-tune ``model`` in place; config, metrics, checkpoint and receipt go to ``folder``.

    A folder with an interrupted run of the same configuration is continued: call again with the
    model that the run started from.

    Args:
        model: On its device.
        tokenizer: Has the template's special tokens.
        examples: What to imitate.
        config: The run's settings.
        folder: The run folder.
        template: The chat template; None means the default one.
        on_step: Called after each step.

    Raises:
        ValueError: no examples, a tokenizer without the template's tokens, or another run's folder.
        FloatingPointError: the loss or its gradient is not finite.
    """
    template = template or ChatTemplate()
    # Before the folder is claimed: a run that cannot begin leaves no trace.
    template.end_token_id(tokenizer)
    start = StartingPoint.from_parts(model, template, examples)
    run_config = SFTRunConfig(start=start, sft=config)
    optimizer = build_optimizer(model, config.optimizer)

    def do_step(step: int) -> dict[str, float]:
        drawn = draw_examples(examples, config.batch_size, seed=config.seed, step=step)
        batch = encode_examples(tokenizer, drawn, template).to(model.output_weight.device)
        return _imitate(model, optimizer, batch, max_grad_norm=config.max_grad_norm)

    with record_run(Path(folder), run_config) as record:
        loop = OptimizerLoop(model, optimizer, record, config, identity=hash_config(run_config))
        loop.run(do_step, on_step, is_enough=config.is_target_reached)
        # From the file, which also knows the steps of earlier processes.
        lines = read_metrics(record.metrics.path)
        tokens = sum(line["tokens"] for line in lines)
        record.add(tokens=tokens, flops=tokens * training_flops_per_token(model.config, 1))
    last = lines[-max(1, len(lines) // 10) :]
    return SFTResult(
        steps=len(lines),
        final_loss=sum(line["loss"] for line in last) / len(last),
        elapsed_s=record.wall_s,
    )


def encode_examples(
    tokenizer: Tokenizer, examples: Sequence[Example], template: ChatTemplate
) -> ResponseBatch:
    """Return the examples as prompts and responses, padded with the end token."""
    return join_responses(
        [template.encode_prompt(tokenizer, example.question) for example in examples],
        [template.encode_answer(tokenizer, example.answer) for example in examples],
        pad_token_id=template.end_token_id(tokenizer),
    )


def _imitate(
    model: TransformerLM,
    optimizer: torch.optim.Optimizer,
    batch: ResponseBatch,
    *,
    max_grad_norm: float,
) -> dict[str, float]:
    """Take one optimizer step and return its metrics."""
    # Over all tokens of the batch: long answers weigh more than short ones, as in pretraining.
    loss = -response_log_probs(model, batch).log_probs.sum() / batch.response_mask.sum()
    loss.backward()
    mean_loss = loss.item()
    grad_norm = update_parameters(model, optimizer, loss=mean_loss, max_grad_norm=max_grad_norm)
    return {
        "loss": mean_loss,
        "grad_norm": grad_norm,
        "tokens": batch.response_mask.numel(),
    }
