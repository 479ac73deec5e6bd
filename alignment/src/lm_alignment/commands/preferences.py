"""``alignment dpo``: teach a model which of two answers is preferred."""

from pathlib import Path
from typing import Annotated

import tyro

from lm_alignment.commands.policy_options import RunOptions, ask_next, save_policy
from lm_alignment.config import DPOConfig
from lm_alignment.datasets import read_preferences
from lm_alignment.recipes import DPO_RECIPES
from lm_shared.command_options import There, with_recipes
from lm_shared.display import progress
from lm_shared.wording import counted, wrote


def prefer(
    config: DPOConfig,
    *,
    options: Annotated[RunOptions, tyro.conf.arg(name="")],
    data: Annotated[Path, There()],
    output: Path = Path("runs/dpo-{recipe}"),
) -> None:
    """Teach a model to prefer the better of two answers, on a file of your own.

    Args:
        config: Settings of the run.
        options: Model.
        data: Chosen and rejected answers: JSON lines, a JSON array or Parquet; see the README.
        output: Run folder; the new model goes to its subfolder model.
    """
    pairs = read_preferences(data)
    loaded = options.load_for_run(output)
    from lm_alignment.dpo import train_dpo

    policy, encoder = loaded.model, loaded.tokenizer
    with progress(counted=["preferences"]) as report:
        result = train_dpo(
            policy,
            encoder,
            pairs,
            config,
            folder=output,
            on_step=lambda step, values: report(
                "preferences", step, config.steps, f"loss {values['loss']:.4f}"
            ),
            on_ready=options.on_ready(output),
        )
    model = save_policy(policy, encoder, output)
    steps = counted(result.steps, "step")
    print(
        f"loss {result.final_loss:.3f}, {result.accuracy:.0%} of the pairs preferred, after "
        f"{steps}, {result.elapsed_s:.0f} s"
    )
    print(wrote(model, then=ask_next(output)))


prefer_by_recipe = with_recipes(prefer, DPO_RECIPES, default="laptop")
"""``alignment dpo``: a recipe by its name, and the options of ``prefer``."""
