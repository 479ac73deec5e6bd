"""Optimizers, learning-rate schedules and gradient clipping."""

from .adamw import AdamW as AdamW
from .build import build_optimizer as build_optimizer
from .config import (
    AdamWConfig as AdamWConfig,
    MuonConfig as MuonConfig,
    OptimizerConfig as OptimizerConfig,
    SGDConfig as SGDConfig,
    SOAPConfig as SOAPConfig,
)
from .muon import Muon as Muon
from .optimizer import (
    SGD as SGD,
    Implementation as Implementation,
    clip_gradients as clip_gradients,
    gradient_norm as gradient_norm,
)
from .schedules import (
    ConstantSchedule as ConstantSchedule,
    CosineSchedule as CosineSchedule,
    InverseSqrtSchedule as InverseSqrtSchedule,
    ScheduleConfig as ScheduleConfig,
    WarmupStableDecaySchedule as WarmupStableDecaySchedule,
    get_lr_cosine_schedule as get_lr_cosine_schedule,
)
from .soap import SOAP as SOAP
