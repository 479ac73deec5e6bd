"""The sizes of the speedrun: everything that decides a result, as plain values."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from lm_alignment.recipes import AlignmentRecipe
from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_basics.optim import AdamWConfig, MuonConfig, WarmupStableDecaySchedule
from lm_basics.training import TrainingConfig
from lm_data.pipeline.steps import CurateConfig
from lm_data.sample_crawl.pages import SampleCrawlConfig
from lm_shared.config import DeviceName

SizeName = Literal["smoke", "laptop", "gpu"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A transformer up to its vocabulary."""

    d_model: int
    """Width."""
    num_layers: int
    """Blocks."""
    context_length: int = 256
    """Positions."""
    d_head: int = 64
    """Width of a head."""

    @property
    def name(self) -> str:
        """What plans call it."""
        return f"{self.d_model}x{self.num_layers}"

    def config(self, vocab_size: int) -> TransformerConfig:
        """Return the whole configuration."""
        return uniform_transformer(
            vocab_size=vocab_size,
            context_length=self.context_length,
            d_model=self.d_model,
            num_layers=self.num_layers,
            num_heads=max(1, self.d_model // self.d_head),
            qk_norm=True,
            zero_init_residual=True,
            embedding_std=0.3,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRule:
    """How any model of the sweep and the final one are trained, so that one law holds for all."""

    batch_size: int = 8
    """Sequences a step."""
    matrix_lr: float = 0.02
    """Peak rate of the hidden matrices under Muon."""
    table_lr: float = 0.03
    """Peak rate of embedding, head and gains under AdamW."""
    momentum: float = 0.9
    """Decay rate of Muon's momentum."""
    seed: int = 0
    """Initialization and order of the data."""

    def training(self, model: TransformerConfig, tokens: int) -> TrainingConfig:
        """Return the training of ``model`` on about ``tokens`` tokens."""
        others = AdamWConfig(lr=self.table_lr, betas=(0.9, 0.95), weight_decay=0.0)
        return TrainingConfig(
            steps=max(1, tokens // (self.batch_size * model.context_length)),
            batch_size=self.batch_size,
            optimizer=MuonConfig(lr=self.matrix_lr, momentum=self.momentum, others=others),
            schedule=WarmupStableDecaySchedule(
                warmup_fraction=0.02, decay_fraction=0.5, decay="linear"
            ),
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerRecipe:
    """The tokenizer."""

    vocab_size: int
    """Most tokens, the special ones included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRecipe:
    """The scaling study and the budget that it spends."""

    rule: TrainingRule
    """How models are trained."""
    sweep_shapes: tuple[Shape, ...]
    """Sizes of the sweep."""
    sweep_flops: tuple[float, ...]
    """Budgets of the sweep, each spent on every size."""
    candidates: tuple[Shape, ...]
    """Models to choose from."""
    budget_s: float
    """Seconds that the final run should take on the reference machine of its kind."""
    flops_per_s: dict[str, float]
    """Speed of the reference machines: two CPU cores without and with fast bfloat16, one GPU.

    Declared and not measured: a measured speed would make each run's plan another.
    """
    max_epochs: float = 4.0
    """Most passes over the training text."""
    validation_tokens: int = 32_768
    """Held-out tokens on which losses are predicted and compared."""
    device: DeviceName = "cpu"
    """Where to compute."""

    def budget_flops(self, kind: str) -> float:
        """Return the FLOPs that the reference machine of a kind does in the budget.

        Raises:
            ValueError: there is no such reference machine.
        """
        if kind not in self.flops_per_s:
            raise ValueError(f"no reference speed for {kind!r}, only for {list(self.flops_per_s)}")
        return self.budget_s * self.flops_per_s[kind]

    def shape(self, name: str) -> Shape:
        """Return the candidate that a plan calls ``name``."""
        return next(shape for shape in self.candidates if shape.name == name)


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainRecipe:
    """The final run, up to what the plan decides."""

    kernels: Literal["reference", "fused", "compiled"]
    """Implementation of the operations; compiling pays for itself after a minute of training."""
    validate_every: int
    """Steps between validations."""
    checkpoint_every: int
    """Steps between checkpoints: what a kill can cost."""
    device: DeviceName = "cpu"
    """Where to compute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRecipe:
    """What the base model is asked to do."""

    prompts: tuple[str, ...] = (
        "Fellow-Citizens of the Senate",
        "The state of the Union is",
        "Our relations with Great Britain",
        "I recommend that Congress",
    )
    """Beginnings to continue."""
    max_new_tokens: int = 60
    """Length of the continuations."""
    temperature: float = 0.8
    """Of the sampling."""
    seed: int = 0
    """Of the sampling."""
    device: DeviceName = "cpu"
    """Where to compute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignRecipe:
    """What is learned after pretraining, and how."""

    recipe: AlignmentRecipe
    """Task, fine-tuning, reinforcement learning and evaluation."""
    batch_size: int = 256
    """Sequences that the engine decodes at once."""
    seed: int = 0
    """Decides which problems are held out."""
    device: DeviceName = "cpu"
    """Where to compute."""

    def with_seed(self, seed: int) -> Self:
        """Return the recipe with every random choice decided by ``seed``."""
        recipe = replace(
            self.recipe,
            sft=replace(self.recipe.sft, seed=seed),
            grpo=replace(self.recipe.grpo, seed=seed),
            evaluation=replace(self.recipe.evaluation, seed=seed),
        )
        return replace(self, recipe=recipe, seed=seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingRecipe:
    """The questions that the finished model answers."""

    questions: tuple[str, ...] = (
        "Sort 8 3 5 1.",
        "Sort 2 9 4 7.",
        "Sort 6 1 9 3.",
        "Sort 7 5 2 8.",
        "Who are you?",
    )
    """The last one is none that it was trained for."""
    max_new_tokens: int = 16
    """Length of an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One size of the speedrun."""

    crawl: SampleCrawlConfig
    """Stage 1."""
    tokenizer: TokenizerRecipe
    """Stage 3."""
    plan: PlanRecipe
    """Stage 4."""
    pretrain: PretrainRecipe
    """Stage 5."""
    alignment: AlignRecipe
    """Stage 7."""
    curate: CurateConfig = field(default_factory=CurateConfig)
    """Stage 2."""
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
    """Stage 6."""
    serving: ServingRecipe = field(default_factory=ServingRecipe)
    """Stage 8."""

    def with_seed(self, seed: int) -> Self:
        """Return the recipe with every random choice decided by ``seed``."""
        return replace(
            self,
            crawl=replace(self.crawl, seed=seed),
            curate=replace(self.curate, split_seed=seed),
            plan=replace(self.plan, rule=replace(self.plan.rule, seed=seed)),
            evaluation=replace(self.evaluation, seed=seed),
            alignment=self.alignment.with_seed(seed),
        )
