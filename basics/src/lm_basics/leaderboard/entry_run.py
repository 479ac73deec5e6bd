"""Makes an entry: trains by the division's rules, scores the model and writes the submission."""

import datetime as dt
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from lm_basics.export import check_model_folder, save_model
from lm_basics.leaderboard.curve import write_curve
from lm_basics.leaderboard.division_data import DivisionData
from lm_basics.leaderboard.divisions import Division
from lm_basics.leaderboard.recipe import (
    RECIPE_NAME,
    EntryRecipe,
    build_model,
    check_recipe,
)
from lm_basics.leaderboard.rules import RUN_NAME, check_overlap, hardware_problems
from lm_basics.leaderboard.score import score_model
from lm_basics.training import StepReport, train
from lm_basics.transformer import TransformerLM
from lm_shared.config import save_config
from lm_shared.leaderboard import SUBMISSION_NAME, Submission, hash_entry
from lm_shared.receipt import describe_hardware
from lm_shared.runs import METRICS_NAME, load_receipt, read_metrics
from lm_shared.tensors import DeviceName

logger = logging.getLogger(__name__)

MODEL_NAME = "model"
CURVE_TOKENS = 32_768
"""Held-out tokens behind a point of the learning curve; the score takes all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """Who made an entry, and what is in it."""

    name: str
    """Of the entry."""
    authors: str
    """Who made it."""
    description: str
    """What is in it, in a sentence or two."""


def run_entry(
    division: Division,
    recipe: EntryRecipe,
    data: DivisionData,
    folder: Path,
    *,
    about: About,
    device: DeviceName = "auto",
    on_step: Callable[[StepReport], None] | None = None,
) -> Submission:
    """Train, score and write an entry; an interrupted one goes on.

    The clock runs from the beginning of the training loop to its last step: compiling and the
    validations on the way count, making the data and the final score do not, nor do steps that a
    kill made void. A run that takes too long is scored as well, and the verifier will say so.

    Args:
        division: Its rules.
        recipe: Model and training; see ``with_milestones`` for the checkpoints.
        data: The division's.
        folder: The entry.
        about: Goes into the submission.
        device: Where to train.
        on_step: Called after each step, for displays.

    Raises:
        ValueError: the recipe breaks a rule, held-out text occurs in the training tokens, the
            division is not for that device, or the folder holds a finished entry, another run or
            files of other kinds.
        FloatingPointError: the run diverged.
    """
    check_recipe(recipe, division)
    if (folder / SUBMISSION_NAME).exists():
        raise ValueError(f"{folder} holds a finished entry: choose another folder")
    check_model_folder(folder / MODEL_NAME)
    device = _choose_device(division, device)
    overlap = check_overlap(data)
    if not overlap.passed:
        raise ValueError(f"{data.train.path}: {overlap.detail}")
    folder.mkdir(parents=True, exist_ok=True)

    def validate(model: TransformerLM) -> dict[str, float]:
        return {"val_score": score_model(model, data, division, num_tokens=CURVE_TOKENS)}

    with restrict_cores(division.max_cores):
        for problem in hardware_problems(
            describe_hardware(), division, device=device, num_threads=torch.get_num_threads()
        ):
            logger.warning("%s: an entry for %s would be refused", problem, division.name)
        model = build_model(recipe, device)
        result = train(
            model,
            data.train.tokens,
            recipe.training,
            folder=folder / RUN_NAME,
            document_starts=data.train.document_starts,
            validate=validate,
            on_step=on_step,
        )
        with nullcontext() if result.ema is None else result.ema.applied():
            score = score_model(model, data, division)
            save_model(model, folder / MODEL_NAME, tokenizer=data.tokenizer)
        used = (model.output_weight.device.type, torch.get_num_threads())
    save_config(recipe, folder / RECIPE_NAME)
    write_curve(folder / RUN_NAME, folder, division)
    submission = _claim(division, data, folder, about=about, score=score, used=used)
    save_config(submission, folder / SUBMISSION_NAME)
    return submission


def _claim(
    division: Division,
    data: DivisionData,
    folder: Path,
    *,
    about: About,
    score: float,
    used: tuple[str, int],
) -> Submission:
    """Return the submission of a finished run; ``used`` are its device and threads."""
    device, num_threads = used
    steps = [line for line in read_metrics(folder / RUN_NAME / METRICS_NAME) if "loss" in line]
    receipt = load_receipt(folder / RUN_NAME)
    return Submission(
        division=division.name,
        name=about.name,
        authors=about.authors,
        description=about.description,
        date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        score=score,
        wall_s=steps[-1]["elapsed_s"],
        hardware=receipt.hardware,
        device=device,
        num_threads=num_threads,
        versions=receipt.versions,
        commit=receipt.git_commit,
        data=data.hashes(),
        files=hash_entry(folder),
    )


def _choose_device(division: Division, device: DeviceName) -> DeviceName:
    """Return the device, which is the CPU where a division is for CPUs."""
    if division.gpu is not None:
        return device
    if device not in ("auto", "cpu"):
        raise ValueError(f"the division {division.name} is for CPUs, got device={device!r}")
    return "cpu"


@contextmanager
def restrict_cores(max_cores: int | None) -> Iterator[None]:
    """Keep the process to some cores while the block runs; None means all that it has."""
    if max_cores is None:
        yield
        return
    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if sys.platform == "linux" else set[int]()
    torch.set_num_threads(min(threads, max_cores))
    if allowed:
        os.sched_setaffinity(0, sorted(allowed)[:max_cores])
    try:
        yield
    finally:
        if allowed:
            os.sched_setaffinity(0, allowed)
        torch.set_num_threads(threads)
