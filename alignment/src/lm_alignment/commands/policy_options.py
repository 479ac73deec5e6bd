"""What all commands ask for: a model, and the task whose questions it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lm_alignment.recipes import LAPTOP
from lm_alignment.tasks import ExtremumTask, SumTask, TaskSplit, split_task
from lm_basics.model_folder import find_text_model
from lm_shared.command_options import PATH
from lm_shared.config import DeviceName
from lm_shared.runs import claim_run

if TYPE_CHECKING:
    from lm_basics.export import TextModel
    from lm_basics.tokenizer import Tokenizer
    from lm_basics.transformer import TransformerLM

TaskName = Literal["sort", "extremum", "sum"]

TASKS = {"sort": LAPTOP.task, "extremum": ExtremumTask(), "sum": SumTask()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyOptions:
    """Which model, where, and on what, in the words of the command line."""

    model: Path
    """A training run, a model folder or a Hugging Face folder."""
    tokenizer: Annotated[Path | None, PATH] = None
    """Folder with a tokenizer.json, for a model that was saved without."""
    device: DeviceName = "cpu"
    """Where to compute; models this small are fastest on a CPU."""
    task: TaskName = "sort"
    """Where the questions come from."""

    def problems(self) -> TaskSplit:
        """Return the split that all commands share, whatever their seeds."""
        return split_task(TASKS[self.task])

    def check_count(self, option: str, count: int, *, least: int, most: int) -> None:
        """Refuse a count that the task's training examples do not have.

        Raises:
            ValueError: ``count`` is below ``least`` or above ``most``; names all of them.
        """
        if not least <= count <= most:
            raise ValueError(
                f"{option}={count} must lie between {least} and {most}, by the number of training "
                f"examples of the task {self.task!r}"
            )

    def load(self) -> "TextModel":
        """Read the model and its tokenizer, and put it where it is to compute."""
        find_text_model(self.model, self.tokenizer)
        from lm_basics.export import load_text_model
        from lm_shared.tensors import choose_device
        from lm_systems.kernels.ops import get_ops

        device = choose_device(self.device)
        loaded = load_text_model(self.model, tokenizer=self.tokenizer, ops=get_ops("fused"))
        loaded.model.to(device)
        return loaded

    def load_for_run(self, output: Path) -> "TextModel":
        """Claim the folder of a run, and load the model that learns in it.

        A run that is there goes on; what is not a run is left alone.
        """
        find_text_model(self.model, self.tokenizer)
        claim_run(output, inputs=[self.model])
        from lm_shared.tensors import require_determinism

        require_determinism()
        return self.load()


def save_policy(policy: "TransformerLM", tokenizer: "Tokenizer", output: Path) -> Path:
    """Save what a run has made of the model, with the template of its chat; return the folder."""
    from lm_alignment.templates import ChatTemplate
    from lm_basics.export import save_model

    folder = output / "model"
    save_model(policy, folder, tokenizer=tokenizer, chat_template=ChatTemplate().to_jinja())
    return folder
