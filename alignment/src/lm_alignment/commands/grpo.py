"""``alignment grpo``: let a fine-tuned model learn from verified answers."""

from pathlib import Path
from typing import Annotated

from lm_alignment.commands.problems import TaskName, check_count, load_policy, load_problems
from lm_alignment.config import GRPOConfig
from lm_alignment.recipes import GRPO_RECIPES, LAPTOP
from lm_shared.command_options import PATH, Overwrite, with_recipes
from lm_shared.config import DeviceName
from lm_shared.display import progress
from lm_shared.files import clear_folder
from lm_shared.runs import RUN_PARTS, claim_run
from lm_shared.wording import wrote


def reinforce(
    config: GRPOConfig,
    *,
    model: Path,
    tokenizer: Annotated[Path | None, PATH] = None,
    device: DeviceName = "cpu",
    output: Path = Path("runs/grpo-{recipe}"),
    overwrite: Overwrite = False,
    task: TaskName = "sort",
    skip_examples: int = LAPTOP.num_sft_examples,
) -> None:
    """Train a model on the rewards of its own answers.

    Args:
        config: Settings of the run.
        model: A training run, a model folder or a Hugging Face folder.
        tokenizer: Folder with a tokenizer.json, for a model that was saved without.
        device: Where to compute; models this small are fastest on a CPU.
        output: Run folder; the new model goes to its subfolder ``model``.
        overwrite: Whether to begin anew where an earlier run is.
        task: Where the questions come from.
        skip_examples: Training examples left out because fine-tuning has seen them.
    """
    from lm_alignment.rl.grpo import train_grpo
    from lm_alignment.templates import ChatTemplate
    from lm_alignment.verifiers import ExactAnswer
    from lm_basics.export import save_model
    from lm_shared.tensors import require_determinism
    from lm_systems.inference.engine import Engine

    train = load_problems(task).train
    check_count("skip_examples", skip_examples, least=0, most=len(train) - 1, task=task)
    # A run that is there goes on; what is not a run is left alone.
    claim_run(output, inputs=[model])

    def begin_anew() -> None:
        clear_folder(output, RUN_PARTS)

    require_determinism()
    loaded = load_policy(model, tokenizer, device)
    policy, encoder = loaded.model, loaded.tokenizer
    engine = Engine(policy, encoder, max_batch_size=config.rollouts_per_step)
    with progress("reinforcement learning", config.steps) as advance:
        result = train_grpo(
            policy,
            encoder,
            engine,
            train[skip_examples:],
            ExactAnswer(),
            config,
            folder=output,
            on_step=lambda *_: advance(),
            on_ready=begin_anew if overwrite else None,
        )
    template = ChatTemplate().to_jinja()
    save_model(policy, output / "model", tokenizer=encoder, chat_template=template)
    print(
        f"training reward {result.rewards[0]:.3f} at first, {result.rewards[-1]:.3f} after "
        f"{result.steps} steps, {result.elapsed_s:.0f} s"
    )
    print(wrote(output / "model", then=("alignment", "evaluate", "--model", output)))


reinforce_by_recipe = with_recipes(reinforce, GRPO_RECIPES, default="laptop")
"""``alignment grpo``: a recipe by its name, and the options of ``reinforce``."""
