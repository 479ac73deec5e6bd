"""Makes an entry: trains by the division's rules, scores the model and writes the submission."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure

from lm_basics.export import MODEL_PARTS, save_model
from lm_basics.leaderboard.division_data import DivisionData, check_overlap
from lm_basics.leaderboard.divisions import (
    RECIPE_NAME,
    EntryRecipe,
    TrainingDivision,
    check_recipe,
)
from lm_basics.perplexity import bits_per_byte
from lm_basics.training import StepReport, evaluate_loss, train
from lm_basics.transformer import COMPILES, TransformerLM, initial_model
from lm_shared.config import DeviceName, save_config
from lm_shared.figures import figure_svg, house_style
from lm_shared.files import claim_folder, write_text
from lm_shared.leaderboard import (
    RUN_NAME,
    About,
    Submission,
    hardware_problems,
    refuse_finished,
    restrict_cores,
    submit_entry,
)
from lm_shared.receipt import describe_hardware
from lm_shared.runs import METRICS_NAME, read_metrics
from lm_shared.tensors import choose_device

logger = logging.getLogger(__name__)

MODEL_NAME = "model"
CURVE_NAME = "curve.svg"
CURVE_TOKENS = 32_768
"""Held-out tokens behind a point of the learning curve; the score takes all."""


def run_entry(
    division: TrainingDivision,
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
    refuse_finished(folder)
    claim_folder(folder / MODEL_NAME, "a model", parts=MODEL_PARTS, overwrite=True)
    device = _choose_device(division, device)
    _refuse_overlap(data)
    folder.mkdir(parents=True, exist_ok=True)

    def validate(model: TransformerLM) -> dict[str, float]:
        return {"val_score": score_model(model, data, division, num_tokens=CURVE_TOKENS)}

    with restrict_cores(division.max_cores):
        _warn_of_hardware(division, device)
        model = build_model(recipe, device)
        if recipe.compile:
            logger.info(COMPILES)
        result = train(
            model,
            data.train.tokens,
            recipe.training,
            folder=folder / RUN_NAME,
            document_starts=data.train.document_starts,
            validate=validate,
            on_step=on_step,
        )
        logger.info("scoring the model on %s held-out tokens", f"{data.validation.num_tokens:,}")
        with result.validated_weights():
            score = score_model(model, data, division)
            save_model(model, folder / MODEL_NAME, tokenizer=data.tokenizer)
        used, num_threads = model.output_weight.device.type, torch.get_num_threads()
    save_config(recipe, folder / RECIPE_NAME)
    _write_curve(folder / RUN_NAME, folder, division)
    return submit_entry(
        folder,
        division,
        about=about,
        score=score,
        device=used,
        num_threads=num_threads,
        measure="loss",
        data=data.hashes(),
    )


def _refuse_overlap(data: DivisionData) -> None:
    overlap = check_overlap(data)
    if not overlap.passed:
        raise ValueError(f"{data.train.path}: {overlap.detail}")


def _warn_of_hardware(division: TrainingDivision, device: DeviceName) -> None:
    """Tell before the run what the verifier will refuse after it."""
    for problem in hardware_problems(
        describe_hardware(), division, device=device, num_threads=torch.get_num_threads()
    ):
        logger.warning("%s: an entry for %s would be refused", problem, division.name)


def build_model(recipe: EntryRecipe, device: DeviceName) -> TransformerLM:
    """Return the model as the run begins with it; the seed decides its weights."""
    chosen, seed = choose_device(device), recipe.training.seed
    return initial_model(recipe.model, seed=seed, device=chosen, compiled=recipe.compile)


def score_model(
    model: TransformerLM,
    data: DivisionData,
    division: TrainingDivision,
    *,
    context_length: int | None = None,
    num_tokens: int | None = None,
) -> float:
    """Return the division's score, every held-out token predicted once, in float32.

    Args:
        model: On its device.
        data: Its validation tokens are used.
        division: Says what a score is.
        context_length: Longest window; None means the division's, which alone counts.
        num_tokens: Only so many of the first tokens; None means all, which alone counts.
    """
    tokens = data.validation.tokens[:num_tokens]
    longest = context_length or division.context_length
    loss = evaluate_loss(
        model,
        tokens,
        first_context=data.end_of_text,
        context_length=min(longest, model.config.context_length),
    )
    if division.score == "nats per token":
        return loss.nats_per_token
    num_bytes = int(data.tokenizer.token_num_bytes[tokens].sum())
    return bits_per_byte(loss.total_nats, num_bytes)


def _write_curve(run: Path, folder: Path, division: TrainingDivision) -> None:
    """Draw ``curve.svg``: the score on the first held-out tokens over the seconds of the run."""
    lines = [line for line in read_metrics(run / METRICS_NAME) if "val_score" in line]
    seconds = [line["elapsed_s"] for line in lines]
    with house_style():
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(seconds, [line["val_score"] for line in lines], marker="o")
        axes.axvline(division.time_limit_s, color=axes.xaxis.label.get_color(), linewidth=1)
        axes.set(xlabel="seconds of training", ylabel=f"held-out {division.score}")
        axes.set_xlim(left=0)
    write_text(folder / CURVE_NAME, figure_svg(figure))


def _choose_device(division: TrainingDivision, device: DeviceName) -> DeviceName:
    """Return the device, which is the CPU where a division is for CPUs."""
    if division.gpu is not None:
        return device
    if device not in ("auto", "cpu"):
        raise ValueError(f"the division {division.name} is for CPUs, got device={device!r}")
    return "cpu"
