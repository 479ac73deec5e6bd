"""A study: a base, variants of it, and the steps that give all of them the same budget."""

from dataclasses import dataclass, replace
from typing import Literal

from lm_basics.accounting import training_flops_per_token
from lm_basics.model_config import TransformerConfig
from lm_basics.training import TrainingConfig
from lm_shared.choices import check_choice

Budget = Literal["flops", "tokens"]
"""What variants have in common with the base: FLOPs of the matrix products, or tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One thing that is compared: the base or a variant."""

    name: str
    """Of its folder, and in tables; small letters, digits and dashes."""
    model: TransformerConfig
    """The model."""
    training: TrainingConfig
    """Its training; a study sets seed, steps and how often is validated and saved."""

    def __post_init__(self) -> None:
        if not self.name or set(self.name) - set("abcdefghijklmnopqrstuvwxyz0123456789-."):
            raise ValueError(
                f"a name consists of small letters, digits, dots and dashes, got {self.name!r}"
            )

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step."""
        return self.training.batch_size * self.model.context_length

    @property
    def flops_per_step(self) -> int:
        """FLOPs of one step's matrix products; the optimizer's own are not counted."""
        per_token = training_flops_per_token(self.model, self.model.context_length)
        return self.tokens_per_step * per_token

    @property
    def flops(self) -> int:
        """FLOPs of the whole training."""
        return self.flops_per_step * self.training.steps

    @property
    def tokens(self) -> int:
        """Tokens of the whole training."""
        return self.tokens_per_step * self.training.steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Variants against a base."""

    name: str
    """Such as ``norm``."""
    question: str
    """What it asks, in a sentence."""
    base: Arm
    """What all variants are compared with."""
    variants: tuple[Arm, ...]
    """What differs from it."""
    budget: Budget = "flops"
    """What the variants have in common with the base."""
    num_validations: int = 8
    """Points of a learning curve."""

    def __post_init__(self) -> None:
        check_choice("budget", self.budget, Budget)
        names = [self.base.name, *(one.name for one in self.variants)]
        if not self.variants or len(set(names)) < len(names):
            raise ValueError(
                f"expected a base and variants with different names, got {names}: is the base too "
                "small to be varied?"
            )
        if self.num_validations < 1:
            raise ValueError(f"num_validations must be positive, got {self.num_validations}")

    def arms(self) -> list[Arm]:
        """Return base and variants with their steps set."""
        return [self._with_steps(one) for one in (self.base, *self.variants)]

    def _with_steps(self, arm: Arm) -> Arm:
        steps = _matching_steps(self.base, arm, self.budget)
        every = -(-steps // self.num_validations)
        training = replace(arm.training, steps=steps, validate_every=every, checkpoint_every=every)
        return replace(arm, training=training)


def _matching_steps(base: Arm, arm: Arm, budget: Budget) -> int:
    """Return the number of steps whose budget is nearest to the base's: within half a step.

    Raises:
        ValueError: half a step costs more than the whole base.
    """
    total, per_step = (
        (base.flops, arm.flops_per_step)
        if budget == "flops"
        else (base.tokens, arm.tokens_per_step)
    )
    steps = (2 * total + per_step) // (2 * per_step)
    if steps < 1:
        raise ValueError(
            f"{arm.name}: one step needs {per_step:.3g} {budget}, the whole base only {total:.3g}"
        )
    return steps
