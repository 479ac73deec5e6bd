"""From a model that continues text to one that answers, from scratch.

``sft.train_sft`` imitates answers, ``rl.grpo.train_grpo`` learns from the verdicts of a verifier on
the model's own answers, and ``evaluation.evaluate_reward`` measures on held-out questions.
"""

from lm_alignment.evaluation import Evaluation, EvaluationConfig, evaluate_reward
from lm_alignment.examples import Example
from lm_alignment.recipes import LAPTOP, SMOKE, AlignmentRecipe
from lm_alignment.rl.grpo import GRPOResult, train_grpo
from lm_alignment.rl.grpo_config import GRPOConfig
from lm_alignment.sft import SFTConfig, SFTResult, train_sft
from lm_alignment.tasks import ExtremumTask, SortTask, SumTask, TaskSplit, split_task
from lm_alignment.templates import ChatTemplate, Message
from lm_alignment.verifiers.exact import ExactAnswer
from lm_alignment.verifiers.reward import Reward, RewardFunction

__all__ = [
    "LAPTOP",
    "SMOKE",
    "AlignmentRecipe",
    "ChatTemplate",
    "Evaluation",
    "EvaluationConfig",
    "ExactAnswer",
    "Example",
    "ExtremumTask",
    "GRPOConfig",
    "GRPOResult",
    "Message",
    "Reward",
    "RewardFunction",
    "SFTConfig",
    "SFTResult",
    "SortTask",
    "SumTask",
    "TaskSplit",
    "evaluate_reward",
    "split_task",
    "train_grpo",
    "train_sft",
]
