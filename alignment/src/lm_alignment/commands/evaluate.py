"""``alignment evaluate``: the mean reward of a model on held-out questions."""

from pathlib import Path
from typing import Annotated

from lm_alignment.commands.problems import TaskName, load_policy, load_problems
from lm_alignment.config import EvaluationConfig
from lm_alignment.recipes import EVALUATION_RECIPES
from lm_shared.command_options import PATH, Least, with_recipes
from lm_shared.config import DeviceName


def evaluate(
    config: EvaluationConfig,
    *,
    model: Path,
    tokenizer: Annotated[Path | None, PATH] = None,
    device: DeviceName = "cpu",
    task: TaskName = "sort",
    show: Annotated[int, Least(0)] = 5,
) -> None:
    """Answer held-out questions and print the mean reward with its 95% interval.

    Args:
        config: How many questions, and how answers are drawn.
        model: A training run, a model folder or a Hugging Face folder.
        tokenizer: Folder with a tokenizer.json, for a model that was saved without.
        device: Where to compute; models this small are fastest on a CPU.
        task: Where the questions come from.
        show: Answers to print.
    """
    from lm_alignment.evaluation import evaluate_reward
    from lm_alignment.verifiers import ExactAnswer
    from lm_systems.inference.engine import Engine

    loaded = load_policy(model, tokenizer, device)
    engine = Engine(loaded.model, loaded.tokenizer, max_batch_size=256)
    result = evaluate_reward(
        engine, loaded.tokenizer, load_problems(task).validation, ExactAnswer(), config
    )
    print(
        f"reward {result.reward:.3f} [{result.low:.3f}, {result.high:.3f}], format "
        f"{result.format:.3f}, {len(result.rollouts)} answers"
    )
    for rollout in result.rollouts[:show]:
        verdict = rollout.reward.reason
        print(f"  {rollout.example.question!r} -> {rollout.text!r}: {verdict}")


evaluate_by_recipe = with_recipes(evaluate, EVALUATION_RECIPES, default="sampled")
"""``alignment evaluate``: a recipe by its name, and the options of ``evaluate``."""
