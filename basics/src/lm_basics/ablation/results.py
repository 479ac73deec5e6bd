"""What a study found: every run's outcome, every arm's loss, every variant's effect.

The outcome of a run lies beside it as ``outcome.json``.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lm_basics.ablation.seed_planning import SeedPlan, seeds_needed
from lm_basics.ablation.study import Arm, Budget, Study
from lm_basics.accounting import count_parameters
from lm_shared.config import load_config, save_config
from lm_shared.intervals import PairedEffect, adjust_p_values, paired_effect
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


Verdict = Literal["better", "worse", "not told apart", "diverged", "not tested"]
"""``not tested`` is a single seed; ``diverged`` a variant or base with runs that did not end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmResult:
    """The base or a variant over all seeds."""

    name: str
    """Its name."""
    num_parameters: int
    """Of the model, embedding and head included."""
    steps: int
    """Optimizer steps."""
    tokens: int
    """Trained on."""
    flops: int
    """Of the matrix products."""
    budget_error: float
    """Its budget as a fraction of the base's, minus one: what whole steps cannot match."""
    num_runs: int
    """Seeds."""
    num_diverged: int
    """Seeds whose run did not reach its last step."""
    loss: float | None
    """Mean nats per token of the finished runs."""
    loss_sd: float | None
    """Standard deviation from seed to seed."""
    bits_per_byte: float | None
    """Mean of the finished runs."""
    elapsed_s: float
    """Mean seconds of a run."""
    curve: tuple[CurvePoint, ...]
    """Mean of the finished runs."""
    curve_low: tuple[float, ...]
    """Least loss of a finished run at each point of the curve."""
    curve_high: tuple[float, ...]
    """Largest loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A variant against the base."""

    name: str
    """The variant."""
    verdict: Verdict
    """What the test says at the level, all variants considered."""
    effect: PairedEffect | None
    """Variant minus base in nats per token; None where a run diverged."""
    p_adjusted: float | None
    """Holm's p-value over all variants."""
    seeds_needed: int | None
    """Fixed seeds that find the wanted effect, were the measured spread the true one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResults:
    """Everything that tables and figures are made from."""

    study: str
    """Name of the study."""
    question: str
    """What it asked."""
    budget: Budget
    """What variants have in common with the base."""
    base: str
    """What effects are relative to."""
    seeds: tuple[int, ...]
    """Those that ran."""
    num_pilot: int | None
    """Seeds that decided how many; None where that was fixed beforehand."""
    wanted_seeds: int | None
    """What the pilot asked for; more than there are seeds where the limit was lower."""
    effect: float
    """The effect in nats that ``power`` is about."""
    power: float
    """Probability of finding it."""
    alpha: float
    """Most probability of a false alarm."""
    arms: tuple[ArmResult, ...]
    """The base first."""
    comparisons: tuple[Comparison, ...]
    """The variants in order."""
    outcomes: tuple[Outcome, ...]
    """All runs."""


def analyze_study(study: Study, outcomes: Sequence[Outcome], plan: SeedPlan | int) -> StudyResults:
    """Return what the outcomes say.

    Args:
        study: What was compared.
        outcomes: One of each arm and seed.
        plan: How the number of seeds was chosen; a number was fixed beforehand.

    Raises:
        ValueError: an arm lacks a seed that another has.
    """
    by_arm = _group(study, outcomes)
    goal = plan if isinstance(plan, SeedPlan) else SeedPlan()
    num_pilot = goal.num_pilot if isinstance(plan, SeedPlan) else None
    arms = study.arms()
    tests = [
        _test(by_arm[study.base.name], by_arm[one.name], num_pilot, goal.alpha)
        for one in study.variants
    ]
    # What cannot be tested stays in the family: leaving it out would be a choice after the fact.
    p_values = [1.0 if one is None or one.p_value is None else one.p_value for one in tests]
    adjusted = adjust_p_values(p_values)
    return StudyResults(
        study=study.name,
        question=study.question,
        budget=study.budget,
        base=study.base.name,
        seeds=tuple(one.seed for one in by_arm[study.base.name]),
        num_pilot=num_pilot,
        wanted_seeds=wanted_seeds(study, outcomes, plan) if isinstance(plan, SeedPlan) else None,
        effect=goal.effect,
        power=goal.power,
        alpha=goal.alpha,
        arms=tuple(_arm_result(one, arms[0], by_arm[one.name], study.budget) for one in arms),
        comparisons=tuple(
            _compare(variant.name, effect, p, goal)
            for variant, effect, p in zip(study.variants, tests, adjusted, strict=True)
        ),
        outcomes=tuple(run for runs in by_arm.values() for run in runs),
    )


def wanted_seeds(study: Study, outcomes: Sequence[Outcome], plan: SeedPlan) -> int:
    """Return how many seeds the pilot asks for; the pilot itself where no pair has finished."""
    by_arm = _group(study, outcomes)
    pilot = {name: runs[: plan.num_pilot] for name, runs in by_arm.items()}
    base = pilot.pop(study.base.name)
    pairs = [_differences(base, runs) for runs in pilot.values()]
    finished = [one for one in pairs if one is not None]
    if not finished:
        return plan.num_pilot
    return plan.wanted_seeds(np.stack(finished), num_tests=len(study.variants))


def _group(study: Study, outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    names = [study.base.name, *(one.name for one in study.variants)]
    by_arm: dict[str, list[Outcome]] = {name: [] for name in names}
    for one in sorted(outcomes, key=lambda one: one.seed):
        by_arm[one.arm].append(one)
    seeds = {name: tuple(one.seed for one in runs) for name, runs in by_arm.items()}
    if len(set(seeds.values())) > 1 or not seeds[study.base.name]:
        raise ValueError(f"expected the same seeds for all, got {seeds}")
    return by_arm


def _differences(base: Sequence[Outcome], runs: Sequence[Outcome]) -> np.ndarray | None:
    """Return variant minus base by seed, None where a run diverged."""
    pairs = [(one.loss, other.loss) for one, other in zip(runs, base, strict=True)]
    finished = [one - other for one, other in pairs if one is not None and other is not None]
    return np.array(finished) if len(finished) == len(pairs) else None


def _test(
    base: Sequence[Outcome], runs: Sequence[Outcome], num_pilot: int | None, alpha: float
) -> PairedEffect | None:
    # Leaving out the seeds that diverged would compare the variant's lucky ones.
    differences = _differences(base, runs)
    if differences is None:
        return None
    return paired_effect(differences, num_pilot=num_pilot, alpha=alpha)


def _compare(name: str, effect: PairedEffect | None, p: float, goal: SeedPlan) -> Comparison:
    if effect is None or effect.sd is None:
        verdict: Verdict = "diverged" if effect is None else "not tested"
        return Comparison(
            name=name, verdict=verdict, effect=effect, p_adjusted=None, seeds_needed=None
        )
    found: Verdict = "better" if effect.mean < 0 else "worse"
    return Comparison(
        name=name,
        verdict=found if p <= goal.alpha else "not told apart",
        effect=effect,
        p_adjusted=p,
        seeds_needed=seeds_needed(goal.effect, effect.sd, power=goal.power, alpha=goal.alpha),
    )


def _arm_result(arm: Arm, base: Arm, runs: Sequence[Outcome], budget: Budget) -> ArmResult:
    finished = [one for one in runs if not one.is_diverged]
    losses = [one.loss for one in finished if one.loss is not None]
    bits = [one.bits_per_byte for one in finished if one.bits_per_byte is not None]
    steps, by_step = mean_curve([one.curve for one in finished])
    spent, given = (arm.flops, base.flops) if budget == "flops" else (arm.tokens, base.tokens)
    return ArmResult(
        name=arm.name,
        num_parameters=count_parameters(arm.model),
        steps=arm.training.steps,
        tokens=arm.tokens,
        flops=arm.flops,
        budget_error=spent / given - 1,
        num_runs=len(runs),
        num_diverged=len(runs) - len(finished),
        loss=statistics.fmean(losses) if losses else None,
        loss_sd=statistics.stdev(losses) if len(losses) > 1 else None,
        bits_per_byte=statistics.fmean(bits) if bits else None,
        elapsed_s=statistics.fmean(one.elapsed_s for one in runs),
        curve=tuple(
            CurvePoint(step=step, loss=statistics.fmean(values))
            for step, values in zip(steps, by_step, strict=True)
        ),
        curve_low=tuple(map(min, by_step)),
        curve_high=tuple(map(max, by_step)),
    )
