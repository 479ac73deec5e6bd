from .backends import (
    Backend as Backend,
    ReplayBackend as ReplayBackend,
    SimulatorBackend as SimulatorBackend,
    TrainerBackend as TrainerBackend,
    run_sweep as run_sweep,
)
from .experiment import (
    ExperimentConfig as ExperimentConfig,
    ExperimentResult as ExperimentResult,
    effective_parameters as effective_parameters,
    flops_per_token as flops_per_token,
    isoflop_experiments as isoflop_experiments,
)
from .laws.isoflop import fit_isoflop as fit_isoflop
from .laws.parametric import ParametricLaw as ParametricLaw
from .laws.parametric_fit import (
    bootstrap_laws as bootstrap_laws,
    fit_parametric as fit_parametric,
)
from .laws.points import (
    ScalingPoint as ScalingPoint,
    group_by_budget as group_by_budget,
    read_points as read_points,
    write_points as write_points,
)
from .laws.small_sample import (
    LawPrior as LawPrior,
    fit_small_sample as fit_small_sample,
)
from .planner import Candidate as Candidate, Plan as Plan, plan as plan
