"""Optimizers, learning-rate schedules and gradient clipping."""

from .adamw import AdamW as AdamW, Implementation as Implementation
from .build import build_optimizer as build_optimizer
from .clipping import clip_gradients as clip_gradients, gradient_norm as gradient_norm
from .config import (
    AdamWConfig as AdamWConfig,
    MuonConfig as MuonConfig,
    OptimizerConfig as OptimizerConfig,
    SGDConfig as SGDConfig,
    SOAPConfig as SOAPConfig,
)
from .muon import Muon as Muon
from .schedules import (
    ConstantSchedule as ConstantSchedule,
    CosineSchedule as CosineSchedule,
    InverseSqrtSchedule as InverseSqrtSchedule,
    ScheduleConfig as ScheduleConfig,
    WarmupStableDecaySchedule as WarmupStableDecaySchedule,
    get_lr_cosine_schedule as get_lr_cosine_schedule,
)
from .sgd import SGD as SGD
from .soap import SOAP as SOAP
