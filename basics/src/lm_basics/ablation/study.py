"""A study: a base, variants, steps at equal budgets; and the studies that come with the package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lm_basics.accounting import training_flops_per_token
from lm_basics.model_config import (
    BlockConfig,
    MLPConfig,
    NoPosition,
    TransformerConfig,
    uniform_transformer,
)
from lm_basics.optim import (
    AdamWConfig,
    CosineSchedule,
    MuonConfig,
    OptimizerConfig,
    SOAPConfig,
)
from lm_basics.training import TrainingConfig
from lm_shared.config import check_choice

Budget = Literal["flops", "tokens"]
"""What variants have in common with the base: FLOPs of the matrix products, or tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One thing that is compared: the base or a variant."""

    name: str
    """Of its folder, and in tables; small letters, digits and dashes."""
    model: TransformerConfig
    """The model."""
    training: TrainingConfig
    """Its training; a study sets seed, steps and how often is validated and saved."""

    def __post_init__(self) -> None:
        if not self.name or set(self.name) - set("abcdefghijklmnopqrstuvwxyz0123456789-."):
            raise ValueError(
                f"a name consists of small letters, digits, dots and dashes, got {self.name!r}"
            )

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step."""
        return self.training.batch_size * self.model.context_length

    @property
    def flops_per_step(self) -> int:
        """FLOPs of one step's matrix products; the optimizer's own are not counted."""
        per_token = training_flops_per_token(self.model, self.model.context_length)
        return self.tokens_per_step * per_token

    @property
    def flops(self) -> int:
        """FLOPs of the whole training."""
        return self.flops_per_step * self.training.steps

    @property
    def tokens(self) -> int:
        """Tokens of the whole training."""
        return self.tokens_per_step * self.training.steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Variants against a base."""

    name: str
    """Such as ``norm``."""
    question: str
    """What it asks, in a sentence."""
    base: Arm
    """What all variants are compared with."""
    variants: tuple[Arm, ...]
    """What differs from it."""
    budget: Budget = "flops"
    """What the variants have in common with the base."""
    num_validations: int = 8
    """Points of a learning curve."""

    def __post_init__(self) -> None:
        check_choice("budget", self.budget, Budget)
        names = [self.base.name, *(one.name for one in self.variants)]
        if not self.variants or len(set(names)) < len(names):
            raise ValueError(
                f"expected a base and variants with different names, got {names}: is the base too "
                "small to be varied?"
            )
        if self.num_validations < 1:
            raise ValueError(f"num_validations must be positive, got {self.num_validations}")

    def arms(self) -> list[Arm]:
        """Return base and variants with their steps set."""
        return [self._with_steps(one) for one in (self.base, *self.variants)]

    def _with_steps(self, arm: Arm) -> Arm:
        steps = _matching_steps(self.base, arm, self.budget)
        every = -(-steps // self.num_validations)
        training = replace(arm.training, steps=steps, validate_every=every, checkpoint_every=every)
        return replace(arm, training=training)


def _matching_steps(base: Arm, arm: Arm, budget: Budget) -> int:
    """Return the number of steps whose budget is nearest to the base's: within half a step.

    Raises:
        ValueError: half a step costs more than the whole base.
    """
    total, per_step = (
        (base.flops, arm.flops_per_step)
        if budget == "flops"
        else (base.tokens, arm.tokens_per_step)
    )
    steps = (2 * total + per_step) // (2 * per_step)
    if steps < 1:
        raise ValueError(
            f"{arm.name}: one step needs {per_step:.3g} {budget}, the whole base only {total:.3g}"
        )
    return steps


StudyName = Literal["norm", "position", "feedforward", "learning-rate", "batch-size", "optimizer"]

LOWER_RATE = 1 / 4
"""What a model without norms gets as a second chance, times the base's rate."""
RATE_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 2, 4, 8, 32)
BATCH_FACTORS = (1 / 8, 1 / 4, 1 / 2, 2, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseRecipe:
    """The base of the shipped studies, the course's model in small.

    With ``d_model`` a multiple of 96, 8/3 of it is a multiple of 64 and a gated feed-forward layer
    has exactly the parameters of an ungated one of 4 times ``d_model``.
    """

    d_model: int = 96
    """Width."""
    num_layers: int = 4
    """Blocks."""
    num_heads: int = 3
    """Heads."""
    context_length: int = 128
    """Positions."""
    vocab_size: int = 2_048
    """Tokens of the tokenizer that is trained for the study."""
    steps: int = 160
    """Steps of the base; variants get as many as the same budget pays."""
    batch_size: int = 16
    """Sequences a step."""
    lr: float = 1e-2
    """Peak rate of AdamW."""

    def arm(self) -> Arm:
        """Return model and training."""
        model = uniform_transformer(
            vocab_size=self.vocab_size,
            context_length=self.context_length,
            d_model=self.d_model,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
        )
        training = TrainingConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            optimizer=AdamWConfig(lr=self.lr),
            schedule=CosineSchedule(warmup_fraction=0.1),
            # Not "auto": numbers of one machine are to mean the same on another.
            dtype="float32",
        )
        return Arm(name="base", model=model, training=training)


def shipped_study(name: StudyName, recipe: BaseRecipe, *, budget: Budget = "flops") -> Study:
    """Return a study by its name.

    Raises:
        ValueError: there is no such study.
    """
    check_choice("study", name, StudyName)
    base = recipe.arm()
    _, question, variants = STUDIES[name]
    return Study(
        name=name, question=question, base=base, variants=tuple(variants(base)), budget=budget
    )


def _norm_variants(base: Arm) -> list[Arm]:
    post_norm, no_norm = (
        _with_blocks(base, name, norm=placement)
        for name, placement in (("post-norm", "post"), ("no-norm", "none"))
    )
    # Of post-norm, too: the one behind the last sum stands right before the head.
    post_norm, no_norm = (
        replace(one, model=replace(one.model, final_norm=False)) for one in (post_norm, no_norm)
    )
    return [
        post_norm,
        no_norm,
        replace(_with_rate(no_norm, LOWER_RATE), name="no-norm-lower-lr"),
    ]


def _position_variants(base: Arm) -> list[Arm]:
    attention = replace(base.model.block(0).attention, position=NoPosition())
    return [_with_blocks(base, "nope", attention=attention)]


def _feedforward_variants(base: Arm) -> list[Arm]:
    width = 4 * base.model.d_model
    return [_with_blocks(base, "silu", feedforward=MLPConfig(d_ff=width, activation="silu"))]


def _rate_variants(base: Arm) -> list[Arm]:
    return [replace(_with_rate(base, factor), name=f"lr-{factor:g}x") for factor in RATE_FACTORS]


def _batch_variants(base: Arm) -> list[Arm]:
    """Scale Adam's rate with the root of the batch (Malladi et al., 2022)."""
    arms = []
    for factor in BATCH_FACTORS:
        size = max(1, round(base.training.batch_size * factor))
        scaled = _with_rate(base, (size / base.training.batch_size) ** 0.5)
        training = replace(scaled.training, batch_size=size)
        arms.append(replace(scaled, name=f"batch-{size}", training=training))
    return arms


def _optimizer_variants(base: Arm) -> list[Arm]:
    adamw = base.training.optimizer
    if not isinstance(adamw, AdamWConfig):
        raise TypeError(f"expected a base with AdamW, got {type(adamw).__name__}")
    configs: dict[str, OptimizerConfig] = {
        "muon": MuonConfig(others=adamw),
        # Adam in other coordinates: the rate that is tuned for Adam is the fair one.
        "soap": SOAPConfig(lr=adamw.lr, others=adamw),
    }
    return [
        replace(base, name=name, training=replace(base.training, optimizer=config))
        for name, config in configs.items()
    ]


def _with_blocks(base: Arm, name: str, **changes: Any) -> Arm:
    """Return the base with fields of all blocks replaced."""
    blocks: tuple[BlockConfig, ...] = tuple(
        replace(block, **changes) for block in base.model.pattern
    )
    model: TransformerConfig = replace(base.model, pattern=blocks)
    return replace(base, name=name, model=model)


def _with_rate(base: Arm, factor: float) -> Arm:
    optimizer = base.training.optimizer
    if not isinstance(optimizer, AdamWConfig):
        raise TypeError(f"expected a base with AdamW, got {type(optimizer).__name__}")
    scaled = replace(optimizer, lr=factor * optimizer.lr)
    return replace(base, training=replace(base.training, optimizer=scaled))


STUDIES: Mapping[StudyName, tuple[str, str, Callable[[Arm], list[Arm]]]] = {
    "norm": (
        "Norms before the branches, behind the sums, or nowhere.",
        "What do the norms of a block do, and where should they stand?",
        _norm_variants,
    ),
    "position": (
        "Rotary positions, or none.",
        "Does a causal model need to be told positions?",
        _position_variants,
    ),
    "feedforward": (
        "A gated feed-forward layer, or SiLU alone at equal size.",
        "Is the gate of the feed-forward layer worth its third matrix?",
        _feedforward_variants,
    ),
    "learning-rate": (
        "Peak learning rates from a sixteenth to 32 times the base's.",
        "Which peak rate is best, and where does training diverge?",
        _rate_variants,
    ),
    "batch-size": (
        "Batches from an eighth to four times the base's, the rate scaled by the root.",
        "How large should a batch be at equal FLOPs?",
        _batch_variants,
    ),
    "optimizer": (
        "AdamW, Muon at its own rate, and SOAP at AdamW's.",
        "Which optimizer makes most of the same FLOPs?",
        _optimizer_variants,
    ),
}
"""For each name a line of help, the question, and the variants of a base."""
