"""What the commands ask for: a model, a run's folder, and examples of a task or of one's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lm_alignment.datasets import read_conversations, read_questions
from lm_alignment.examples import Conversation, Example
from lm_alignment.recipes import LAPTOP
from lm_alignment.tasks import ExtremumTask, SumTask, split_task
from lm_alignment.verifiers import PATTERNS, ExactAnswer, VerifierName
from lm_basics.model_folder import find_text_model
from lm_shared.command_options import PATH, Overwrite, There
from lm_shared.config import DeviceName
from lm_shared.files import clear_folder
from lm_shared.runs import RUN_PARTS, claim_run

if TYPE_CHECKING:
    from lm_basics.export import TextModel
    from lm_basics.tokenizer import Tokenizer
    from lm_basics.transformer import TransformerLM

TaskName = Literal["sort", "extremum", "sum"]

TASKS = {"sort": LAPTOP.task, "extremum": ExtremumTask(), "sum": SumTask()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """Which model, and where it computes, in the words of the command line."""

    model: Path
    """A training run, a model folder or a Hugging Face folder."""
    tokenizer: Annotated[Path | None, PATH] = None
    """Folder with a tokenizer.json, for a model that was saved without."""
    device: DeviceName = "cpu"
    """Where to compute; models this small are fastest on a CPU."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions(ModelOptions):
    """A model that learns in a run."""

    overwrite: Overwrite = False
    """Whether to begin anew where an earlier run is."""

    def load_for_run(self, output: Path) -> "TextModel":
        """Claim the folder of the run, and load the model that learns in it.

        A run that is there goes on; what is not a run is left alone.
        """
        find_text_model(self.model, self.tokenizer)
        claim_run(output, inputs=[self.model])
        from lm_shared.tensors import require_determinism

        require_determinism()
        return self.load()

    def on_ready(self, output: Path) -> Callable[[], None] | None:
        """Return what removes an earlier run once all is checked, if that is wanted."""
        return partial(clear_folder, output, RUN_PARTS) if self.overwrite else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleOptions:
    """What is learned from."""

    task: TaskName = "sort"
    """Where the questions come from, unless --data names a file."""
    data: Annotated[Path | None, There(), PATH] = None
    """Examples of your own: JSON lines, a JSON array or Parquet; the README lists the keys."""

    def read_conversations(self) -> Sequence[Example | Conversation]:
        """Return what there is to imitate."""
        return self._train() if self.data is None else read_conversations(self.data)

    def check_count(self, option: str, count: int, *, least: int, most: int) -> None:
        """Refuse a count that the examples do not have.

        Raises:
            ValueError: ``count`` is below ``least`` or above ``most``; names all of them.
        """
        if not least <= count <= most:
            source = f"the task {self.task!r}" if self.data is None else self.data
            raise ValueError(
                f"{option}={count} must lie between {least} and {most}, by the number of training "
                f"examples of {source}"
            )

    def _train(self) -> list[Example]:
        # The split that all commands share, whatever their seeds.
        return split_task(TASKS[self.task]).train


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionOptions(ExampleOptions):
    """Questions, and how answers are judged."""

    verifier: VerifierName = "integers"
    """Where the answer stands: nothing but integers, or the last one after ####, in a boxed{}, or
    between answer tags."""

    def read_questions(self, *, for_training: bool) -> list[Example]:
        """Return the task's questions on one side of its split, or all of the file."""
        if self.data is not None:
            return read_questions(self.data, PATTERNS[self.verifier])
        return self._train() if for_training else split_task(TASKS[self.task]).validation

    def reward_function(self) -> ExactAnswer:
        """Return what judges the answers."""
        return ExactAnswer(pattern=PATTERNS[self.verifier])


def ask_next(output: Path) -> tuple[object, ...]:
    """Return the command that asks the model of a run, for the last line of another command."""
    return "basics", "generate", "--model", output, "--chat", "your question"


def save_policy(policy: "TransformerLM", tokenizer: "Tokenizer", output: Path) -> Path:
    """Save what a run has made of the model, with the template of its chat; return the folder."""
    from lm_alignment.templates import ChatTemplate
    from lm_basics.export import save_model

    folder = output / "model"
    save_model(policy, folder, tokenizer=tokenizer, chat_template=ChatTemplate().to_jinja())
    return folder
