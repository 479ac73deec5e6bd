"""Optimizers of two rules: one of their own for hidden matrices, AdamW's for everything else."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from lm_basics.optim.adamw import Implementation, update_adamw_groups
from lm_basics.optim.config import AdamWConfig
from lm_basics.optim.optimizer import Optimizer


@runtime_checkable
class TwoRulesConfig(Protocol):
    """Settings of the matrices' rule, and under ``others`` those of AdamW: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def others(self) -> AdamWConfig:
        """The rule for embeddings, output head, routers and vectors."""
        ...


Config = TypeVar("Config", bound=TwoRulesConfig)


class TwoRulesOptimizer(Optimizer, Generic[Config]):
    """Each parameter group names its rule and has that rule's settings."""

    rule: ClassVar[str]
    """The name of the matrices' rule."""

    # A copied or unpickled optimizer has only what torch's base class restores.
    implementation: Implementation = "auto"

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[dict[str, Any]],
        config: Config,
        *,
        implementation: Implementation = "auto",
    ) -> None:
        """Build the optimizer.

        Args:
            matrices: Two-dimensional hidden parameters.
            others: AdamW parameter groups: ``params`` and, where it differs, ``weight_decay``.
            config: Settings of both rules.
            implementation: Of AdamW.
        """
        self.implementation = implementation
        hidden = {"params": list(matrices), "rule": self.rule, **_settings(config)}
        super().__init__([hidden, *others], {"rule": "adamw", **_settings(config.others)})

    def update(self) -> None:
        """Update matrices by their rule, then the others by AdamW."""
        for group in self.param_groups:
            if group["rule"] == self.rule:
                self.update_matrices(group)
        others = [group for group in self.param_groups if group["rule"] == "adamw"]
        update_adamw_groups(others, self.state, self.implementation)

    @abstractmethod
    def update_matrices(self, group: dict[str, Any]) -> None:
        """Update the matrices of a group that have a gradient."""


def _settings(config: TwoRulesConfig | AdamWConfig) -> dict[str, Any]:
    """Return the settings of one rule."""
    return {one.name: getattr(config, one.name) for one in fields(config) if one.name != "others"}
