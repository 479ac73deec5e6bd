"""The recipes of ``basics train``: complete settings under a name."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from lm_basics.depth_dial import TOKENS_PER_PARAMETER, scale_to_depth
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig
from lm_basics.training import TrainingConfig
from lm_basics.training.team import StrategyName


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRecipe:
    """A model and its training; the vocabulary comes from the tokens."""

    # No prefix: its fields are options of their own, such as --steps and --optimizer.lr.
    training: Annotated[TrainingConfig, tyro.conf.arg(name="")]
    """The run's settings."""
    d_model: int = 256
    """Width."""
    num_layers: int = 4
    """Blocks."""
    num_heads: int = 4
    """Heads."""
    d_ff: int | None = None
    """Width of the feed-forward layers; None means 8/3 of d_model, to a multiple of 64."""
    context_length: int = 256
    """Positions."""
    qk_norm: bool = True
    """Whether queries and keys are normalized."""
    zero_init_residual: bool = True
    """Whether blocks start as the identity."""
    embedding_std: float | None = None
    """Standard deviation of the embedding at the start; None means 1."""
    compile: bool = False
    """Whether torch.compile traces the training step."""

    def resolve(self, vocab_size: int) -> tuple[TransformerConfig, TrainingConfig]:
        """Return the model and its training.

        Raises:
            ValueError: sizes that do not go together.
        """
        model = uniform_transformer(
            vocab_size=vocab_size,
            context_length=self.context_length,
            d_model=self.d_model,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            d_ff=self.d_ff,
            qk_norm=self.qk_norm,
            zero_init_residual=self.zero_init_residual,
            embedding_std=self.embedding_std,
        )
        return model, self.training


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRecipe(ModelRecipe):
    """What ``basics train`` runs."""

    default_corpus: bool = False
    """Whether to train on the default corpus where no token file is given."""
    strategy: StrategyName = "serial"
    """How the processes that torchrun starts share the work; serial trains in one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthRecipe:
    """A depth; sizes, learning rates, batch and length follow from it."""

    depth: int = 4
    """Blocks: the width is 64 times it, in heads of 64."""
    context_length: int = 256
    """Positions."""
    tokens_per_parameter: float = TOKENS_PER_PARAMETER
    """Training tokens for each parameter; --steps goes before it."""
    steps: int | None = None
    """Optimizer steps; None means what the tokens make."""
    batch_size: int | None = None
    """Sequences a step; None means what suits the compute."""
    micro_batch_size: int | None = None
    """Sequences a pass; None means the whole batch at once."""
    validate_every: int | None = None
    """Steps between validations; None means only after the last step."""
    checkpoint_every: int | None = 100
    """Steps between checkpoints; None means only after the last step."""
    seed: int = 0
    """Decides the first weights and the order of the data."""
    compile: bool = False
    """Whether torch.compile traces the training step."""
    default_corpus: bool = True
    """Whether to train on the default corpus where no token file is given."""
    strategy: StrategyName = "serial"
    """How the processes that torchrun starts share the work; serial trains in one."""

    def resolve(self, vocab_size: int) -> tuple[TransformerConfig, TrainingConfig]:
        """Return the model and its training; the rules are those of ``lm_basics.depth_dial``.

        Raises:
            ValueError: a number is not positive.
        """
        scaled = scale_to_depth(
            self.depth,
            vocab_size=vocab_size,
            context_length=self.context_length,
            tokens_per_parameter=self.tokens_per_parameter,
            batch_size=self.batch_size,
            steps=self.steps,
        )
        training = TrainingConfig(
            steps=scaled.steps,
            batch_size=scaled.batch_size,
            micro_batch_size=self.micro_batch_size,
            optimizer=scaled.optimizer,
            validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every,
            seed=self.seed,
        )
        return scaled.model, training


_MUON = MuonConfig(others=AdamWConfig(lr=0.015, weight_decay=0.0))


def _course() -> TrainRecipe:
    """Return the course's base configuration: 327,680,000 tokens."""
    return TrainRecipe(
        training=TrainingConfig(
            steps=10_000,
            batch_size=128,
            optimizer=AdamWConfig(lr=1e-3),
            checkpoint_every=500,
            validate_every=500,
        ),
        d_model=512,
        num_layers=4,
        num_heads=16,
        d_ff=1344,
        qk_norm=False,
        zero_init_residual=False,
    )


RECIPES: dict[str, tuple[str, Any]] = {
    "tiny": (
        "Seconds on a CPU: to see that everything works, on the default corpus unless --tokens.",
        TrainRecipe(
            training=TrainingConfig(steps=50, batch_size=4, optimizer=_MUON, checkpoint_every=10),
            d_model=64,
            num_layers=2,
            num_heads=2,
            context_length=64,
            default_corpus=True,
        ),
    ),
    "default": (
        "Up to half an hour on a CPU: 5.3M parameters; the default corpus if no tokens are given.",
        TrainRecipe(
            training=TrainingConfig(
                steps=1_000, batch_size=8, optimizer=_MUON, checkpoint_every=50, validate_every=100
            ),
            default_corpus=True,
        ),
    ),
    "depth": (
        "One dial: --depth decides sizes, learning rates, batch, and 20 tokens per parameter.",
        DepthRecipe(),
    ),
    "tinystories": (
        "The course's base model; TinyStories has a vocabulary of 10,000 there. For a GPU.",
        _course(),
    ),
    "openwebtext": (
        "The same model and steps; OpenWebText has a vocabulary of 32,000 there. For a GPU.",
        _course(),
    ),
    "h100": (
        "Hours on one H100: 1,024 wide, 16 blocks, 2.6 billion tokens, Muon, compiled bfloat16.",
        TrainRecipe(
            training=TrainingConfig(
                steps=20_000,
                batch_size=256,
                micro_batch_size=64,
                optimizer=MuonConfig(others=AdamWConfig(lr=0.0075, weight_decay=0.0)),
                dtype="bfloat16",
                checkpoint_every=500,
                validate_every=500,
            ),
            d_model=1024,
            num_layers=16,
            num_heads=8,
            context_length=512,
            compile=True,
        ),
    ),
}
"""Name -> (one line of help, settings)."""
