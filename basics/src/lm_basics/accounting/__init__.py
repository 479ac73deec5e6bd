"""What a transformer costs, worked out from its configuration alone.

Parameters, floating-point operations, memory, time and money. Only ``figures`` and ``page`` draw.
"""

from lm_basics.accounting.activations import ActivationBytes, StepConfig, activation_bytes
from lm_basics.accounting.cost import (
    InferenceCost,
    TrainingBudget,
    TrainingCost,
    inference_cost,
    training_cost,
)
from lm_basics.accounting.flops import (
    ForwardFlops,
    decode_flops,
    forward_flops,
    forward_flops_per_token,
    training_flops_per_sequence,
    training_flops_per_token,
)
from lm_basics.accounting.memory import (
    TrainingMemory,
    kv_cache_bytes,
    largest_batch,
    optimizer_state_bytes,
    training_memory,
)
from lm_basics.accounting.parameters import ParameterCounts, count_parameters, parameter_counts
from lm_basics.accounting.published import PUBLISHED, PublishedModel
from lm_basics.peak_flops import find_device, measure_cpu
from lm_shared.devices import DEVICES, Device

__all__ = [
    "DEVICES",
    "PUBLISHED",
    "ActivationBytes",
    "Device",
    "ForwardFlops",
    "InferenceCost",
    "ParameterCounts",
    "PublishedModel",
    "StepConfig",
    "TrainingBudget",
    "TrainingCost",
    "TrainingMemory",
    "activation_bytes",
    "count_parameters",
    "decode_flops",
    "find_device",
    "forward_flops",
    "forward_flops_per_token",
    "inference_cost",
    "kv_cache_bytes",
    "largest_batch",
    "measure_cpu",
    "optimizer_state_bytes",
    "parameter_counts",
    "training_cost",
    "training_flops_per_sequence",
    "training_flops_per_token",
    "training_memory",
]
