"""The divisions of the leaderboard, their rules as numbers, and what an entry is made of.

The two on OpenWebText are the course's: least held-out loss of a vocabulary of 32,000 in 90 minutes
on one H100, or in 45 on one B200. The laptop's is ours, for everybody: fewest bits per byte on the
default corpus in five minutes on two cores.
"""

from dataclasses import dataclass, replace
from typing import Literal

from lm_basics.model_config import TransformerConfig
from lm_basics.training.config import TrainingConfig
from lm_shared.leaderboard import Division

DivisionName = Literal["laptop", "openwebtext", "openwebtext-b200"]

RECIPE_NAME = "recipe.json"
NUM_MILESTONES = 8
"""Checkpoints of a run that a verifier can replay from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingDivision(Division):
    """A division in which a model is trained; the lowest score on all held-out tokens wins."""

    name: DivisionName
    """Of the division."""
    score: Literal["bits per byte", "nats per token"]
    """What is compared."""
    vocab_size: int | None
    """Tokens of the vocabulary; None where scores do not depend on it."""
    has_default_corpus: bool = False
    """Whether the data is the default corpus, which everybody can make anew."""
    context_length: int = 512
    """Most tokens that a held-out token may be predicted from, its own window's beginning."""


DIVISIONS: dict[DivisionName, TrainingDivision] = {
    "laptop": TrainingDivision(
        name="laptop",
        title="Fewest bits per byte on the default corpus in 5 minutes on 2 cores.",
        time_limit_s=300,
        score="bits per byte",
        vocab_size=None,
        max_cores=2,
        gpu=None,
        has_default_corpus=True,
    ),
    "openwebtext": TrainingDivision(
        name="openwebtext",
        title="Least held-out loss on OpenWebText in 90 minutes on one H100.",
        time_limit_s=90 * 60,
        score="nats per token",
        vocab_size=32_000,
        max_cores=None,
        gpu="H100",
    ),
    "openwebtext-b200": TrainingDivision(
        name="openwebtext-b200",
        title="Least held-out loss on OpenWebText in 45 minutes on one B200.",
        time_limit_s=45 * 60,
        score="nats per token",
        vocab_size=32_000,
        max_cores=None,
        gpu="B200",
    ),
}
"""All divisions by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryRecipe:
    """All that decides a run but the data."""

    model: TransformerConfig
    """Shape."""
    training: TrainingConfig
    """Settings."""
    compile: bool = False
    """Whether ``torch.compile`` traces the training step."""


def with_milestones(training: TrainingConfig) -> TrainingConfig:
    """Return the training with evenly spread checkpoints, all kept."""
    every = max(1, -(-training.steps // NUM_MILESTONES))
    return replace(training, checkpoint_every=every, keep_checkpoints=NUM_MILESTONES)


def milestone_steps(training: TrainingConfig) -> list[int]:
    """Return the steps after which ``with_milestones`` keeps a checkpoint."""
    every = max(1, -(-training.steps // NUM_MILESTONES))
    return sorted({*range(every, training.steps, every), training.steps})


def check_recipe(recipe: EntryRecipe, division: TrainingDivision) -> None:
    """Refuse what the division's rules rule out before any time is spent.

    Raises:
        ValueError: the vocabulary is not of the division's size, or the checkpoints are not those
            that a verifier needs.
    """
    if recipe.training != with_milestones(recipe.training):
        raise ValueError(f"an entry keeps {NUM_MILESTONES} checkpoints, see with_milestones")
    if recipe.training.keep_best:
        raise ValueError("keep_best must be left out: an entry is judged by its last step")
    size = recipe.model.vocab_size
    if division.vocab_size is not None and size != division.vocab_size:
        raise ValueError(
            f"the model has a vocabulary of {size:,}, but the division {division.name} asks for "
            f"{division.vocab_size:,}"
        )
