"""What the training loop tells after each step."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One optimizer step, and how far the run is."""

    step: int
    """Steps done."""
    steps: int
    """Of how many."""
    loss: float
    """Mean loss of this step's tokens, in nats."""
    grad_norm: float
    """Global norm of the gradient before clipping."""
    lr_scale: float
    """Learning rate as a share of the peak."""
    tokens: int
    """Tokens so far, earlier processes included."""
    elapsed_s: float
    """Seconds of training so far, earlier processes included."""
    tokens_per_s: float
    """Speed over the last steps of this process."""
