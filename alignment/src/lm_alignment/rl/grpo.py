"""Group-relative policy optimization: answer, compare the answers to one question, reinforce.

Each step draws ``group_size`` answers to each of a few questions from the present policy, turns
rewards into advantages within each group, and takes one or more optimizer steps on them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_alignment.config import GRPOConfig
from lm_alignment.examples import Example, draw_examples, keep_those_that_fit
from lm_alignment.rl.grpo_step import learn_from_rollouts
from lm_alignment.rl.rollouts import Rollout, collect_rollouts
from lm_alignment.starting_point import StartingPoint
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers import RewardFunction, describe_verifier
from lm_basics.accounting import forward_flops_per_token, training_flops_per_token
from lm_basics.model_config import TransformerConfig
from lm_basics.optim.build import build_optimizer
from lm_basics.tokenizer import Tokenizer
from lm_basics.training.run_loop import AfterStep, RunPlan, open_run
from lm_basics.training.strategy import SerialStrategy
from lm_basics.training.updates import GradientSteps
from lm_basics.transformer import TransformerLM
from lm_systems.inference.protocol import Generator

Validation = Callable[[TransformerLM], Mapping[str, float]]
"""Called on the model; returns named numbers for the record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPORunConfig:
    """What the run folder's ``config.json`` holds."""

    start: StartingPoint
    """Model, questions and prompt format."""
    verifier: str
    """Identity of what judges the answers, see ``describe_verifier``."""
    grpo: GRPOConfig
    """The run's settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPOResult:
    """What came out of a run."""

    steps: int
    """Rollout batches, earlier processes included."""
    rewards: tuple[float, ...]
    """Mean reward of each rollout batch, on training questions."""
    elapsed_s: float
    """Seconds, earlier processes included."""
    num_too_long: int
    """Questions left out because they are longer than the context."""


def train_grpo(
    model: TransformerLM,
    tokenizer: Tokenizer,
    generator: Generator,
    examples: Sequence[Example],
    reward_function: RewardFunction,
    config: GRPOConfig,
    *,
    folder: Path | str,
    template: ChatTemplate | None = None,
    validate: Validation | None = None,
    on_step: AfterStep | None = None,
    on_ready: Callable[[], None] | None = None,
) -> GRPOResult:
    """Train ``model`` in place; config, metrics, checkpoints and receipt go to ``folder``.

    A folder with an interrupted run of the same configuration is continued: call again with the
    model that the run started from. On a CPU the result has the same bits; with several
    threads that needs ``lm_shared.tensors.require_determinism``.

    Args:
        model: The policy, on its device.
        tokenizer: Has the template's special tokens.
        generator: Draws the rollouts; must see every change of ``model``'s weights.
        examples: Training questions with references; too long ones are left out, with a warning.
        reward_function: Judges the answers.
        config: The run's settings.
        folder: The run folder.
        template: The chat template; None means the default one.
        validate: Measures the model from time to time; its numbers become ``validation_…``.
        on_step: Called after each step.
        on_ready: Called when all is checked, before anything in the folder is touched.

    Raises:
        ValueError: no examples that fit, a tokenizer without the template's tokens, or another
            run's folder.
        FloatingPointError: log-probabilities, the loss or its gradient are not finite.
        KeyboardInterrupt: Ctrl-C, after the step that was under way and its checkpoint.
    """
    steps = _Steps(model, tokenizer, generator, examples, reward_function, config, template)
    plan = RunPlan.from_config(config)
    device = model.output_weight.device
    if on_ready is not None:
        on_ready()
    with open_run(folder, steps.run_config, plan, steps.updates.parts(), device=device) as loop:
        loop.run(
            steps.do_step,
            on_step=on_step,
            validate=None if validate is None else lambda: _prefixed(validate(model)),
        )
        # From the file, which also knows the steps of earlier processes.
        lines = [line for line in loop.lines() if "reward" in line]
        tokens, flops = _count_work(lines, model.config)
        loop.record.add(tokens=tokens, flops=flops)
    return GRPOResult(
        steps=config.steps,
        rewards=tuple(line["reward"] for line in lines),
        elapsed_s=loop.record.wall_s,
        num_too_long=steps.run_config.start.num_too_long,
    )


class _Steps:
    """What one step does: draw answers, learn from them."""

    def __init__(
        self,
        model: TransformerLM,
        tokenizer: Tokenizer,
        generator: Generator,
        examples: Sequence[Example],
        reward_function: RewardFunction,
        config: GRPOConfig,
        template: ChatTemplate | None,
    ) -> None:
        self.model, self.tokenizer, self.generator = model, tokenizer, generator
        self.reward_function, self.config = reward_function, config
        self.template = template or ChatTemplate()
        self.end_token_id = self.template.end_token_id(tokenizer)
        # A prompt that fills the context still gets one token.
        self.examples = keep_those_that_fit(
            examples,
            lambda example: len(self.template.encode_prompt(tokenizer, example.question)),
            context_length=model.config.context_length,
        )
        num_too_long = len(examples) - len(self.examples)
        self.run_config = GRPORunConfig(
            start=StartingPoint.from_parts(
                model, self.template, examples, num_too_long=num_too_long
            ),
            verifier=describe_verifier(reward_function),
            grpo=config,
        )
        self.updates = GradientSteps(
            SerialStrategy(model, build_optimizer(model, config.optimizer)),
            config.schedule,
            steps=config.steps,
            max_grad_norm=config.max_grad_norm,
        )

    def do_step(self, step: int) -> dict[str, Any]:
        """Do the step of that number, counted from 1."""
        try:
            rollouts = self._draw(step)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} at step {step}: lower the learning rate") from error
        return learn_from_rollouts(
            self.model,
            self.updates,
            rollouts,
            self.config,
            step=step,
            pad_token_id=self.end_token_id,
        )

    def _draw(self, step: int) -> list[Rollout]:
        config, index = self.config, step - 1
        count = config.prompts_per_step
        return collect_rollouts(
            self.generator,
            self.tokenizer,
            draw_examples(self.examples, count, seed=config.seed, step=index),
            self.reward_function,
            template=self.template,
            sampling=config.rollout_sampling(index, end_token_id=self.end_token_id),
            group_size=config.group_size,
        )


def _prefixed(values: Mapping[str, float]) -> dict[str, float]:
    return {f"validation_{name}": value for name, value in values.items()}


def _count_work(lines: Sequence[Mapping[str, Any]], config: TransformerConfig) -> tuple[int, float]:
    """Return the tokens and the floating-point operations of the steps."""
    tokens, trained, forward = (
        sum(line[name] for line in lines) for name in ("tokens", "trained_tokens", "forward_tokens")
    )
    # Rollouts without an advantage are drawn, but never trained on.
    flops = trained * training_flops_per_token(config, 1)
    return tokens, flops + forward * forward_flops_per_token(config, 1)
