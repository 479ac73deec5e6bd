"""The mean reward of a model's answers, with an interval that says how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from lm_alignment.config import EvaluationConfig
from lm_alignment.examples import Example
from lm_alignment.rl.losses import summarize_rollouts
from lm_alignment.rl.rollouts import Rollout, collect_rollouts
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers import RewardFunction
from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer import Tokenizer
from lm_shared.intervals import wilson_interval
from lm_systems.inference.protocol import Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What an evaluation found."""

    reward: float
    """Mean reward."""
    low: float
    """Lower end of the 95% Wilson interval, which takes rewards as 0 or 1.

    Its trials are the questions, not the answers: answers to one question are alike, and counted
    one by one they would claim to be surer than they are. So further samples of the same questions
    move the mean, but never narrow the interval.
    """
    high: float
    """Upper end."""
    format: float
    """Share of answers that could be read."""
    response_length: float
    """Mean tokens per answer."""
    rollouts: tuple[Rollout, ...]
    """All answers with their verdicts."""


def evaluate_reward(
    generator: Generator,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    reward_function: RewardFunction,
    config: EvaluationConfig | None = None,
    *,
    template: ChatTemplate | None = None,
) -> Evaluation:
    """Answer questions and judge the answers.

    Args:
        generator: Draws the answers.
        tokenizer: The generator's.
        examples: Questions with references; the order decides which are asked.
        reward_function: The judge.
        config: How many and how drawn; None means the defaults.
        template: The chat template; None means the default one.

    Raises:
        ValueError: no examples, or a tokenizer without the template's tokens.
    """
    config = config or EvaluationConfig()
    template = template or ChatTemplate()
    if not examples:
        raise ValueError("expected at least one example to evaluate on, got none")
    rollouts = collect_rollouts(
        generator,
        tokenizer,
        examples[: config.num_examples],
        reward_function,
        template=template,
        sampling=SamplingConfig(
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            stop_token_ids=(template.end_token_id(tokenizer),),
            seed=config.seed,
        ),
        group_size=config.samples_per_example,
    )
    summary = summarize_rollouts(rollouts)
    # The mean over questions of each one's mean is the mean over answers: all have equally many.
    num_questions = len(rollouts) // config.samples_per_example
    interval = wilson_interval(summary["reward"] * num_questions, num_questions)
    return Evaluation(
        reward=summary["reward"],
        low=interval.low,
        high=interval.high,
        format=summary["format"],
        response_length=summary["response_length"],
        rollouts=tuple(rollouts),
    )
