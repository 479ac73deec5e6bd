"""From a model that continues text to one that answers, from scratch."""

from .config import (
    DPOConfig as DPOConfig,
    EvaluationConfig as EvaluationConfig,
    GRPOConfig as GRPOConfig,
    SFTConfig as SFTConfig,
)
from .dpo import DPOResult as DPOResult, train_dpo as train_dpo
from .evaluation import Evaluation as Evaluation, evaluate_reward as evaluate_reward
from .examples import Example as Example, PreferencePair as PreferencePair
from .recipes import LAPTOP as LAPTOP, SMOKE as SMOKE, AlignmentRecipe as AlignmentRecipe
from .rl.grpo import GRPOResult as GRPOResult, train_grpo as train_grpo
from .sft import SFTResult as SFTResult, train_sft as train_sft
from .tasks import (
    ExtremumTask as ExtremumTask,
    SortTask as SortTask,
    SumTask as SumTask,
    TaskSplit as TaskSplit,
    split_task as split_task,
)
from .templates import ChatTemplate as ChatTemplate, Message as Message
from .verifiers import (
    ExactAnswer as ExactAnswer,
    Reward as Reward,
    RewardFunction as RewardFunction,
)
