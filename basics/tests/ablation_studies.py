"""A base that trains in a moment, variants of it, and runs as if they had been done."""

from dataclasses import replace

from lm_basics.ablation import Arm, Study
from lm_basics.ablation.results import CurvePoint, Outcome
from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamWConfig
from lm_basics.training import TrainingConfig

VOCAB = 30
MODEL = uniform_transformer(
    vocab_size=VOCAB, context_length=8, d_model=24, num_layers=1, num_heads=2, d_ff=64
)
TRAINING = TrainingConfig(steps=12, batch_size=4, optimizer=AdamWConfig(lr=0.01), dtype="float32")
BASE = Arm(name="base", model=MODEL, training=TRAINING)
SLOW = replace(BASE, name="slow", training=replace(TRAINING, optimizer=AdamWConfig(lr=1e-5)))
# A step of this size leaves no finite number.
WILD = replace(
    BASE,
    name="wild",
    training=replace(TRAINING, optimizer=AdamWConfig(lr=1e38), max_grad_norm=1e30),
)


def study_of(*variants: Arm, base: Arm = BASE) -> Study:
    return Study(name="test", question="Which?", base=base, variants=variants, num_validations=3)


def outcome(arm: str, seed: int, loss: float | None) -> Outcome:
    return Outcome(
        arm=arm,
        seed=seed,
        identity="",
        loss=loss,
        bits_per_byte=loss,
        failure="the loss is nan" if loss is None else None,
        elapsed_s=1.0,
        curve=() if loss is None else (CurvePoint(step=12, loss=loss),),
    )
