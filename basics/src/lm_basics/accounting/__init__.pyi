from .account import Account as Account, AccountConfig as AccountConfig, account_for as account_for
from .cost import (
    InferenceCost as InferenceCost,
    TrainingBudget as TrainingBudget,
    TrainingCost as TrainingCost,
    inference_cost as inference_cost,
    training_cost as training_cost,
)
from .counts import (
    ForwardFlops as ForwardFlops,
    ParameterCounts as ParameterCounts,
    count_parameters as count_parameters,
    decode_flops as decode_flops,
    forward_flops as forward_flops,
    forward_flops_per_token as forward_flops_per_token,
    parameter_counts as parameter_counts,
    training_flops_per_sequence as training_flops_per_sequence,
    training_flops_per_token as training_flops_per_token,
)
from .memory import (
    ActivationBytes as ActivationBytes,
    StepConfig as StepConfig,
    TrainingMemory as TrainingMemory,
    activation_bytes as activation_bytes,
    kv_cache_bytes as kv_cache_bytes,
    largest_batch as largest_batch,
    optimizer_state_bytes as optimizer_state_bytes,
    training_memory as training_memory,
)
from .published import (
    PUBLISHED as PUBLISHED,
    PublishedModel as PublishedModel,
    find_model as find_model,
)
