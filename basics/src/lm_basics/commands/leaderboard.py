"""``basics leaderboard``: enter a division, verify an entry, export it, make the table."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.commands.train_recipes import ModelRecipe
from lm_basics.leaderboard import DIVISIONS, DivisionName
from lm_basics.leaderboard.divisions import RECIPE_NAME, EntryRecipe
from lm_basics.optim import AdamWConfig, MuonConfig, WarmupStableDecaySchedule
from lm_basics.training import StepReport, TrainingConfig
from lm_basics.training.progress import TrainingProgress
from lm_shared.command_options import PATH, Least, There, with_recipes
from lm_shared.config import DeviceName, load_config
from lm_shared.files import claim_folder
from lm_shared.leaderboard.commands import (
    EXPORT,
    MAKE_TABLE,
    Export,
    MakeTable,
    Verify,
    make_table,
    require_kept,
    verification_table,
)
from lm_shared.leaderboard.entry import SUBMISSION_NAME, VERIFICATION_NAME
from lm_shared.wording import changed, wrote

if TYPE_CHECKING:
    from lm_basics.leaderboard import DivisionData, TrainingDivision


@dataclass(frozen=True, kw_only=True, slots=True)
class Enter:
    """Train by a division's rules and write an entry."""

    output: Path
    """Folder of the entry; the same command again goes on."""
    name: str = "unnamed"
    """What the table calls the entry."""
    authors: str = "anonymous"
    """Who made it."""
    description: str = ""
    """What is in it, in a sentence or two."""
    data: Annotated[Path | None, PATH, There()] = None
    """Folder with train.bin, validation.bin and tokenizer; the laptop's is made where none is
    given."""
    device: DeviceName = "auto"
    """Where to train."""
    recipe: Annotated[ModelRecipe, tyro.conf.arg(name="")]
    """Model and training."""
    vocab_size: int
    """Tokens of the vocabulary; OpenWebText's is given by its data."""
    division: tyro.conf.Suppress[DivisionName]
    """Which rules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyTraining(Verify):
    """Measure an entry's score again, replay parts of its run, and apply every rule."""

    data: Annotated[Path | None, PATH, There()] = None
    """The verifier's own folder with train.bin, validation.bin and tokenizer; the laptop's is made
    where none is given."""
    steps: Annotated[int, Least(1)] = 10
    """Steps that are replayed from the start and from every checkpoint."""
    parts: Annotated[int, Least(1)] = 2
    """Of the eight parts of the run, how many are followed to their end: the last, and others that
    chance chooses."""
    full: bool = False
    """Whether to do the whole run again instead, from its seed."""
    device: DeviceName = "auto"
    """Where to compute."""


# An H200 does 10,700 such steps in 90 minutes, with 38% of its peak. An H100 computes as fast but
# has slower memory, and validations take their time.
_OPENWEBTEXT = ModelRecipe(
    training=TrainingConfig(
        steps=8_800,
        batch_size=512,
        micro_batch_size=64,
        optimizer=MuonConfig(others=AdamWConfig(lr=0.0075, weight_decay=0.0)),
        schedule=WarmupStableDecaySchedule(),
        dtype="bfloat16",
        validate_every=500,
    ),
    d_model=768,
    num_layers=12,
    num_heads=6,
    context_length=512,
    compile=True,
)
_LAPTOP = ModelRecipe(
    training=TrainingConfig(
        # A machine like ours took 240 s of 300; its speed varies by a fifth.
        steps=2_150,
        batch_size=8,
        optimizer=MuonConfig(momentum=0.9, others=AdamWConfig(lr=0.03, weight_decay=0.0)),
        schedule=WarmupStableDecaySchedule(
            warmup_fraction=0.02, decay_fraction=0.5, decay="linear"
        ),
        dtype="float32",
        validate_every=400,
    ),
    d_model=128,
    num_layers=2,
    num_heads=2,
    context_length=128,
    embedding_std=0.3,
    compile=True,
)


def _enter_with(division: DivisionName, recipe: ModelRecipe, vocab_size: int) -> Enter:
    output = Path(f"runs/entry-{division}")
    return Enter(output=output, recipe=recipe, vocab_size=vocab_size, division=division)


# Not measured on a B200: half of the time on a GPU of twice the speed.
BEST_RECIPES: dict[DivisionName, Enter] = {
    "laptop": _enter_with("laptop", _LAPTOP, 4_096),
    "openwebtext": _enter_with("openwebtext", _OPENWEBTEXT, 32_000),
    "openwebtext-b200": _enter_with("openwebtext-b200", _OPENWEBTEXT, 32_000),
}
"""For each division our best, as far as our ablations justify it."""

Action = Enter | VerifyTraining | Export | MakeTable

ACTIONS: dict[str, tuple[str, Action]] = {
    **{name: (f"Enter: {DIVISIONS[name].title}", entry) for name, entry in BEST_RECIPES.items()},
    "verify": (
        "Measure an entry's score again, replay parts of its run, and apply every rule.",
        VerifyTraining(),
    ),
    "export": EXPORT,
    "table": MAKE_TABLE,
}


def leaderboard(action: Action) -> None:
    """Enter a division of the leaderboard, verify an entry, export it, or make the table.

    Args:
        action: What to do.
    """
    from lm_basics.leaderboard import export_entry

    match action:
        case Enter():
            _enter(action)
        case VerifyTraining():
            _verify(action)
        case Export():
            export_entry(action.entry, action.output, overwrite=action.overwrite)
            print(f"{wrote(action.output)}\nnext, in that folder: uv run main.py")
        case MakeTable():
            print(make_table(action, DIVISIONS.values()))


def _enter(action: Enter) -> None:
    division, training = DIVISIONS[action.division], action.recipe.training
    _require_data(division, action.data)
    if (training.checkpoint_every, training.keep_checkpoints) != (None, 1):
        raise ValueError(
            "entries keep eight checkpoints for the verifier: leave out "
            "--keep-checkpoints and --checkpoint-every"
        )
    # An entry that is there goes on; what is not one is left alone.
    claim_folder(
        action.output,
        "an entry",
        parts=("run", "model"),
        markers=[RECIPE_NAME],
        contents=("curve.svg", SUBMISSION_NAME, VERIFICATION_NAME),
        overwrite=True,
    )
    from lm_basics.accounting import training_flops_per_token
    from lm_basics.commands.training_watch import training_display
    from lm_basics.leaderboard import run_entry, with_milestones
    from lm_shared.leaderboard import About

    about = About(name=action.name, authors=action.authors, description=action.description)
    with _division_data(division, action.data, action.vocab_size) as data:
        model, training = action.recipe.resolve(data.train.vocab_size)
        recipe = EntryRecipe(
            model=model, training=with_milestones(training), compile=action.recipe.compile
        )
        progress = TrainingProgress(
            flops_per_token=training_flops_per_token(model, model.context_length)
        )
        with training_display() as display:

            def on_step(report: StepReport) -> None:
                display.show_numbers(progress.add(report))

            submission = run_entry(
                division,
                recipe,
                data,
                action.output,
                about=about,
                device=action.device,
                on_step=on_step,
            )
    limit_s = division.time_limit_s
    print(f"{submission.score:.4f} {division.score}, {submission.wall_s:.1f} of {limit_s:.0f} s")
    if submission.wall_s > limit_s:
        print("too slow for this division: choose fewer --steps or a smaller model")
    how = changed(("--data", action.data, None))
    print(wrote(action.output, then=("basics", "leaderboard", "verify", action.output, *how)))


def _verify(action: VerifyTraining) -> None:
    from rich.console import Console

    from lm_shared.display import progress
    from lm_shared.leaderboard import division_of

    division = division_of(action.entry, DIVISIONS.values())
    _require_data(division, action.data)
    recipe = load_config(EntryRecipe, action.entry / RECIPE_NAME)
    from lm_basics.leaderboard import verify_entry

    with (
        _division_data(division, action.data, recipe.model.vocab_size) as data,
        progress(counted=["replaying"]) as report,
    ):
        # Where in the run it is: what is not followed is passed over.
        verification = verify_entry(
            action.entry,
            data,
            num_steps=action.steps,
            num_parts=action.parts,
            full=action.full,
            device=action.device,
            on_step=lambda told: report(
                "replaying", told.step, told.steps, f"loss {told.loss:.4f}"
            ),
        )
    Console().print(verification_table(verification))
    require_kept(verification)
    print("the entry keeps every rule that could be judged here")


def _require_data(division: "TrainingDivision", folder: Path | None) -> None:
    if folder is None and not division.has_default_corpus:
        raise ValueError(
            f"the division {division.name} needs --data FOLDER with train.bin, validation.bin and "
            "tokenizer; the README of lm-basics says how they are made"
        )


@contextmanager
def _division_data(
    division: "TrainingDivision", folder: Path | None, vocab_size: int
) -> "Iterator[DivisionData]":
    """Open the data of a folder, or make the laptop's in a folder that goes away again."""
    from lm_basics.leaderboard import make_laptop_data, open_division_data

    if folder is not None:
        data = open_division_data(folder, division)
        if division.has_default_corpus and data.tokenizer.vocab_size != vocab_size:
            raise ValueError(
                f"the tokens in {folder} are of a vocabulary of {data.tokenizer.vocab_size:,}, "
                f"asked for is one of {vocab_size:,}"
            )
        yield data
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield make_laptop_data(Path(temporary) / "data", vocab_size=vocab_size)


take_part = with_recipes(leaderboard, ACTIONS, kind="action or division")
"""``basics leaderboard``: an action by its name."""
