"""``basics train``: train a transformer on a token file."""

from dataclasses import dataclass
from pathlib import Path

from lm_basics.export import save_model
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig
from lm_basics.tokenizer import open_token_file
from lm_basics.training import TrainingConfig, evaluate_loss, train
from lm_basics.transformer import TransformerLM
from lm_shared.command_line import with_recipes
from lm_shared.display import progress
from lm_shared.tensors import choose_device, require_determinism, seed_everything


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRecipe:
    """A model and its training; the vocabulary comes from the token file."""

    training: TrainingConfig
    """The run's settings."""
    d_model: int = 256
    """Width."""
    num_layers: int = 4
    """Blocks."""
    num_heads: int = 4
    """Heads."""
    context_length: int = 256
    """Positions."""

    def model(self, vocab_size: int) -> TransformerConfig:
        """Return the shape of the model."""
        return uniform_transformer(
            vocab_size=vocab_size,
            context_length=self.context_length,
            d_model=self.d_model,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            qk_norm=True,
            zero_init_residual=True,
        )


_MUON = MuonConfig(others=AdamWConfig(lr=0.015, weight_decay=0.0))

RECIPES = {
    "tiny": (
        "Seconds on a CPU: to see that everything works.",
        TrainRecipe(
            training=TrainingConfig(steps=50, batch_size=4, optimizer=_MUON),
            d_model=64,
            num_layers=2,
            num_heads=2,
            context_length=64,
        ),
    ),
    "default": (
        "Minutes on a CPU: 5.3M parameters at a vocabulary of 4,096.",
        TrainRecipe(
            training=TrainingConfig(
                steps=1_000, batch_size=8, optimizer=_MUON, checkpoint_every=50, validate_every=100
            )
        ),
    ),
}


def train_model(
    recipe: TrainRecipe, *, tokens: Path, output: Path, validation: Path | None = None
) -> None:
    """Train, resume where an interrupted run stopped, and export the model.

    Args:
        recipe: Model and settings.
        tokens: Token file to train on, as ``basics encode`` writes it.
        output: Run folder; the exported model goes into its folder ``model``.
        validation: Token file to measure the loss on.
    """
    data = open_token_file(tokens)
    held_out = None if validation is None else open_token_file(validation)
    if held_out is not None and held_out.vocab_hash != data.vocab_hash:
        raise ValueError(f"{tokens} and {validation} come from different tokenizers")
    require_determinism()
    seed_everything(recipe.training.seed)
    model = TransformerLM(recipe.model(data.vocab_size)).to(choose_device())

    def validate(model: TransformerLM) -> dict[str, float]:
        if held_out is None:
            return {}
        loss = evaluate_loss(model, held_out.tokens, first_context=int(data.tokens[-1]))
        return {"val_loss": loss.nats_per_token}

    with progress("train", recipe.training.steps) as advance:
        result = train(
            model,
            data.tokens,
            recipe.training,
            folder=output,
            validate=validate,
            on_step=lambda *_: advance(),
        )
    save_model(model, output / "model")
    print(f"{result.steps} steps, {result.tokens} tokens, {result.elapsed_s:.1f} s")
    print(f"training loss {result.final_loss:.4f} nats per token")
    for name, value in result.validation.items():
        print(f"{name} {value:.4f}")
    print(f"wrote {output / 'model'}")


train_by_recipe = with_recipes(train_model, RECIPES)
"""``basics train``: a recipe by its name, and the options of ``train_model``."""
