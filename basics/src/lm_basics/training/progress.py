"""What a training loop tells about each step, and the numbers that people watch made of it."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from lm_basics.perplexity import bits_per_byte

_STEPS_OF_RATE = 20
_LOSS_MEMORY = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One optimizer step that was done, mostly just now."""

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
    """Rate of the last steps of this process, without validation and checkpoints; 0 before any."""
    validated_weights: Callable[[], AbstractContextManager[None]] = nullcontext
    """Returns a context in which the model has the weights that validations are of."""
    is_told_again: bool = False
    """Whether an earlier process did the step, and an error ended what followed it."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressNumbers:
    """Where a run stands."""

    step: int
    """Steps done."""
    steps: int
    """Of how many."""
    tokens: int
    """Tokens trained on."""
    loss: float
    """Loss of the last step's batch, as the record has it, in nats per token."""
    mean_loss: float
    """Its mean over about the last 20 steps."""
    bits_per_byte: float | None
    """The mean per byte of text; None where the bytes are not known."""
    tokens_per_s: float
    """Speed over the last steps."""
    mfu: float | None
    """Share of the device's peak that the matrix products use; None where it is not known."""
    elapsed_s: float
    """Seconds of training so far."""
    remaining_s: float | None
    """Seconds until the last step at this speed; None where there is no speed yet."""
    validation: Mapping[str, float]
    """What the last validation found."""
    validated_at: int | None
    """Steps done at that time."""


class TrainingProgress:
    """Takes the reports one after another and keeps what the numbers need of them.

    The mean loss is an exponential average over about the last 20 steps, corrected for its
    beginning as Adam's moments are, so that it starts at the first loss.
    """

    def __init__(
        self,
        *,
        flops_per_token: float,
        peak_flops: float | None = None,
        bytes_per_token: float | None = None,
    ) -> None:
        """Begin.

        Args:
            flops_per_token: Of forward and backward pass.
            peak_flops: What the device could do a second.
            bytes_per_token: UTF-8 bytes of the training text behind a token.
        """
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.bytes_per_token = bytes_per_token
        self._sum = self._weight = 0.0
        self._validation: dict[str, float] = {}
        self._validated_at: int | None = None

    def add(self, report: StepReport) -> ProgressNumbers:
        """Take a report and return the numbers after it."""
        # A skipped step may have no finite loss, which would stay in the mean for ever.
        if math.isfinite(report.loss):
            self._sum = _LOSS_MEMORY * self._sum + (1 - _LOSS_MEMORY) * report.loss
            self._weight = _LOSS_MEMORY * self._weight + (1 - _LOSS_MEMORY)
        mean_loss = self._sum / self._weight if self._weight else math.nan
        speed = report.tokens_per_s
        tokens_left = (report.steps - report.step) * report.tokens / report.step
        return ProgressNumbers(
            step=report.step,
            steps=report.steps,
            tokens=report.tokens,
            loss=report.loss,
            mean_loss=mean_loss,
            bits_per_byte=to_bits_per_byte(mean_loss, self.bytes_per_token),
            tokens_per_s=speed,
            mfu=self.flops_per_token * speed / self.peak_flops if self.peak_flops else None,
            elapsed_s=report.elapsed_s,
            remaining_s=tokens_left / speed if speed > 0 else None,
            validation=dict(self._validation),
            validated_at=self._validated_at,
        )

    def add_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Take what was measured after ``step`` steps."""
        self._validation, self._validated_at = dict(values), step


def to_bits_per_byte(nats_per_token: float, bytes_per_token: float | None) -> float | None:
    """Return the loss in bits per byte of text, which does not depend on the tokenizer."""
    return None if bytes_per_token is None else bits_per_byte(nats_per_token, bytes_per_token)
