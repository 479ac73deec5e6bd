"""Supervised fine-tuning: imitate reference answers, with the loss on the answers alone.

The loss of a batch is the mean of ``-log p`` over all response tokens in it. Of a conversation all
turns of the assistant are responses, each after all that was said before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from lm_alignment.config import SFTConfig
from lm_alignment.examples import Conversation, Example, draw_examples, keep_those_that_fit
from lm_alignment.masking import (
    ResponseBatch,
    masked_normalize,
    pad_rows,
    response_log_probs,
)
from lm_alignment.starting_point import StartingPoint
from lm_alignment.templates import ChatTemplate
from lm_basics.accounting import training_flops_per_token
from lm_basics.optim.build import build_optimizer
from lm_basics.tokenizer import Tokenizer
from lm_basics.training.run_loop import AfterStep, RunPlan, open_run
from lm_basics.training.strategy import SerialStrategy
from lm_basics.training.updates import GradientSteps
from lm_basics.transformer import TransformerLM


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
    num_too_long: int
    """Examples left out because they are longer than the context."""


def train_sft(
    model: TransformerLM,
    tokenizer: Tokenizer,
    examples: Sequence[Example | Conversation],
    config: SFTConfig,
    *,
    folder: Path | str,
    template: ChatTemplate | None = None,
    on_step: AfterStep | None = None,
    on_ready: Callable[[], None] | None = None,
) -> SFTResult:
    """Fine-tune ``model`` in place; config, metrics, checkpoints and receipt go to ``folder``.

    A folder with an interrupted run of the same configuration is continued: call again with the
    model that the run started from.

    Args:
        model: On its device.
        tokenizer: Has the template's special tokens.
        examples: What to imitate; those that are longer than the context are left out, with a
            warning.
        config: The run's settings.
        folder: The run folder.
        template: The chat template; None means the default one.
        on_step: Called after each step.
        on_ready: Called when all is checked, before anything in the folder is touched.

    Raises:
        ValueError: no examples that fit, a tokenizer without the template's tokens, or another
            run's folder.
        FloatingPointError: the loss or its gradient is not finite; names the step.
        KeyboardInterrupt: Ctrl-C, after the step that was under way and its checkpoint.
    """
    template = template or ChatTemplate()
    # Before the folder is claimed: a run that cannot begin leaves no trace.
    template.end_token_id(tokenizer)
    # The last token of an answer is a label only.
    fitting = keep_those_that_fit(
        examples,
        lambda example: len(template.encode_turns(tokenizer, example.messages)[0]) - 1,
        context_length=model.config.context_length,
    )
    num_too_long = len(examples) - len(fitting)
    start = StartingPoint.from_parts(model, template, examples, num_too_long=num_too_long)
    updates = GradientSteps(
        SerialStrategy(model, build_optimizer(model, config.optimizer)),
        config.schedule,
        steps=config.steps,
        max_grad_norm=config.max_grad_norm,
    )
    device = model.output_weight.device

    def do_step(step: int) -> dict[str, Any]:
        drawn = draw_examples(fitting, config.batch_size, seed=config.seed, step=step - 1)
        batch = encode_examples(tokenizer, drawn, template).to(device)
        return _imitate(model, updates, batch, step)

    run_config, plan = SFTRunConfig(start=start, sft=config), RunPlan.from_config(config)
    if on_ready is not None:
        on_ready()
    with open_run(folder, run_config, plan, updates.parts(), device=device) as loop:
        loop.run(do_step, on_step=on_step, is_enough=config.is_target_reached)
        # From the file, which also knows the steps of earlier processes.
        lines = loop.lines()
        tokens = sum(line["tokens"] for line in lines)
        loop.record.add(tokens=tokens, flops=tokens * training_flops_per_token(model.config, 1))
    return SFTResult(
        steps=len(lines),
        final_loss=mean_of_last_tenth(lines, "loss"),
        elapsed_s=loop.record.wall_s,
        num_too_long=num_too_long,
    )


def encode_examples(
    tokenizer: Tokenizer, examples: Sequence[Example | Conversation], template: ChatTemplate
) -> ResponseBatch:
    """Return the examples as rows, padded with the end token; the assistant's turns are masked."""
    return pad_rows(
        [template.encode_turns(tokenizer, example.messages) for example in examples],
        pad_token_id=template.end_token_id(tokenizer),
    )


def mean_of_last_tenth(lines: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the mean of a metric over the last tenth of the steps, the last one at least."""
    last = lines[-max(1, len(lines) // 10) :]
    return sum(line[name] for line in last) / len(last)


def sft_microbatch_step(
    log_probs: Float[Tensor, "batch seq"],
    response_mask: Shaped[Tensor, "batch seq"],
    *,
    constant: float | Int[Tensor, ""],
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Float[Tensor, ""]:
    """Go back through ``-sum log p / constant`` over the responses and return it, detached.

    With the number of their tokens for a constant this is their mean loss. Micro-batches of one
    update divide by what all of them have together: their losses add up.
    """
    loss = -masked_normalize(log_probs, response_mask, constant=constant)
    backward(loss)
    return loss.detach()


def _imitate(
    model: TransformerLM, updates: GradientSteps, batch: ResponseBatch, step: int
) -> dict[str, Any]:
    """Take one optimizer step and return its metrics."""
    mean_loss = sft_microbatch_step(
        response_log_probs(model, batch).log_probs,
        batch.response_mask,
        # All tokens of the batch: long answers weigh more than short ones, as in pretraining.
        constant=batch.response_mask.sum(),
        backward=updates.strategy.backward,
    ).item()
    return {
        "loss": mean_loss,
        **updates.take(step, mean_loss),
        "tokens": batch.response_mask.numel(),
    }
