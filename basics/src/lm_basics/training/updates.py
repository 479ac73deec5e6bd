"""From gradients to an update, or to none where it would ruin the weights."""

import math
import statistics
from collections import deque
from typing import Any

from lm_basics.optim.schedules import ScheduleConfig
from lm_basics.training.config import DivergencePolicy, SkipStep, StopOnDivergence
from lm_basics.training.snapshot import Stateful
from lm_basics.training.strategy import Strategy


class GradientSteps:
    """From gradients to updates: reduce, clip, check, step at the rate of the schedule."""

    def __init__(
        self,
        strategy: Strategy,
        schedule: ScheduleConfig,
        *,
        steps: int,
        max_grad_norm: float,
        on_divergence: DivergencePolicy | None = None,
    ) -> None:
        """Prepare.

        Args:
            strategy: Holds the gradients and updates the parameters.
            schedule: The learning rate over time.
            steps: Of the whole run.
            max_grad_norm: Gradients are clipped to this global norm.
            on_divergence: What to do when numbers are not finite; None means an error.
        """
        self.strategy, self.schedule = strategy, schedule
        self.steps, self.max_grad_norm = steps, max_grad_norm
        self.guard = DivergenceGuard(on_divergence or StopOnDivergence())

    def parts(self) -> dict[str, Stateful]:
        """Return what a checkpoint holds."""
        return self.strategy.parts() | {"guard": self.guard}

    def take(self, step: int, loss: float) -> dict[str, Any]:
        """Update on the gradients that are there, or skip that, and return numbers of the step.

        Without any gradient, parameters and moments stay as they are.

        Args:
            step: Counted from 1.
            loss: What the gradients are of.

        Raises:
            FloatingPointError: The run diverged; no parameter has changed then.
        """
        strategy = self.strategy
        strategy.reduce_gradients()
        grad_norm = strategy.clip(self.max_grad_norm).item()
        lr_scale = self.schedule.scale(step - 1, self.steps)
        # No divergence: a smaller scale of the loss brings the next gradients back into range.
        if math.isfinite(loss) and strategy.has_overflowed():
            reason = "float16 overflow"
        else:
            reason = self.guard.judge(step, loss, grad_norm)
        numbers: dict[str, Any] = {"grad_norm": grad_norm, "lr_scale": lr_scale}
        if reason is not None:
            strategy.skip()
            return numbers | {"skipped": reason}
        strategy.step(lr_scale)
        return numbers


class DivergenceGuard:
    """Applies a policy step by step; remembers the losses and norms of late."""

    def __init__(self, policy: DivergencePolicy) -> None:
        self.policy = policy
        length = policy.median_steps if isinstance(policy, SkipStep) else 0
        self._losses: deque[float] = deque(maxlen=length)
        self._grad_norms: deque[float] = deque(maxlen=length)
        self._num_skipped = 0

    def judge(self, step: int, loss: float, grad_norm: float) -> str | None:
        """Return why a step has to be left out, None if it need not.

        Args:
            step: Counted from 1.
            loss: Of the step's batch, in nats.
            grad_norm: Of its gradient, before clipping.

        Raises:
            FloatingPointError: The policy is to stop, or too many steps in a row were left out.
        """
        reason = self._find_reason(loss, grad_norm)
        if reason is None:
            self._num_skipped = 0
            self._losses.append(loss)
            self._grad_norms.append(grad_norm)
            return None
        what = f"the loss is {loss} and the norm of its gradient {grad_norm} at step {step}"
        if isinstance(self.policy, StopOnDivergence):
            raise FloatingPointError(f"{what}: lower the learning rate")
        self._num_skipped += 1
        if self._num_skipped > self.policy.max_in_a_row:
            raise FloatingPointError(
                f"{what} ({reason}): {self._num_skipped} steps in a row would be left out, but "
                f"max_in_a_row is {self.policy.max_in_a_row}: lower the learning rate"
            )
        return reason

    def state_dict(self) -> dict[str, Any]:
        """Return the losses and norms of late."""
        return {
            "losses": list(self._losses),
            "grad_norms": list(self._grad_norms),
            "num_skipped": self._num_skipped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self._losses = deque(state_dict["losses"], self._losses.maxlen)
        self._grad_norms = deque(state_dict["grad_norms"], self._grad_norms.maxlen)
        self._num_skipped = state_dict["num_skipped"]

    def _find_reason(self, loss: float, grad_norm: float) -> str | None:
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return "not finite"
        if isinstance(self.policy, StopOnDivergence):
            return None
        if _is_spike(loss, self._losses, self.policy.loss_factor):
            return "spike of the loss"
        if _is_spike(grad_norm, self._grad_norms, self.policy.grad_norm_factor):
            return "spike of the gradient"
        return None


def _is_spike(value: float, earlier: deque[float], factor: float | None) -> bool:
    is_full = len(earlier) == earlier.maxlen
    return factor is not None and is_full and value > factor * statistics.median(earlier)
