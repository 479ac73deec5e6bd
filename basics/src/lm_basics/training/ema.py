"""An exponential moving average of a model's weights (Polyak & Juditsky, 1992)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lm_basics.training.config import check_decay


class WeightEMA:
    """Averages the weights over the steps, with a decay that begins low.

    After step ``t``, counted from 1::

        d_t = min(decay, (1 + t) / (10 + t))
        average = d_t * average + (1 - d_t) * weights

    The smaller ``d_t`` of the first steps lets the average forget the random initial weights, as in
    TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``. Torch's ``AveragedModel`` copies
    the whole model, begins with the weights of the first step and lends its averages to no one.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the weights that ``model`` has.

        Raises:
            ValueError: ``decay`` is not in (0, 1).
        """
        check_decay(decay)
        self.decay = decay
        self.num_updates = 0
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages: dict[str, Tensor] = {
            name: weight.detach().clone() for name, weight in self._weights.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after one more step."""
        self.num_updates += 1
        t = self.num_updates
        decay = min(self.decay, (1 + t) / (10 + t))
        for name, weight in self._weights.items():
            self.averages[name].lerp_(weight, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averages as its weights while the block runs."""
        trained = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(trained)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and how many steps they took in."""
        return {"num_updates": self.num_updates, "averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned.

        Raises:
            ValueError: It is of a model with other parameters.
        """
        found = state_dict["averages"]
        if found.keys() != self.averages.keys():
            different = sorted(found.keys() ^ self.averages.keys())
            raise ValueError(f"the averages are of another model: {different} are not in both")
        self.num_updates = state_dict["num_updates"]
        for name, average in self.averages.items():
            average.copy_(found[name])

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])
