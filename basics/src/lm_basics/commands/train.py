"""``basics train``: train a transformer on a token file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.commands.tokenizer_folder import find_folder
from lm_basics.commands.wording import counted
from lm_basics.export import save_model
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig
from lm_basics.tokenizer import END_OF_TEXT, TokenFile, Tokenizer, open_token_file
from lm_basics.tokenizer.tokenizer_json import read_end_of_text
from lm_basics.training import StepReport, TrainingConfig, evaluate_loss, train
from lm_basics.transformer import TransformerLM
from lm_shared.command_line import with_recipes
from lm_shared.display import progress
from lm_shared.tensors import choose_device, require_determinism, seed_everything


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRecipe:
    """A model and its training; the vocabulary comes from the token file."""

    # No prefix: its fields are options of their own, such as --steps and --optimizer.lr.
    training: Annotated[TrainingConfig, tyro.conf.arg(name="")]
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
    recipe: TrainRecipe,
    *,
    tokens: Path,
    output: Path,
    validation: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: none)")
    ] = None,
    tokenizer: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: none)")
    ] = None,
) -> None:
    """Train, resume where an interrupted run stopped, and export the model.

    Args:
        recipe: Model and settings.
        tokens: Token file to train on, as ``basics encode`` writes it.
        output: Run folder; the exported model goes into its folder ``model``.
        validation: Token file to measure the loss on.
        tokenizer: Folder of the tokenizer that made the tokens, to be saved with the model.
    """
    data = open_token_file(tokens)
    encoder, end_of_text = _load_tokenizer(tokenizer, data)
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

    num_trained = 0
    with progress("train", recipe.training.steps) as advance:

        def count_step(_: StepReport) -> None:
            nonlocal num_trained
            num_trained += 1
            advance()

        result = train(
            model,
            data.tokens,
            recipe.training,
            folder=output,
            validate=validate,
            on_step=count_step,
        )
    save_model(model, output / "model", tokenizer=encoder, end_of_text=end_of_text)
    print(
        ("" if num_trained else "already finished: ")
        + f"{counted(result.steps, 'step')}, {counted(result.tokens, 'token')}, "
        f"{result.elapsed_s:.1f} s"
    )
    if 0 < num_trained < result.steps:
        print(f"of these, {counted(num_trained, 'step')} now, the others before")
    print(f"training loss {result.final_loss:.4f} nats per token")
    for name, value in result.validation.items():
        print(f"{name} {value:.4f}")
    print(f"wrote {output / 'model'}")


def _load_tokenizer(path: Path | None, data: TokenFile) -> tuple[Tokenizer | None, str]:
    """Return the tokenizer, after a check that it made the tokens, and its end-of-text token."""
    if path is None:
        return None, END_OF_TEXT
    folder = find_folder(path)
    encoder = Tokenizer.from_folder(folder)
    if encoder.vocab_hash != data.vocab_hash:
        raise ValueError(f"the tokenizer {path} is not the one that made {data.path}")
    return encoder, read_end_of_text(folder) or END_OF_TEXT


train_by_recipe = with_recipes(train_model, RECIPES)
"""``basics train``: a recipe by its name, and the options of ``train_model``."""
