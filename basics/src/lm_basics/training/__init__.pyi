"""Training: data, checkpoints, the parallelism seam, evaluation and the loop."""

from .checkpoints import (
    load_best_weights as load_best_weights,
    load_checkpoint as load_checkpoint,
    save_checkpoint as save_checkpoint,
)
from .config import (
    RandomWindows as RandomWindows,
    ShuffledEpochs as ShuffledEpochs,
    SkipStep as SkipStep,
    StopOnDivergence as StopOnDivergence,
    TrainingConfig as TrainingConfig,
)
from .data import ShuffledWindows as ShuffledWindows, get_batch as get_batch
from .evaluation import evaluate_loss as evaluate_loss
from .loop import TrainingResult as TrainingResult, WeightEMA as WeightEMA, train as train
from .progress import StepReport as StepReport
from .strategy import SerialStrategy as SerialStrategy, Strategy as Strategy
