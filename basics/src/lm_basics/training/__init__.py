"""Training: data, checkpoints, the parallelism seam, evaluation and the loop."""

from lm_basics.training.batches import get_batch
from lm_basics.training.checkpoint import load_checkpoint, save_checkpoint
from lm_basics.training.checkpoint_folder import load_best_weights
from lm_basics.training.config import TrainingConfig
from lm_basics.training.data_order import RandomWindows, ShuffledEpochs, ShuffledWindows
from lm_basics.training.divergence import SkipStep, StopOnDivergence
from lm_basics.training.ema import WeightEMA
from lm_basics.training.evaluation import evaluate_loss
from lm_basics.training.loop import TrainingResult, train
from lm_basics.training.step_report import StepReport
from lm_basics.training.strategy import SerialStrategy, Strategy

__all__ = [
    "RandomWindows",
    "SerialStrategy",
    "ShuffledEpochs",
    "ShuffledWindows",
    "SkipStep",
    "StepReport",
    "StopOnDivergence",
    "Strategy",
    "TrainingConfig",
    "TrainingResult",
    "WeightEMA",
    "evaluate_loss",
    "get_batch",
    "load_best_weights",
    "load_checkpoint",
    "save_checkpoint",
    "train",
]
