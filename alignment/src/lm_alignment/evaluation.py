"""The mean reward of a model's answers, with an interval that says how sure it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lm_alignment.examples import Example
from lm_alignment.rl.gauges import summarize_rollouts
from lm_alignment.rl.rollouts import Rollout, collect_rollouts
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers.reward import RewardFunction
from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer import Tokenizer
from lm_systems.inference.protocol import Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How answers are drawn."""

    num_examples: int = 256
    """Questions, the first ones of those given."""
    samples_per_example: int = 1
    """Answers to each."""
    temperature: float = 1.0
    """Of the sampling; 0 means the most likely token always."""
    max_new_tokens: int = 8
    """Longest answer."""
    seed: int = 0
    """Of the sampling."""

    def __post_init__(self) -> None:
        for name in ("num_examples", "samples_per_example", "max_new_tokens"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.temperature >= 0 or math.isinf(self.temperature):
            raise ValueError(f"temperature must not be negative but finite, got {self.temperature}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")


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
    low, high = wilson_interval(summary["reward"] * num_questions, num_questions)
    return Evaluation(
        reward=summary["reward"],
        low=low,
        high=high,
        format=summary["format"],
        response_length=summary["response_length"],
        rollouts=tuple(rollouts),
    )


def wilson_interval(
    num_successes: float, num_trials: int, *, z: float = 1.959964
) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson, 1927); the default is 95%.

    Unlike ``p +- z sqrt(p (1 - p) / n)`` it stays inside [0, 1] and has a width at 0 and 1.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if num_trials <= 0 or not 0 <= num_successes <= num_trials:
        raise ValueError(f"got {num_successes} successes in {num_trials} trials")
    p, n = num_successes / num_trials, num_trials
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # The bounds at 0 and 1 are exactly these; rounded, they could leave p outside.
    return max(0.0, min(p, center - margin)), min(1.0, max(p, center + margin))
