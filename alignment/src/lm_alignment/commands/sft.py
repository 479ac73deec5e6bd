"""``alignment sft``: teach a pretrained model to answer."""

from pathlib import Path
from typing import Annotated

from lm_alignment.commands.problems import TaskName, check_count, load_policy, load_problems
from lm_alignment.config import SFTConfig
from lm_alignment.recipes import LAPTOP, SFT_RECIPES
from lm_shared.command_options import PATH, Overwrite, with_recipes
from lm_shared.config import DeviceName
from lm_shared.display import progress
from lm_shared.files import clear_folder
from lm_shared.runs import RUN_PARTS, claim_run
from lm_shared.wording import wrote


def fine_tune(
    config: SFTConfig,
    *,
    model: Path,
    tokenizer: Annotated[Path | None, PATH] = None,
    device: DeviceName = "cpu",
    output: Path = Path("runs/sft-{recipe}"),
    overwrite: Overwrite = False,
    task: TaskName = "sort",
    num_examples: int = LAPTOP.num_sft_examples,
) -> None:
    """Fine-tune a model on the first training examples of a task.

    Args:
        config: Settings of the run.
        model: A training run, a model folder or a Hugging Face folder.
        tokenizer: Folder with a tokenizer.json, for a model that was saved without.
        device: Where to compute; models this small are fastest on a CPU.
        output: Run folder; the new model goes to its subfolder ``model``.
        overwrite: Whether to begin anew where an earlier run is.
        task: Where the examples come from.
        num_examples: Examples to imitate.
    """
    from lm_alignment.sft import train_sft
    from lm_alignment.starting_point import add_chat_tokens
    from lm_alignment.templates import ChatTemplate
    from lm_basics.export import save_model
    from lm_shared.tensors import require_determinism

    train = load_problems(task).train
    check_count("num_examples", num_examples, least=1, most=len(train), task=task)
    # A run that is there goes on; what is not a run is left alone.
    claim_run(output, inputs=[model])

    def begin_anew() -> None:
        clear_folder(output, RUN_PARTS)

    require_determinism()
    loaded = load_policy(model, tokenizer, device)
    policy, encoder = add_chat_tokens(loaded.model, loaded.tokenizer, ChatTemplate())
    with progress("fine-tuning", config.steps) as advance:
        result = train_sft(
            policy,
            encoder,
            train[:num_examples],
            config,
            folder=output,
            on_step=lambda *_: advance(),
            on_ready=begin_anew if overwrite else None,
        )
    template = ChatTemplate().to_jinja()
    save_model(policy, output / "model", tokenizer=encoder, chat_template=template)
    print(f"loss {result.final_loss:.3f} after {result.steps} steps, {result.elapsed_s:.0f} s")
    print(wrote(output / "model", then=("alignment", "grpo", "--model", output)))


fine_tune_by_recipe = with_recipes(fine_tune, SFT_RECIPES, default="laptop")
"""``alignment sft``: a recipe by its name, and the options of ``fine_tune``."""
