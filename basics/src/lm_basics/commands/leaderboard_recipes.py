"""Our best recipe for each division of the leaderboard, as far as our ablations justify it."""

from dataclasses import dataclass

from lm_basics.commands.train_recipes import ModelRecipe
from lm_basics.leaderboard.divisions import DivisionName
from lm_basics.optim import AdamWConfig, MuonConfig, WarmupStableDecaySchedule
from lm_basics.training import TrainingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class BestRecipe:
    """Model, training and vocabulary."""

    recipe: ModelRecipe
    """Model and training."""
    vocab_size: int
    """Tokens of the vocabulary."""


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

BEST_RECIPES: dict[DivisionName, BestRecipe] = {
    "laptop": BestRecipe(
        recipe=ModelRecipe(
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
        ),
        vocab_size=4_096,
    ),
    "openwebtext": BestRecipe(recipe=_OPENWEBTEXT, vocab_size=32_000),
    # Not measured: half of the time on a GPU of twice the speed.
    "openwebtext-b200": BestRecipe(recipe=_OPENWEBTEXT, vocab_size=32_000),
}
"""For each division what ``basics leaderboard`` runs."""
