"""What a training loop tells about each step, for displays."""

from collections import deque
from dataclasses import dataclass

_STEPS_OF_RATE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One optimizer step that was just done."""

    step: int
    """Steps done."""
    steps: int
    """Steps of the whole run."""
    loss: float
    """Mean loss of the step's batch in nats per token."""
    grad_norm: float
    """Norm of its gradient, before clipping."""
    lr_scale: float
    """Learning rate as a share of the peak rate."""
    tokens: int
    """Tokens trained on so far, by earlier processes too."""
    elapsed_s: float
    """Seconds of training so far, of earlier processes too."""
    tokens_per_s: float
    """Rate of the last steps of this process, without validation and checkpoints."""


class TokenRate:
    """Tokens per second over the last steps."""

    def __init__(self, step_tokens: int) -> None:
        self.step_tokens = step_tokens
        self._durations_s: deque[float] = deque(maxlen=_STEPS_OF_RATE)

    def add(self, duration_s: float) -> float:
        """Count a step and return the rate.

        Args:
            duration_s: Seconds that the step took.
        """
        self._durations_s.append(duration_s)
        return self.step_tokens * len(self._durations_s) / sum(self._durations_s)
