"""The settings of a training run, and of nothing that computes: no torch is needed to read them."""

from dataclasses import dataclass, field
from typing import Literal

from lm_basics.model_config import TransformerConfig
from lm_basics.optim.config import AdamWConfig, OptimizerConfig
from lm_basics.optim.schedules import CosineSchedule, ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomWindows:
    """Windows from anywhere, drawn anew for each step (UniformWindows)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffledEpochs:
    """Every token once before any comes again (ShuffledWindows)."""


DataOrder = RandomWindows | ShuffledEpochs


@dataclass(frozen=True, kw_only=True, slots=True)
class StopOnDivergence:
    """End the run with an error when the loss or its gradient is not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipStep:
    """Leave out steps whose loss or gradient is not finite or far above the median of late.

    A step that is left out changes neither weights nor moments; the learning rate and the data go
    on. PaLM's training restarted around such spikes by hand (Chowdhery et al., 2022, section 5.1).
    """

    grad_norm_factor: float | None = 10.0
    """A gradient norm above this many times the median is a spike; None: none is."""
    loss_factor: float | None = 3.0
    """A loss above this many times the median is a spike; None: none is."""
    median_steps: int = 50
    """Updates that the median is taken over; until there are so many, nothing is a spike."""
    max_in_a_row: int = 10
    """The run ends with an error when more steps than these in a row are left out."""

    def __post_init__(self) -> None:
        for name in ("grad_norm_factor", "loss_factor"):
            factor = getattr(self, name)
            if factor is not None and not factor > 1:
                raise ValueError(f"{name} must be above 1 or None, got {factor}")
        for name in ("median_steps", "max_in_a_row"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


DivergencePolicy = StopOnDivergence | SkipStep


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Everything but data and model that decides a run's result."""

    steps: int
    """Optimizer steps."""
    batch_size: int = 16
    """Sequences a step."""
    micro_batch_size: int | None = None
    """Sequences a pass, within which experts balance their load; None: the whole batch at once."""
    optimizer: OptimizerConfig = field(default_factory=AdamWConfig)
    """The update rule."""
    schedule: ScheduleConfig = field(default_factory=CosineSchedule)
    """Learning rate over time."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    on_divergence: DivergencePolicy = field(default_factory=StopOnDivergence)
    """What to do when the loss or its gradient is not finite, or far too large."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the matrix products; parameters stay float32. float16 comes with loss scaling."""
    ema_decay: float | None = None
    """Decay of the average of the weights, which is validated and exported; None: none."""
    data_order: DataOrder = field(default_factory=ShuffledEpochs)
    """Which windows of the data a step trains on."""
    mask_documents: bool = False
    """Whether attention keeps to the document of each token."""
    validate_every: int | None = None
    """Steps between validations; None means only after the last step."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None means only after the last step."""
    keep_checkpoints: int = 1
    """How many of the last checkpoints stay."""
    keep_best: bool = False
    """Whether the checkpoint with the lowest validation loss stays as well, and is exported."""
    seed: int = 0
    """Decides the order of the data."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_grad_norm", "keep_checkpoints"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("micro_batch_size", "validate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive or None, got {value}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.ema_decay is not None:
            check_decay(self.ema_decay)
        if self.keep_best and self.validate_every is None:
            raise ValueError("keep_best needs validate_every=STEPS: nothing says which is best")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRunConfig:
    """What a run folder's ``config.json`` holds."""

    model: TransformerConfig
    """Shape of the model."""
    training: TrainingConfig
    """The run's settings."""
    data: str
    """Fingerprint of the training tokens."""
    documents: str | None
    """Fingerprint of where documents begin, where attention keeps to them."""


def check_decay(decay: float) -> None:
    """Raise ``ValueError`` unless the average moves, and by less than all of the way."""
    if not 0 < decay < 1:
        raise ValueError(f"ema_decay must lie in (0, 1), got {decay}")
