"""``alignment sft``: teach a pretrained model to answer."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from lm_alignment.commands.policy_options import PolicyOptions, save_policy
from lm_alignment.config import SFTConfig
from lm_alignment.recipes import LAPTOP, SFT_RECIPES
from lm_shared.command_options import Overwrite, with_recipes
from lm_shared.display import progress
from lm_shared.files import clear_folder
from lm_shared.runs import RUN_PARTS
from lm_shared.wording import wrote


def fine_tune(
    config: SFTConfig,
    *,
    options: Annotated[PolicyOptions, tyro.conf.arg(name="")],
    output: Path = Path("runs/sft-{recipe}"),
    overwrite: Overwrite = False,
    num_examples: int = LAPTOP.num_sft_examples,
) -> None:
    """Fine-tune a model on the first training examples of a task.

    Args:
        config: Settings of the run.
        options: Model and task.
        output: Run folder; the new model goes to its subfolder ``model``.
        overwrite: Whether to begin anew where an earlier run is.
        num_examples: Examples to imitate.
    """
    from lm_alignment.sft import train_sft
    from lm_alignment.starting_point import add_chat_tokens
    from lm_alignment.templates import ChatTemplate

    train = options.problems().train
    options.check_count("num_examples", num_examples, least=1, most=len(train))
    loaded = options.load_for_run(output)
    policy, encoder = add_chat_tokens(loaded.model, loaded.tokenizer, ChatTemplate())
    with progress("fine-tuning", config.steps) as advance:
        result = train_sft(
            policy,
            encoder,
            train[:num_examples],
            config,
            folder=output,
            on_step=lambda *_: advance(),
            on_ready=partial(clear_folder, output, RUN_PARTS) if overwrite else None,
        )
    model = save_policy(policy, encoder, output)
    print(f"loss {result.final_loss:.3f} after {result.steps} steps, {result.elapsed_s:.0f} s")
    print(wrote(model, then=("alignment", "grpo", "--model", output)))


fine_tune_by_recipe = with_recipes(fine_tune, SFT_RECIPES, default="laptop")
"""``alignment sft``: a recipe by its name, and the options of ``fine_tune``."""
