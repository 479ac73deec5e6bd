"""Training: batches, checkpoints, the parallelism seam, evaluation and the loop."""

from lm_basics.training.batches import ShuffledWindows, get_batch
from lm_basics.training.checkpoint import load_checkpoint, save_checkpoint
from lm_basics.training.evaluation import evaluate_loss
from lm_basics.training.loop import TrainingConfig, TrainingResult, train
from lm_basics.training.step_report import StepReport
from lm_basics.training.strategy import SerialStrategy, Strategy

__all__ = [
    "SerialStrategy",
    "ShuffledWindows",
    "StepReport",
    "Strategy",
    "TrainingConfig",
    "TrainingResult",
    "evaluate_loss",
    "get_batch",
    "load_checkpoint",
    "save_checkpoint",
    "train",
]
