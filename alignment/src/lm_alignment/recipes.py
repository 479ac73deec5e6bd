"""Settings that work, measured: the whole alignment of a small model in two sizes."""

from dataclasses import dataclass, replace

from lm_alignment.config import DPOConfig, EvaluationConfig, GRPOConfig, SFTConfig
from lm_alignment.tasks import SortTask, TaskConfig
from lm_basics.optim.config import AdamWConfig
from lm_basics.optim.schedules import CosineSchedule


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignmentRecipe:
    """A task, and how a model is brought to solve it."""

    task: TaskConfig
    """Where the questions come from."""
    num_sft_examples: int
    """Training examples that fine-tuning imitates; reinforcement learning gets the others."""
    sft: SFTConfig
    """Fine-tuning."""
    grpo: GRPOConfig
    """Reinforcement learning."""
    evaluation: EvaluationConfig
    """Measurement on held-out questions."""

    def __post_init__(self) -> None:
        if self.num_sft_examples <= 0:
            raise ValueError(f"num_sft_examples must be positive, got {self.num_sft_examples}")


SMOKE = AlignmentRecipe(
    task=SortTask(num_digits=3),
    num_sft_examples=256,
    sft=SFTConfig(steps=10),
    grpo=GRPOConfig(steps=6, prompts_per_step=8),
    evaluation=EvaluationConfig(num_examples=64),
)
LAPTOP = AlignmentRecipe(
    task=SortTask(num_digits=4),
    num_sft_examples=2000,
    # exp(-5 * 0.35) = 0.17: of five tokens all right, enough successes to learn from.
    sft=SFTConfig(steps=100, batch_size=64, target_loss=0.35),
    grpo=GRPOConfig(
        steps=200,
        optimizer=AdamWConfig(lr=5e-4, weight_decay=0.0),
        schedule=CosineSchedule(warmup_fraction=0.05, final_fraction=0.1),
        checkpoint_every=25,
    ),
    evaluation=EvaluationConfig(num_examples=512),
)

RECIPES = {"smoke": SMOKE, "laptop": LAPTOP}
SFT_RECIPES = {
    "smoke": ("Seconds; shows that everything runs.", SMOKE.sft),
    "laptop": ("Teaches the format and a little of the task.", LAPTOP.sft),
}
GRPO_RECIPES = {
    "smoke": ("Seconds; shows that everything runs.", SMOKE.grpo),
    "laptop": ("About half a minute on two cores, after pretraining.", LAPTOP.grpo),
}
DPO_RECIPES = {
    "smoke": ("Seconds; shows that everything runs.", DPOConfig(steps=10)),
    "laptop": (
        "A minute or two for a small model.",
        DPOConfig(steps=100),
    ),
}
EVALUATION_RECIPES = {
    "sampled": ("Answers drawn at temperature 1.", LAPTOP.evaluation),
    "greedy": ("The most likely answers.", replace(LAPTOP.evaluation, temperature=0.0)),
}
