"""Rollouts: sampled answers with their rewards."""

from collections.abc import Sequence
from dataclasses import dataclass

from lm_alignment.examples import Example
from lm_alignment.templates import ChatTemplate
from lm_alignment.verifiers import Reward, RewardFunction
from lm_basics.sampling_config import SamplingConfig
from lm_basics.tokenizer import Tokenizer
from lm_systems.inference.protocol import Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One sampled answer."""

    example: Example
    """The question and the reference."""
    prompt_ids: list[int]
    """The question in its template."""
    token_ids: list[int]
    """What the model said, the end token included if it got that far."""
    log_probs: list[float]
    """Log-probability of each token, in nats, as the generator saw it."""
    text: str
    """The answer as text, without the end token."""
    is_truncated: bool
    """Whether the answer ran into the limit of new tokens."""
    reward: Reward
    """The verdict."""


def collect_rollouts(
    generator: Generator,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    reward_function: RewardFunction,
    *,
    template: ChatTemplate,
    sampling: SamplingConfig,
    group_size: int = 1,
) -> list[Rollout]:
    """Answer each question ``group_size`` times; answers to one question stand together.

    Args:
        generator: Draws the answers.
        tokenizer: The generator's.
        examples: The questions.
        reward_function: Judges text: the question, the answer and the reference.
        template: Puts the question into a prompt.
        sampling: How to draw; must stop at the template's end token.
        group_size: Answers per question.

    Raises:
        ValueError: the sampling does not stop at the template's end token.
    """
    end_token_id = template.end_token_id(tokenizer)
    if end_token_id not in sampling.stop_token_ids:
        raise ValueError(
            f"sampling must stop at the template's end token {end_token_id}, but stops at "
            f"{sampling.stop_token_ids}"
        )
    # Equal prompts meet in one prefill of the engine, which draws each of them anew.
    prompts = {example: template.encode_prompt(tokenizer, example.question) for example in examples}
    repeated = [example for example in examples for _ in range(group_size)]
    completions = generator.generate([prompts[example] for example in repeated], sampling)
    return [
        Rollout(
            example=example,
            prompt_ids=completion.prompt_ids,
            token_ids=completion.token_ids,
            log_probs=completion.log_probs,
            text=completion.text,
            is_truncated=completion.finish_reason == "length",
            reward=reward_function(example.question, completion.text, example.answer),
        )
        for example, completion in zip(repeated, completions, strict=True)
    ]
