"""Training: data, checkpoints, the parallelism seam, evaluation and the loop."""

from .batches import get_batch as get_batch
from .checkpoint import load_checkpoint as load_checkpoint, save_checkpoint as save_checkpoint
from .checkpoint_folder import load_best_weights as load_best_weights
from .config import TrainingConfig as TrainingConfig
from .data_order import (
    RandomWindows as RandomWindows,
    ShuffledEpochs as ShuffledEpochs,
    ShuffledWindows as ShuffledWindows,
)
from .divergence import SkipStep as SkipStep, StopOnDivergence as StopOnDivergence
from .ema import WeightEMA as WeightEMA
from .evaluation import evaluate_loss as evaluate_loss
from .loop import TrainingResult as TrainingResult, train as train
from .step_report import StepReport as StepReport
from .strategy import SerialStrategy as SerialStrategy, Strategy as Strategy
