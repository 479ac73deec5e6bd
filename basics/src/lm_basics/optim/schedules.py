"""Learning-rate schedules: a multiplier of the peak rate for each step."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ConstantSchedule:
    """Linear warm-up, then the peak rate."""

    warmup_fraction: float = 0.0
    """Share of the steps spent on warm-up."""

    def __post_init__(self) -> None:
        _check_fraction("warmup_fraction", self.warmup_fraction)

    def scale(self, step: int, steps: int) -> float:
        """Return the multiplier at ``step``, counted from 0, of ``steps``."""
        return min(1.0, (step + 1) / max(1.0, self.warmup_fraction * steps))


@dataclass(frozen=True, kw_only=True, slots=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine down to a fraction of the peak."""

    warmup_fraction: float = 0.03
    """Share of the steps spent on warm-up."""
    final_fraction: float = 0.0
    """Last rate as a share of the peak."""

    def __post_init__(self) -> None:
        _check_fraction("warmup_fraction", self.warmup_fraction)
        _check_fraction("final_fraction", self.final_fraction)

    def scale(self, step: int, steps: int) -> float:
        """Return the multiplier at ``step``, counted from 0, of ``steps``."""
        warmup = max(1, round(self.warmup_fraction * steps))
        # One step late at both ends: step 0 already learns and step ``steps - 1`` still does.
        return get_lr_cosine_schedule(step + 1, 1.0, self.final_fraction, warmup, steps + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmupStableDecaySchedule:
    """Linear warm-up, the peak rate for most of the run, and a short decay (Hu et al., 2024).

    A run can go on from before its decay, so one run serves for several lengths. With x from 0
    at the first step of the decay to 1 behind the last step, the decay is 1 - x, or
    1 - sqrt(x), with which Hägele et al. (2024) reach lower losses.
    """

    warmup_fraction: float = 0.03
    """Share of the steps spent on warm-up."""
    decay_fraction: float = 0.2
    """Share of the steps spent on the decay."""
    decay: Literal["linear", "one_minus_sqrt"] = "one_minus_sqrt"
    """Shape of the decay."""
    final_fraction: float = 0.0
    """Rate behind the last step as a share of the peak."""

    def __post_init__(self) -> None:
        _check_fraction("warmup_fraction", self.warmup_fraction)
        _check_fraction("decay_fraction", self.decay_fraction)
        _check_fraction("final_fraction", self.final_fraction)
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError(
                f"warmup_fraction={self.warmup_fraction} and decay_fraction={self.decay_fraction} "
                "must not add up to more than 1"
            )

    def scale(self, step: int, steps: int) -> float:
        """Return the multiplier at ``step``, counted from 0, of ``steps``."""
        warmup = round(self.warmup_fraction * steps)
        # Both ends may round up.
        decay = min(round(self.decay_fraction * steps), steps - warmup)
        if step < steps - decay:
            return min(1.0, (step + 1) / max(1, warmup))
        x = (step - (steps - decay)) / max(1, decay)
        shape = 1 - (math.sqrt(x) if self.decay == "one_minus_sqrt" else x)
        return self.final_fraction + shape * (1 - self.final_fraction)


@dataclass(frozen=True, kw_only=True, slots=True)
class InverseSqrtSchedule:
    """Linear warm-up, then the inverse root of the steps (Vaswani et al., 2017).

    Without warm-up the multiplier of step t, counted from 0, is 1 / sqrt(t + 1), as in the
    first optimizer that the course shows.
    """

    warmup_fraction: float = 0.0
    """Share of the steps spent on warm-up."""

    def __post_init__(self) -> None:
        _check_fraction("warmup_fraction", self.warmup_fraction)

    def scale(self, step: int, steps: int) -> float:
        """Return the multiplier at ``step``, counted from 0, of ``steps``."""
        warmup = max(1, round(self.warmup_fraction * steps))
        return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


ScheduleConfig = ConstantSchedule | CosineSchedule | WarmupStableDecaySchedule | InverseSqrtSchedule


def get_lr_cosine_schedule(
    it: int,
    max_learning_rate: float,
    min_learning_rate: float,
    warmup_iters: int,
    cosine_cycle_iters: int,
) -> float:
    """Return the course's cosine schedule with warm-up (Touvron et al., 2023).

    Args:
        it: Iteration, from 0.
        max_learning_rate: Rate at the end of the warm-up.
        min_learning_rate: Rate from ``cosine_cycle_iters`` on.
        warmup_iters: Iterations of linear warm-up.
        cosine_cycle_iters: Iteration at which the cosine ends, warm-up included.
    """
    if it < warmup_iters:
        return max_learning_rate * it / warmup_iters
    if it > cosine_cycle_iters:
        return min_learning_rate
    progress = (it - warmup_iters) / max(1, cosine_cycle_iters - warmup_iters)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return min_learning_rate + cosine * (max_learning_rate - min_learning_rate)


def _check_fraction(name: str, fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {fraction}")
