"""``alignment evaluate``: the mean reward of a model on held-out questions."""

from pathlib import Path
from typing import Annotated

from lm_alignment.commands.problems import TaskName, load_problems
from lm_alignment.config import EvaluationConfig
from lm_alignment.recipes import EVALUATION_RECIPES
from lm_shared.command_options import Least, with_recipes


def evaluate(
    config: EvaluationConfig,
    *,
    model: Path,
    task: TaskName = "sort",
    show: Annotated[int, Least(0)] = 5,
) -> None:
    """Answer held-out questions and print the mean reward with its 95% interval.

    Args:
        config: How many questions, and how answers are drawn.
        model: Folder with the model and its tokenizer.
        task: Where the questions come from.
        show: Answers to print.
    """
    from lm_alignment.evaluation import evaluate_reward
    from lm_alignment.verifiers.exact import ExactAnswer
    from lm_basics.export import load_text_model
    from lm_systems.inference.engine import Engine
    from lm_systems.kernels.ops import get_ops

    loaded = load_text_model(model, ops=get_ops("fused"))
    policy, tokenizer = loaded.model, loaded.tokenizer
    engine = Engine(policy, tokenizer, max_batch_size=256)
    result = evaluate_reward(
        engine, tokenizer, load_problems(task).validation, ExactAnswer(), config
    )
    print(
        f"reward {result.reward:.3f} [{result.low:.3f}, {result.high:.3f}], format "
        f"{result.format:.3f}, {len(result.rollouts)} answers"
    )
    for rollout in result.rollouts[:show]:
        verdict = rollout.reward.reason
        print(f"  {rollout.example.question!r} -> {rollout.text!r}: {verdict}")


evaluate_by_recipe = with_recipes(evaluate, EVALUATION_RECIPES)
"""``alignment evaluate``: a recipe by its name, and the options of ``evaluate``."""
