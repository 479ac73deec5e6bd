"""What an entry is made of: a model, its training, and our own best recipe for each division."""

from dataclasses import dataclass, replace

from lm_basics.leaderboard.divisions import Division
from lm_basics.model_config import TransformerConfig
from lm_basics.nn.ops import COMPILED_OPS, REFERENCE_OPS
from lm_basics.training import TrainingConfig
from lm_basics.transformer import TransformerLM
from lm_shared.tensors import DeviceName, choose_device, require_determinism, seed_everything

RECIPE_NAME = "recipe.json"
NUM_MILESTONES = 8
"""Checkpoints of a run that a verifier can replay from."""


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


def build_model(recipe: EntryRecipe, device: DeviceName) -> TransformerLM:
    """Return the model as the run begins with it; the seed decides its weights."""
    chosen = choose_device(device)
    require_determinism()
    seed_everything(recipe.training.seed)
    ops = COMPILED_OPS if recipe.compile else REFERENCE_OPS
    return TransformerLM(recipe.model, ops=ops).to(chosen)


def check_recipe(recipe: EntryRecipe, division: Division) -> None:
    """Refuse what the division's rules rule out before any time is spent.

    Raises:
        ValueError: the vocabulary is not of the division's size, or the checkpoints are not those
            that a verifier needs.
    """
    if recipe.training != with_milestones(recipe.training):
        raise ValueError(f"an entry keeps {NUM_MILESTONES} checkpoints, see with_milestones")
    if recipe.training.keep_best:
        raise ValueError("keep_best: an entry is judged by its last step, not by its best")
    size = recipe.model.vocab_size
    if division.vocab_size is not None and size != division.vocab_size:
        raise ValueError(
            f"the model has a vocabulary of {size:,}, but the division {division.name} asks for "
            f"{division.vocab_size:,}"
        )
