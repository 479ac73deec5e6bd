"""Optimizers, learning-rate schedules and gradient clipping."""

from lm_basics.optim.adamw import AdamW, AdamWConfig
from lm_basics.optim.build import OptimizerConfig, build_optimizer
from lm_basics.optim.clipping import clip_gradients, gradient_norm
from lm_basics.optim.muon import Muon, MuonConfig
from lm_basics.optim.schedules import (
    ConstantSchedule,
    CosineSchedule,
    ScheduleConfig,
    get_lr_cosine_schedule,
)

__all__ = [
    "AdamW",
    "AdamWConfig",
    "ConstantSchedule",
    "CosineSchedule",
    "Muon",
    "MuonConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "build_optimizer",
    "clip_gradients",
    "get_lr_cosine_schedule",
    "gradient_norm",
]
