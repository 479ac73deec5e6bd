"""Optimizers, learning-rate schedules and gradient clipping."""

from lm_basics.optim.adamw import AdamW, AdamWConfig
from lm_basics.optim.adamw_fast import Implementation
from lm_basics.optim.build import OptimizerConfig, build_optimizer
from lm_basics.optim.clipping import clip_gradients, gradient_norm
from lm_basics.optim.muon import Muon, MuonConfig
from lm_basics.optim.schedules import (
    ConstantSchedule,
    CosineSchedule,
    InverseSqrtSchedule,
    ScheduleConfig,
    WarmupStableDecaySchedule,
    get_lr_cosine_schedule,
)
from lm_basics.optim.sgd import SGD, SGDConfig
from lm_basics.optim.soap import SOAP, SOAPConfig

__all__ = [
    "SGD",
    "SOAP",
    "AdamW",
    "AdamWConfig",
    "ConstantSchedule",
    "CosineSchedule",
    "Implementation",
    "InverseSqrtSchedule",
    "Muon",
    "MuonConfig",
    "OptimizerConfig",
    "SGDConfig",
    "SOAPConfig",
    "ScheduleConfig",
    "WarmupStableDecaySchedule",
    "build_optimizer",
    "clip_gradients",
    "get_lr_cosine_schedule",
    "gradient_norm",
]
