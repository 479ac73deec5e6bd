"""Direct preference optimization (Rafailov et al., 2023): of two answers, prefer the better one.

With the margin ``m = log p(chosen) - log p(rejected)`` of a model, the loss of a pair is
``-log sigmoid(beta (m - m_ref))``. The reference is the model as training begins; it is asked once,
before the first step, and then no longer needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from lm_alignment.config import DPOConfig
from lm_alignment.examples import (
    Conversation,
    PreferencePair,
    draw_examples,
    keep_those_that_fit,
)
from lm_alignment.masking import label_log_probs, response_log_probs
from lm_alignment.packing import encode_document
from lm_alignment.sft import encode_examples, mean_of_last_tenth
from lm_alignment.starting_point import StartingPoint
from lm_alignment.templates import ChatTemplate, Message, alpaca_prompt
from lm_basics.accounting import forward_flops_per_token, training_flops_per_token
from lm_basics.optim.build import build_optimizer
from lm_basics.tokenizer import Tokenizer
from lm_basics.training.run_loop import AfterStep, RunPlan, open_run
from lm_basics.training.strategy import SerialStrategy
from lm_basics.training.updates import GradientSteps
from lm_basics.transformer import TransformerLM
from lm_systems.inference.protocol import TextCodec


@dataclass(frozen=True, kw_only=True, slots=True)
class DPORunConfig:
    """What the run folder's ``config.json`` holds."""

    start: StartingPoint
    """Model, pairs and prompt format; each pair is two examples, the chosen one first."""
    dpo: DPOConfig
    """The run's settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DPOResult:
    """What came out of a run; means are those of the last tenth of the steps."""

    steps: int
    """Steps done, earlier processes included."""
    final_loss: float
    """Mean loss of a pair."""
    accuracy: float
    """Share of pairs whose chosen answer has gained on the rejected one."""
    margin: float
    """Mean of ``beta (m - m_ref)``, in nats."""
    elapsed_s: float
    """Seconds, earlier processes included."""
    num_too_long: int
    """Pairs left out because an answer is longer than the context."""


def dpo_losses(
    margins: Float[Tensor, "*pairs"], reference_margins: Float[Tensor, "*pairs"], *, beta: float
) -> Float[Tensor, "*pairs"]:
    """Return the loss of each pair (Eq. 7 of Rafailov et al., 2023)."""
    return -logsigmoid(beta * (margins - reference_margins))


def per_instance_dpo_loss(
    policy: nn.Module,
    reference: nn.Module,
    tokenizer: TextCodec,
    prompt: str,
    chosen: str,
    rejected: str,
    *,
    beta: float,
    end_token_id: int,
) -> Float[Tensor, ""]:
    """Return the loss of one pair in Alpaca's format, on the policy's device.

    Whole documents are scored: what the prompt adds to both answers is the same.
    """
    documents = [
        torch.tensor([encode_document(tokenizer, text, end_token_id=end_token_id)])
        for text in (alpaca_prompt(prompt) + chosen, alpaca_prompt(prompt) + rejected)
    ]

    def margin(model: nn.Module) -> Float[Tensor, ""]:
        device = next(model.parameters()).device
        scores = [
            label_log_probs(model, ids[:, :-1], ids[:, 1:]).log_probs.sum()
            for ids in (document.to(device) for document in documents)
        ]
        return scores[0] - scores[1]

    with torch.no_grad():
        reference_margin = margin(reference)
    policy_margin = margin(policy)
    return dpo_losses(policy_margin, reference_margin.to(policy_margin.device), beta=beta)


def train_dpo(
    policy: TransformerLM,
    tokenizer: Tokenizer,
    pairs: Sequence[PreferencePair],
    config: DPOConfig,
    *,
    folder: Path | str,
    template: ChatTemplate | None = None,
    on_step: AfterStep | None = None,
    on_ready: Callable[[], None] | None = None,
) -> DPOResult:
    """Train ``policy`` in place; config, metrics, checkpoints and receipt go to ``folder``.

    A folder with an interrupted run of the same configuration is continued: call again with the
    model that the run started from, which is the reference.

    Args:
        policy: On its device.
        tokenizer: Has the template's special tokens.
        pairs: Those with an answer longer than the context are left out, with a warning.
        config: The run's settings.
        folder: The run folder.
        template: The chat template; None means the default one.
        on_step: Called after each step.
        on_ready: Called when all is checked, before the reference is asked and anything in the
            folder is touched.

    Raises:
        ValueError: no pairs that fit, a tokenizer without the template's tokens, or another run's
            folder.
        FloatingPointError: the loss or its gradient is not finite; names the step.
        KeyboardInterrupt: Ctrl-C, after the step that was under way and its checkpoint.
    """
    steps = _Steps(policy, tokenizer, pairs, config, template or ChatTemplate())
    plan = RunPlan.from_config(config)
    device = policy.output_weight.device
    if on_ready is not None:
        on_ready()
    # Before a checkpoint is loaded: the reference is the policy as it comes.
    num_asked = steps.ask_reference()
    with open_run(folder, steps.run_config, plan, steps.updates.parts(), device=device) as loop:
        loop.run(steps.do_step, on_step=on_step)
        # From the file, which also knows the steps of earlier processes.
        lines = loop.lines()
        tokens = sum(line["tokens"] for line in lines)
        flops = tokens * training_flops_per_token(policy.config, 1)
        flops += num_asked * forward_flops_per_token(policy.config, 1)
        loop.record.add(tokens=tokens, flops=flops)
    return DPOResult(
        steps=len(lines),
        final_loss=mean_of_last_tenth(lines, "loss"),
        accuracy=mean_of_last_tenth(lines, "accuracy"),
        margin=mean_of_last_tenth(lines, "margin"),
        elapsed_s=loop.record.wall_s,
        num_too_long=steps.run_config.start.num_too_long,
    )


class _Steps:
    """What one step does: compare the margins of some pairs with the reference's."""

    def __init__(
        self,
        policy: TransformerLM,
        tokenizer: Tokenizer,
        pairs: Sequence[PreferencePair],
        config: DPOConfig,
        template: ChatTemplate,
    ) -> None:
        self.policy, self.tokenizer, self.config = policy, tokenizer, config
        self.template = template
        # Before the folder is claimed: a run that cannot begin leaves no trace.
        template.end_token_id(tokenizer)
        self.pairs = keep_those_that_fit(
            pairs, self._count_tokens, context_length=policy.config.context_length
        )
        start = StartingPoint.from_parts(
            policy,
            template,
            [answered for pair in pairs for answered in _answered(pair)],
            num_too_long=len(pairs) - len(self.pairs),
        )
        self.run_config = DPORunConfig(start=start, dpo=config)
        self.updates = GradientSteps(
            SerialStrategy(policy, build_optimizer(policy, config.optimizer)),
            config.schedule,
            steps=config.steps,
            max_grad_norm=config.max_grad_norm,
        )
        self.reference_margins: dict[PreferencePair, float] = {}

    def ask_reference(self) -> int:
        """Keep the margins of all pairs under the policy as it is; return the tokens it took."""
        num_asked, size = 0, self.config.batch_size
        for start in range(0, len(self.pairs), size):
            part = self.pairs[start : start + size]
            with torch.no_grad():
                margins, num_tokens = self._margins(part)
            self.reference_margins |= zip(part, margins.tolist(), strict=True)
            num_asked += num_tokens
        return num_asked

    def do_step(self, step: int) -> dict[str, Any]:
        """Do the step of that number, counted from 1."""
        config = self.config
        drawn = draw_examples(self.pairs, config.batch_size, seed=config.seed, step=step - 1)
        margins, num_tokens = self._margins(drawn)
        reference = margins.new_tensor([self.reference_margins[pair] for pair in drawn])
        loss = dpo_losses(margins, reference, beta=config.beta).mean()
        self.updates.strategy.backward(loss)
        gains = config.beta * (margins.detach() - reference)
        return {
            "loss": loss.item(),
            "accuracy": (gains > 0).float().mean().item(),
            "margin": gains.mean().item(),
            **self.updates.take(step, loss.item()),
            "tokens": num_tokens,
        }

    def _margins(self, pairs: Sequence[PreferencePair]) -> tuple[Float[Tensor, " pairs"], int]:
        """Return ``log p(chosen) - log p(rejected)`` of each pair, and the tokens that it took."""
        chosen, rejected = zip(*map(_answered, pairs), strict=True)
        batch = encode_examples(self.tokenizer, [*chosen, *rejected], self.template)
        batch = batch.to(self.policy.output_weight.device)
        # Earlier turns of the assistant, if any, count in both and so in neither.
        better, worse = response_log_probs(self.policy, batch).log_probs.sum(-1).chunk(2)
        return better - worse, batch.response_mask.numel()

    def _count_tokens(self, pair: PreferencePair) -> int:
        rows = [
            self.template.encode_turns(self.tokenizer, answered.messages)[0]
            for answered in _answered(pair)
        ]
        # The last token of an answer is a label only.
        return max(map(len, rows)) - 1


def _answered(pair: PreferencePair) -> tuple[Conversation, Conversation]:
    """Return the pair as two conversations, the chosen one first."""
    turns = pair.prompt
    if isinstance(turns, str):
        turns = (Message(role="user", content=turns),)
    chosen, rejected = (
        Conversation(messages=(*turns, Message(role="assistant", content=answer)))
        for answer in (pair.chosen, pair.rejected)
    )
    return chosen, rejected
