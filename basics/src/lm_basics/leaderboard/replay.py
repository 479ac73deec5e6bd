"""An entry read, and parts of its run done again with the official data.

A replay begins with the run's seed or with one of its checkpoints.
"""

import itertools
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm_basics.accounting import count_parameters, training_flops_per_token
from lm_basics.export import load_model
from lm_basics.leaderboard.division_data import DivisionData
from lm_basics.leaderboard.divisions import RECIPE_NAME, EntryRecipe
from lm_basics.leaderboard.entry_run import MODEL_NAME, build_model
from lm_basics.training import StepReport, train
from lm_basics.training.checkpoints import EMA_PART, FOLDER_NAME
from lm_basics.training.loop import OnStep
from lm_basics.training.snapshot import unpack
from lm_basics.transformer import TransformerLM
from lm_shared.config import DeviceName, load_config
from lm_shared.leaderboard import RUN_NAME, EntryRecord, Submission, read_steps
from lm_shared.runs import CONFIG_NAME, METRICS_NAME, load_receipt

MAX_PARAMETERS = 10**10


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRecord(EntryRecord):
    """What an entry's files say."""

    recipe: EntryRecipe
    """Model and training."""


def read_record(folder: Path, submission: Submission) -> TrainingRecord:
    """Read the files of an entry.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: one is damaged, or the record is not that of the recipe's steps.
    """
    recipe = load_config(EntryRecipe, folder / RECIPE_NAME)
    training, model = recipe.training, recipe.model
    steps = read_steps(folder, "loss", num_steps=training.steps)
    if count_parameters(model) > MAX_PARAMETERS:
        raise ValueError(f"the model has more than {MAX_PARAMETERS:,} parameters")
    num_tokens = training.steps * training.batch_size * model.context_length
    return TrainingRecord(
        folder=folder,
        submission=submission,
        receipt=load_receipt(folder / RUN_NAME),
        steps=steps,
        flops=num_tokens * training_flops_per_token(model, model.context_length),
        recipe=recipe,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """Some steps in a row."""

    first_step: int
    """Number of the first of them, from 1."""
    losses: tuple[float, ...]
    """Training losses, in nats per token."""
    step_s: tuple[float, ...]
    """Seconds that each took; the first may have compiled."""
    model: TransformerLM
    """After the last of them."""

    @property
    def last_step(self) -> int:
        """Number of the last of them."""
        return self.first_step + len(self.losses) - 1


class _EnoughError(BaseException):
    """Ends the training loop after the last step that is replayed; after an error it would save."""


def milestones(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of an entry by their steps."""
    return _by_step((folder / RUN_NAME / FOLDER_NAME).glob("step-*.safetensors"))


def listed_milestones(submission: Submission) -> Collection[int]:
    """Return the steps of the checkpoints that a submission lists, there or not."""
    listed = (Path(name) for name in submission.files)
    inside = Path(RUN_NAME) / FOLDER_NAME
    return _by_step(path for path in listed if path.parent == inside).keys()


def _by_step(paths: Iterable[Path]) -> dict[int, Path]:
    steps = {path.stem.removeprefix("step-"): path for path in sorted(paths)}
    return {int(step): path for step, path in steps.items() if step.isdecimal()}


def replay(
    record: TrainingRecord,
    data: DivisionData,
    *,
    after_step: int,
    num_steps: int,
    device: DeviceName = "auto",
    on_step: OnStep | None = None,
) -> Replay:
    """Do the steps after a milestone again, or those after the start, which is step 0.

    The loop of the run itself does them, in a folder that holds the milestone alone, so what is
    replayed is the code that people train with.

    Raises:
        KeyError: there is no milestone at that step.
        ValueError: the checkpoint is torn or belongs to another run, model or data.
        FloatingPointError: the run diverged.
    """
    recipe, run = record.recipe, record.folder / RUN_NAME
    model = build_model(recipe, device)
    losses: list[float] = []
    times = [time.perf_counter()]

    def record_step(report: StepReport) -> None:
        losses.append(report.loss)
        times.append(time.perf_counter())
        if on_step is not None:
            on_step(report)
        # The last step of the run ends by itself, with its validation and its checkpoint.
        if len(losses) == num_steps and report.step < report.steps:
            raise _EnoughError

    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / RUN_NAME
        (copy / FOLDER_NAME).mkdir(parents=True)
        shutil.copy(run / CONFIG_NAME, copy)
        if after_step:
            shutil.copy(run / METRICS_NAME, copy)
            shutil.copy(milestones(record.folder)[after_step], copy / FOLDER_NAME)
        try:
            result = train(
                model,
                data.train.tokens,
                recipe.training,
                folder=copy,
                document_starts=data.train.document_starts,
                on_step=record_step,
            )
        except _EnoughError:
            pass
        except KeyboardInterrupt:
            # What the loop says of its checkpoint is of a folder that goes away.
            raise KeyboardInterrupt from None
        else:
            if result.ema is not None:
                for name, weight in model.named_parameters():
                    weight.data.copy_(result.ema.averages[name])
    step_s = tuple(later - earlier for earlier, later in itertools.pairwise(times))
    return Replay(first_step=after_step + 1, losses=tuple(losses), step_s=step_s, model=model)


def checkpoint_weights(path: Path, *, averaged: bool) -> Mapping[str, Tensor]:
    """Return the weights of a checkpoint; the averaged ones if they are asked for and there.

    Raises:
        ValueError: the checkpoint is torn.
    """
    states, _ = unpack(path.read_bytes(), str(path))
    average: dict[str, Any] = states.get(EMA_PART, {}).get("averages", {}) if averaged else {}
    return states["model"] | average


def entry_model(folder: Path, recipe: EntryRecipe) -> TransformerLM:
    """Load the model of an entry.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the model is not the recipe's.
    """
    model = load_model(folder / MODEL_NAME)
    expected = {name: tensor.shape for name, tensor in _meta_state(recipe).items()}
    found = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if found != expected:
        raise ValueError(f"the model in {folder / MODEL_NAME} has not the shape of the recipe")
    # The folder's own description may lack what the layout cannot say, such as the context.
    judged = TransformerLM(recipe.model)
    judged.load_state_dict(model.state_dict())
    return judged


def largest_difference(model: TransformerLM, weights: Mapping[str, Tensor]) -> float:
    """Return the largest distance between two equal weights; infinity where some are missing."""
    ours = model.state_dict()
    if ours.keys() != weights.keys():
        return float("inf")
    differences = [(ours[name].cpu().float() - weights[name].float()).abs().max() for name in ours]
    return float(torch.stack(differences).max())


def _meta_state(recipe: EntryRecipe) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        return TransformerLM(recipe.model).state_dict()
