"""Group-relative policy optimization: answer, compare the answers to one question, reinforce.

Each step draws ``group_size`` answers to each of a few questions from the present policy, turns
rewards into advantages within each group, and takes one or more optimizer steps on them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_alignment.examples import Example, draw_examples
from lm_alignment.optimizer_loop import OnStep, OptimizerLoop
from lm_alignment.rl.grpo_config import GRPOConfig
from lm_alignment.rl.grpo_step import learn_from_rollouts
from lm_alignment.rl.rollouts import collect_rollouts
from lm_alignment.starting_point import StartingPoint
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers.reward import RewardFunction, describe_verifier
from lm_basics.accounting import forward_flops_per_token, training_flops_per_token
from lm_basics.optim.build import build_optimizer
from lm_basics.tokenizer import Tokenizer
from lm_basics.transformer import TransformerLM
from lm_shared.config import hash_config
from lm_shared.runs import read_metrics, record_run
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
    on_step: OnStep | None = None,
) -> GRPOResult:
    """Train ``model`` in place; config, metrics, checkpoint and receipt go to ``folder``.

    A folder with an interrupted run of the same configuration is continued: call again with the
    model that the run started from. On a CPU the result has the same bits; with several
    threads that needs ``lm_shared.tensors.require_determinism``.

    Args:
        model: The policy, on its device.
        tokenizer: Has the template's special tokens.
        generator: Draws the rollouts; must see every change of ``model``'s weights.
        examples: Training questions with the references that the verifier compares with.
        reward_function: Judges the answers.
        config: The run's settings.
        folder: The run folder.
        template: The chat template; None means the default one.
        validate: Measures the model every ``config.validate_every`` steps.
        on_step: Called after each step.

    Raises:
        ValueError: no examples, a tokenizer without the template's tokens, or another run's folder.
        FloatingPointError: log-probabilities, the loss or its gradient are not finite.
    """
    template = template or ChatTemplate()
    start = StartingPoint.from_parts(model, template, examples)
    run_config = GRPORunConfig(
        start=start, verifier=describe_verifier(reward_function), grpo=config
    )
    optimizer = build_optimizer(model, config.optimizer)
    end_token_id = template.end_token_id(tokenizer)

    def do_step(step: int) -> dict[str, float]:
        rollouts = collect_rollouts(
            generator,
            tokenizer,
            draw_examples(examples, config.prompts_per_step, seed=config.seed, step=step),
            reward_function,
            template=template,
            sampling=config.rollout_sampling(step, end_token_id=end_token_id),
            group_size=config.group_size,
        )
        values = learn_from_rollouts(model, optimizer, rollouts, config, pad_token_id=end_token_id)
        if validate is not None and config.is_validation_due(step + 1):
            values |= {f"validation_{name}": value for name, value in validate(model).items()}
        return values

    with record_run(Path(folder), run_config) as record:
        loop = OptimizerLoop(model, optimizer, record, config, identity=hash_config(run_config))
        loop.run(do_step, on_step)
        # From the file, which also knows the steps of earlier processes.
        lines = read_metrics(record.metrics.path)
        tokens, trained, forward = (
            sum(line[name] for line in lines)
            for name in ("tokens", "trained_tokens", "forward_tokens")
        )
        # Rollouts without an advantage are drawn, but never trained on.
        flops = trained * training_flops_per_token(model.config, 1)
        record.add(tokens=tokens, flops=flops + forward * forward_flops_per_token(model.config, 1))
    rewards = tuple(line["reward"] for line in lines)
    return GRPOResult(steps=config.steps, rewards=rewards, elapsed_s=record.wall_s)
