"""Budgets, scaling laws and planning, from scratch.

Figures are not imported here: they need matplotlib.
"""

from lm_scaling.backends import Backend, ReplayBackend, SimulatorBackend, TrainerBackend
from lm_scaling.experiment import (
    ExperimentConfig,
    ExperimentResult,
    effective_parameters,
    flops_per_token,
)
from lm_scaling.laws.isoflop import fit_isoflop
from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.parametric_fit import fit_parametric
from lm_scaling.laws.points import ScalingPoint, group_by_budget, read_points, write_points
from lm_scaling.laws.small_sample import LawPrior, fit_small_sample
from lm_scaling.laws.uncertainty import bootstrap_laws, percentile_interval
from lm_scaling.planner import Candidate, Plan, plan
from lm_scaling.sweep import isoflop_experiments, run_sweep

__all__ = [
    "Backend",
    "Candidate",
    "ExperimentConfig",
    "ExperimentResult",
    "LawPrior",
    "ParametricLaw",
    "Plan",
    "ReplayBackend",
    "ScalingPoint",
    "SimulatorBackend",
    "TrainerBackend",
    "bootstrap_laws",
    "effective_parameters",
    "fit_isoflop",
    "fit_parametric",
    "fit_small_sample",
    "flops_per_token",
    "group_by_budget",
    "isoflop_experiments",
    "percentile_interval",
    "plan",
    "read_points",
    "run_sweep",
    "write_points",
]
