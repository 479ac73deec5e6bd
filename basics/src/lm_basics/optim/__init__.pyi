"""Optimizers, learning-rate schedules and gradient clipping."""

from .adamw import AdamW as AdamW, AdamWConfig as AdamWConfig
from .adamw_fast import Implementation as Implementation
from .build import OptimizerConfig as OptimizerConfig, build_optimizer as build_optimizer
from .clipping import clip_gradients as clip_gradients, gradient_norm as gradient_norm
from .muon import Muon as Muon, MuonConfig as MuonConfig
from .schedules import (
    ConstantSchedule as ConstantSchedule,
    CosineSchedule as CosineSchedule,
    InverseSqrtSchedule as InverseSqrtSchedule,
    ScheduleConfig as ScheduleConfig,
    WarmupStableDecaySchedule as WarmupStableDecaySchedule,
    get_lr_cosine_schedule as get_lr_cosine_schedule,
)
from .sgd import SGD as SGD, SGDConfig as SGDConfig
from .soap import SOAP as SOAP, SOAPConfig as SOAPConfig
