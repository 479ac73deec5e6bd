"""``alignment evaluate``: the mean reward of a model on held-out questions."""

import logging
from typing import Annotated

import tyro

from lm_alignment.commands.policy_options import ModelOptions, QuestionOptions
from lm_alignment.config import EvaluationConfig
from lm_alignment.examples import keep_those_that_fit
from lm_alignment.recipes import EVALUATION_RECIPES
from lm_shared.command_options import Least, with_recipes
from lm_shared.wording import counted

logger = logging.getLogger(__name__)


def evaluate(
    config: EvaluationConfig,
    *,
    options: Annotated[ModelOptions, tyro.conf.arg(name="")],
    source: Annotated[QuestionOptions, tyro.conf.arg(name="")],
    show: Annotated[int, Least(0)] = 5,
) -> None:
    """Answer held-out questions and print the mean reward with its 95% interval.

    Args:
        config: How many questions, and how answers are drawn.
        options: Model.
        source: Task or file, and the judge.
        show: Answers to print.
    """
    questions = source.read_questions(for_training=False)
    loaded = options.load()
    from lm_alignment.evaluation import evaluate_reward
    from lm_alignment.templates import ChatTemplate
    from lm_systems.inference.engine import Engine

    engine = Engine(loaded.model, loaded.tokenizer, max_batch_size=256)
    questions = keep_those_that_fit(
        questions,
        lambda one: len(ChatTemplate().encode_prompt(loaded.tokenizer, one.question)),
        context_length=loaded.model.config.context_length,
    )
    num_answers = min(config.num_examples, len(questions)) * config.samples_per_example
    logger.info("drawing %d answers", num_answers)
    result = evaluate_reward(engine, loaded.tokenizer, questions, source.reward_function(), config)
    print(
        f"reward {result.reward:.3f} [{result.low:.3f}, {result.high:.3f}], format "
        f"{result.format:.3f}, {counted(len(result.rollouts), 'answer')}"
    )
    for rollout in result.rollouts[:show]:
        verdict = rollout.reward.reason
        print(f"  {rollout.example.question!r} -> {rollout.text!r}: {verdict}")


evaluate_by_recipe = with_recipes(evaluate, EVALUATION_RECIPES, default="sampled")
"""``alignment evaluate``: a recipe by its name, and the options of ``evaluate``."""
