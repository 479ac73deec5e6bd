"""Plan a run: which of several models to train, and on how many tokens, for a budget.

The law is fitted to the finished runs of a sweep. Each candidate then gets as many tokens as the
budget buys at its own speed; repeated tokens count for what they are worth (``laws.repetition``);
the candidate with the lowest predicted loss wins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lm_scaling.laws.parametric import discount_repeats, effective_tokens
from lm_scaling.laws.points import ScalingPoint, check_positive
from lm_scaling.laws.small_sample import LawPrior, SmallSampleFit, fit_small_sample
from lm_shared.intervals import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A model that could be trained."""

    name: str
    """What the plan calls it."""
    parameters: float
    """Size N, counted as in the sweep."""
    flops_per_token: float
    """Training FLOPs of a token."""
    seconds_per_token: float | None = None
    """Measured training time of a token; needed for a budget in seconds."""
    overhead_s: float = 0.0
    """Seconds of the run that train nothing: compilation, validation, saving."""

    def __post_init__(self) -> None:
        try:
            check_positive(
                parameters=self.parameters,
                flops_per_token=self.flops_per_token,
                seconds_per_token=self.seconds_per_token,
            )
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        if not 0 <= self.overhead_s < math.inf:
            raise ValueError(
                f"{self.name}: overhead_s must not be negative and must be finite, "
                f"got {self.overhead_s}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """One candidate with all the tokens that the budget buys."""

    name: str
    """The candidate."""
    parameters: float
    """Its size N."""
    tokens: int
    """Tokens to train on."""
    epochs: float | None
    """Passes over the unique tokens; None where these are unlimited."""
    effective_tokens: float
    """Fresh tokens that these are worth."""
    flops: float
    """Training FLOPs."""
    seconds: float | None
    """Expected duration with overhead; None where the speed is not known."""
    predicted_loss: float
    """Nats per token."""
    interval: Interval
    """Where a new run's loss should lie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The best candidate, and what the others would reach."""

    chosen: str
    """Name of the candidate with the lowest predicted loss."""
    tokens: int
    """Tokens to train it on."""
    predicted_loss: float
    """Its loss, nats per token."""
    interval: Interval
    """Where its loss should lie."""
    extrapolation: float
    """Its FLOPs as a multiple of the largest run that the law was fitted to."""
    alternatives: tuple[PlannedRun, ...]
    """All candidates, the chosen one first, by rising loss."""
    fit: SmallSampleFit
    """The law behind the plan."""


def plan(
    points: Sequence[ScalingPoint],
    candidates: Sequence[Candidate],
    *,
    budget_s: float | None = None,
    budget_flops: float | None = None,
    unique_tokens: float | None = None,
    max_epochs: float = math.inf,
    tokens_multiple: int = 1,
    prior: LawPrior | None = None,
    level: float = 0.9,
) -> Plan:
    """Choose a candidate for a budget; the same input gives the same plan.

    Args:
        points: Finished runs of a sweep, trained as the candidates will be.
        candidates: Models to choose from, with different names.
        budget_s: Seconds for the whole run; give this or ``budget_flops``.
        budget_flops: Training FLOPs for the whole run.
        unique_tokens: Tokens of the training data; None means that they never run out.
        max_epochs: Most passes over the unique tokens.
        tokens_multiple: Tokens of one optimizer step; plans are rounded down to whole steps.
        prior: Beliefs about the law.
        level: Probability of the intervals.

    Raises:
        ValueError: Not exactly one budget, a budget or data size that is not positive and finite,
            ``max_epochs`` without ``unique_tokens``, candidates that lack a speed or share a name,
            a budget that is too small for any candidate, or too few points.
    """
    _check_candidates(candidates, budget_s, budget_flops)
    check_positive(budget_s=budget_s, budget_flops=budget_flops, unique_tokens=unique_tokens)
    if unique_tokens is None and max_epochs != math.inf:
        raise ValueError(f"max_epochs={max_epochs} needs unique_tokens to count epochs of")
    if tokens_multiple < 1 or not max_epochs > 0:
        raise ValueError(
            f"expected tokens_multiple >= 1 and max_epochs > 0, got {tokens_multiple}, {max_epochs}"
        )
    most = math.inf if unique_tokens is None else unique_tokens * max_epochs
    # The sweep's own repeats are discounted too, or the law would charge them to the model.
    fit = fit_small_sample(
        points if unique_tokens is None else discount_repeats(points, unique_tokens), prior
    )
    runs = []
    for candidate in candidates:
        affordable = min(_affordable_tokens(candidate, budget_s, budget_flops), most)
        # Down: rounded up, the run would overdraw its budget.
        tokens = int(affordable // tokens_multiple) * tokens_multiple
        if tokens > 0:
            runs.append(_plan_run(candidate, tokens, fit, unique_tokens, level))
    if not runs:
        budget = f"{budget_s} s" if budget_flops is None else f"{budget_flops:.3g} FLOPs"
        raise ValueError(f"the budget of {budget} buys no candidate {tokens_multiple} tokens")
    # Of equals, the smaller model is cheaper to serve; the name makes the order total.
    runs.sort(key=lambda run: (run.predicted_loss, run.parameters, run.name))
    best = runs[0]
    return Plan(
        chosen=best.name,
        tokens=best.tokens,
        predicted_loss=best.predicted_loss,
        interval=best.interval,
        extrapolation=best.flops / max(point.flops for point in points),
        alternatives=tuple(runs),
        fit=fit,
    )


def _check_candidates(
    candidates: Sequence[Candidate], budget_s: float | None, budget_flops: float | None
) -> None:
    if (budget_s is None) == (budget_flops is None):
        raise ValueError(
            f"expected either budget_s or budget_flops, got {budget_s}, {budget_flops}"
        )
    if not candidates or len({one.name for one in candidates}) < len(candidates):
        raise ValueError(
            f"expected candidates with different names, got {[one.name for one in candidates]}"
        )
    unmeasured = [one.name for one in candidates if one.seconds_per_token is None]
    if budget_s is not None and unmeasured:
        raise ValueError(f"a budget in seconds needs seconds_per_token, missing for {unmeasured}")


def _affordable_tokens(
    candidate: Candidate, budget_s: float | None, budget_flops: float | None
) -> float:
    if budget_flops is not None:
        return budget_flops / candidate.flops_per_token
    if budget_s is None or candidate.seconds_per_token is None:
        raise ValueError(f"{candidate.name}: a budget in seconds needs seconds_per_token")
    return (budget_s - candidate.overhead_s) / candidate.seconds_per_token


def _plan_run(
    candidate: Candidate,
    tokens: int,
    fit: SmallSampleFit,
    unique_tokens: float | None,
    level: float,
) -> PlannedRun:
    worth = tokens if unique_tokens is None else effective_tokens(tokens, unique_tokens)
    speed = candidate.seconds_per_token
    return PlannedRun(
        name=candidate.name,
        parameters=candidate.parameters,
        tokens=tokens,
        epochs=None if unique_tokens is None else tokens / unique_tokens,
        effective_tokens=worth,
        flops=tokens * candidate.flops_per_token,
        seconds=None if speed is None else candidate.overhead_s + tokens * speed,
        predicted_loss=fit.law.predict(candidate.parameters, worth),
        interval=fit.predict_interval(candidate.parameters, worth, level=level),
    )
