"""The three sizes of the speedrun."""

from dataclasses import replace

from lm_alignment import recipes as alignment
from lm_alignment.config import SFTConfig
from lm_basics.optim.config import AdamWConfig
from lm_data.sample_crawl.pages import SampleCrawlConfig
from pipeline.recipes import (
    AlignRecipe,
    PlanRecipe,
    PretrainRecipe,
    Recipe,
    ServingRecipe,
    Shape,
    SizeName,
    TokenizerRecipe,
    TrainingRule,
)

# What the reference machines do in training, all costs included: two cores of a server CPU from
# 2023 in float32, the same with matrix units for bfloat16, and one H100.
_FLOPS_PER_S = {"cpu": 1.4e11, "cpu-bfloat16": 2.5e11, "cuda": 1.5e14}

_SMOKE = Recipe(
    crawl=SampleCrawlConfig(
        num_messages=25, num_modules=6, num_foreign_pages=24, num_junk_pages=22
    ),
    tokenizer=TokenizerRecipe(vocab_size=1024),
    plan=PlanRecipe(
        rule=TrainingRule(batch_size=4),
        sweep_shapes=tuple(
            Shape(d_model=d, num_layers=n, context_length=64, d_head=16)
            for d, n in ((32, 1), (32, 2), (64, 2))
        ),
        sweep_flops=(1e10, 2e10),
        candidates=tuple(
            Shape(d_model=d, num_layers=2, context_length=64, d_head=16) for d in (64, 96, 128)
        ),
        budget_s=4,
        flops_per_s={"cpu": 5e10, "cpu-bfloat16": 5e10, "cuda": 5e10},
        validation_tokens=4_096,
    ),
    pretrain=PretrainRecipe(kernels="fused", validate_every=50, checkpoint_every=20),
    # Long enough to see that something is learned: most answers are right in the end.
    alignment=AlignRecipe(
        recipe=replace(
            alignment.SMOKE,
            sft=SFTConfig(steps=150, optimizer=AdamWConfig(lr=3e-3, weight_decay=0.0)),
        )
    ),
    serving=ServingRecipe(
        questions=("Sort 8 3 5.", "Sort 2 9 4.", "Sort 6 1 3.", "Sort 7 5 2.", "Who are you?")
    ),
)

_LAPTOP = Recipe(
    crawl=SampleCrawlConfig(),
    tokenizer=TokenizerRecipe(vocab_size=4096),
    plan=PlanRecipe(
        rule=TrainingRule(batch_size=8),
        sweep_shapes=(
            Shape(d_model=64, num_layers=2),
            Shape(d_model=96, num_layers=3),
            Shape(d_model=128, num_layers=4),
        ),
        sweep_flops=(3e11, 6e11, 1.2e12),
        # Shallower ones reach about the same loss, but two layers hardly learn to sort (stage 7).
        candidates=tuple(
            Shape(d_model=d, num_layers=n)
            for d, n in ((128, 3), (128, 4), (192, 3), (192, 4), (256, 4))
        ),
        # So that cores of half that speed end within ten minutes, all stages together.
        budget_s=150,
        flops_per_s=_FLOPS_PER_S,
    ),
    pretrain=PretrainRecipe(kernels="compiled", validate_every=500, checkpoint_every=100),
    alignment=AlignRecipe(recipe=alignment.LAPTOP),
)

_GPU = replace(
    _LAPTOP,
    plan=replace(
        _LAPTOP.plan,
        rule=TrainingRule(batch_size=32, table_lr=0.015),
        sweep_shapes=tuple(
            Shape(d_model=d, num_layers=n, context_length=512)
            for d, n in ((128, 2), (192, 4), (256, 4))
        ),
        sweep_flops=(5e12, 2e13),
        candidates=tuple(
            Shape(d_model=d, num_layers=n, context_length=512)
            for d, n in ((256, 4), (384, 6), (512, 8), (768, 12))
        ),
        budget_s=300,
        # The text is small: more than eight epochs of it teach next to nothing new.
        max_epochs=8.0,
        device="cuda",
    ),
    pretrain=replace(_LAPTOP.pretrain, device="cuda"),
    evaluation=replace(_LAPTOP.evaluation, device="cuda"),
    alignment=replace(_LAPTOP.alignment, device="cuda"),
)

RECIPES: dict[SizeName, Recipe] = {"smoke": _SMOKE, "laptop": _LAPTOP, "gpu": _GPU}
