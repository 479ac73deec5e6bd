"""What came out of one run of a study, kept beside it as ``outcome.json``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_shared.config import load_config, save_config
from lm_shared.runs import read_metrics

OUTCOME_NAME = "outcome.json"
NATS, BITS = "val_loss", "val_bits_per_byte"


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """A validation."""

    step: int
    """Steps done."""
    loss: float
    """Nats per token on the held-out tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A run that has ended: finished or diverged."""

    arm: str
    """Name of the base or variant."""
    seed: int
    """Its seed."""
    identity: str
    """Hash of everything that decides the result."""
    loss: float | None
    """Nats per token on the held-out tokens after the last step; None for a diverged run."""
    bits_per_byte: float | None
    """The same loss by bytes of text; None for a diverged run."""
    failure: str | None
    """How it diverged; None for a finished run."""
    elapsed_s: float
    """Seconds of training."""
    curve: tuple[CurvePoint, ...]
    """All validations; of a diverged run those before."""

    @property
    def is_diverged(self) -> bool:
        """Whether the run did not reach its last step."""
        return self.failure is not None


def load_outcome(folder: Path, identity: str) -> Outcome | None:
    """Return the outcome that lies in a run folder, None where the run has not ended.

    Raises:
        ValueError: the outcome is that of a run with other settings or other data.
    """
    path = folder / OUTCOME_NAME
    if not path.exists():
        return None
    outcome = load_config(Outcome, path)
    if outcome.identity != identity:
        raise ValueError(
            f"{folder} holds a run with other settings or data: choose another folder or delete it"
        )
    return outcome


def save_outcome(outcome: Outcome, folder: Path) -> None:
    """Write the outcome into a run folder, atomically."""
    save_config(outcome, folder / OUTCOME_NAME)


def read_curve(folder: Path) -> tuple[CurvePoint, ...]:
    """Return the validations in a run folder's metrics, the last one of each step."""
    path = folder / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    losses = {line["step"]: line[NATS] for line in lines if NATS in line}
    return tuple(
        CurvePoint(step=step, loss=loss) for step, loss in losses.items() if math.isfinite(loss)
    )


def mean_curve(
    curves: Sequence[Sequence[CurvePoint]],
) -> tuple[list[int], list[list[float]]]:
    """Return the steps that all curves have, and for each of them the losses of all curves."""
    by_step = [{point.step: point.loss for point in curve} for curve in curves]
    common = sorted(set.intersection(*map(set, by_step))) if by_step else []
    return common, [[losses[step] for losses in by_step] for step in common]
