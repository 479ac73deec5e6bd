"""``alignment sft`` and ``alignment grpo``: teach a model to answer, by examples and by rewards."""

from pathlib import Path
from typing import Annotated

import tyro

from lm_alignment.commands.policy_options import (
    ExampleOptions,
    QuestionOptions,
    RunOptions,
    ask_next,
    save_policy,
)
from lm_alignment.config import GRPOConfig, SFTConfig
from lm_alignment.recipes import GRPO_RECIPES, LAPTOP, SFT_RECIPES
from lm_shared.command_options import with_recipes
from lm_shared.display import progress
from lm_shared.wording import changed, counted, free_output, wrote


def fine_tune(
    config: SFTConfig,
    *,
    options: Annotated[RunOptions, tyro.conf.arg(name="")],
    source: Annotated[ExampleOptions, tyro.conf.arg(name="")],
    output: Path = Path("runs/sft-{recipe}"),
    num_examples: Annotated[
        int | None,
        tyro.conf.arg(
            metavar="INT",
            help_behavior_hint=f"(default: {LAPTOP.num_sft_examples} of a task, all of a file)",
        ),
    ] = None,
    recipe: tyro.conf.Suppress[str] = "{recipe}",
) -> None:
    """Fine-tune a model on the first training examples of a task, or on a file of your own.

    Args:
        config: Settings of the run.
        options: Model.
        source: Task or file.
        output: Run folder; the new model goes to its subfolder model.
        num_examples: Examples to imitate.
        recipe: Its name, for the next command.
    """
    train = source.read_conversations()
    if num_examples is None:
        num_examples = LAPTOP.num_sft_examples if source.data is None else len(train)
    source.check_count("num_examples", num_examples, least=1, most=len(train))
    loaded = options.load_for_run(output)
    from lm_alignment.sft import train_sft
    from lm_alignment.starting_point import add_chat_tokens
    from lm_alignment.templates import ChatTemplate

    policy, encoder = add_chat_tokens(loaded.model, loaded.tokenizer, ChatTemplate())
    with progress(counted=["fine-tuning"]) as report:
        result = train_sft(
            policy,
            encoder,
            train[:num_examples],
            config,
            folder=output,
            on_step=lambda step, values: report(
                "fine-tuning", step, config.steps, f"loss {values['loss']:.4f}"
            ),
            on_ready=options.on_ready(output),
        )
    model = save_policy(policy, encoder, output)
    steps = counted(result.steps, "step")
    print(f"loss {result.final_loss:.3f} after {steps}, {result.elapsed_s:.0f} s")
    if source.data is not None:
        print(wrote(model, then=ask_next(output)))
        return
    # An example at least is left.
    skipped = ("--skip-examples", min(num_examples, len(train) - 1), LAPTOP.num_sft_examples)
    how = (
        *changed(("--task", source.task, "sort"), ("--device", options.device, "cpu"), skipped),
        *free_output(Path(f"runs/grpo-{recipe}")),
    )
    print(wrote(model, then=("alignment", "grpo", recipe, "--model", output, *how)))


fine_tune_by_recipe = with_recipes(fine_tune, SFT_RECIPES, default="laptop")
"""``alignment sft``: a recipe by its name, and the options of ``fine_tune``."""


def reinforce(
    config: GRPOConfig,
    *,
    options: Annotated[RunOptions, tyro.conf.arg(name="")],
    source: Annotated[QuestionOptions, tyro.conf.arg(name="")],
    output: Path = Path("runs/grpo-{recipe}"),
    skip_examples: Annotated[
        int | None,
        tyro.conf.arg(
            metavar="INT",
            help_behavior_hint=f"(default: {LAPTOP.num_sft_examples} of a task, 0 of a file)",
        ),
    ] = None,
) -> None:
    """Train a model on the rewards of its own answers.

    Args:
        config: Settings of the run.
        options: Model.
        source: Task or file, and the judge.
        output: Run folder; the new model goes to its subfolder model.
        skip_examples: Training examples left out because fine-tuning has seen them.
    """
    train = source.read_questions(for_training=True)
    if skip_examples is None:
        skip_examples = LAPTOP.num_sft_examples if source.data is None else 0
    source.check_count("skip_examples", skip_examples, least=0, most=len(train) - 1)
    loaded = options.load_for_run(output)
    from lm_alignment.rl.grpo import train_grpo
    from lm_systems.inference.engine import Engine

    policy, encoder = loaded.model, loaded.tokenizer
    engine = Engine(policy, encoder, max_batch_size=config.rollouts_per_step)
    with progress(counted=["reinforcement learning"]) as report:
        result = train_grpo(
            policy,
            encoder,
            engine,
            train[skip_examples:],
            source.reward_function(),
            config,
            folder=output,
            on_step=lambda step, values: report(
                "reinforcement learning", step, config.steps, f"reward {values['reward']:.3f}"
            ),
            on_ready=options.on_ready(output),
        )
    model = save_policy(policy, encoder, output)
    print(
        f"training reward {result.rewards[0]:.3f} at first, {result.rewards[-1]:.3f} after "
        f"{counted(result.steps, 'step')}, {result.elapsed_s:.0f} s"
    )
    how = changed(("--task", source.task, "sort"), ("--device", options.device, "cpu"))
    then = ("alignment", "evaluate", "--model", output, *how)
    print(wrote(model, then=then if source.data is None else ask_next(output)))


reinforce_by_recipe = with_recipes(reinforce, GRPO_RECIPES, default="laptop")
"""``alignment grpo``: a recipe by its name, and the options of ``reinforce``."""
