"""Which windows of the data a step trains on: random ones, or side by side in shuffled epochs.

The windows of a step are a function of (seed, step) alone, so a loader has no state that a
checkpoint could lose.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class WindowSampler(Protocol):
    """Chooses the windows of each step."""

    def starts(self, step: int) -> NDArray[np.int64]:
        """Return where the windows of ``step``, counted from 0, begin."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class UniformWindows:
    """The course's random windows: every start is equally likely, and windows may overlap."""

    num_tokens: int
    """Tokens in the data set."""
    length: int
    """Tokens in a window, the last target not counted."""
    batch_size: int
    """Windows a step."""
    seed: int = 0
    """Decides the starts."""

    def __post_init__(self) -> None:
        _check_sizes(self.length, self.batch_size)
        if self.num_tokens <= self.length:
            raise ValueError(
                f"{self.num_tokens} tokens are too few for one window of {self.length}: at least "
                f"{self.length + 1} are needed"
            )

    def starts(self, step: int) -> NDArray[np.int64]:
        """Return where the windows of ``step`` begin."""
        rng = np.random.default_rng((self.seed, step))
        return rng.integers(self.num_tokens - self.length, size=self.batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffledWindows:
    """Windows side by side, shuffled anew and shifted for each epoch: no token twice in one.

    The shift leaves out less than two windows at the ends of the data, other ones in each epoch.
    """

    num_tokens: int
    """Tokens in the data set."""
    length: int
    """Tokens in a window, the last target not counted."""
    batch_size: int
    """Windows a step."""
    seed: int = 0
    """Decides order and shift."""

    def __post_init__(self) -> None:
        _check_sizes(self.length, self.batch_size)
        if self.windows_per_epoch < 1:
            raise ValueError(
                f"{self.num_tokens} tokens are too few for one shifted window of {self.length}: "
                f"at least {2 * self.length + 1} are needed"
            )

    @property
    def windows_per_epoch(self) -> int:
        """Whole windows that fit whatever the shift is."""
        return (self.num_tokens - 1) // self.length - 1

    def starts(self, step: int) -> NDArray[np.int64]:
        """Return where the windows of ``step`` begin."""
        first = step * self.batch_size
        numbers = np.arange(first, first + self.batch_size)
        epochs, ranks = np.divmod(numbers, self.windows_per_epoch)
        starts = np.empty(self.batch_size, dtype=np.int64)
        for epoch in np.unique(epochs):
            shift, order = _shuffle(self.seed, int(epoch), self.length, self.windows_per_epoch)
            chosen = epochs == epoch
            starts[chosen] = shift + order[ranks[chosen]] * self.length
        return starts


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomWindows:
    """Windows from anywhere, drawn anew for each step (``UniformWindows``)."""

    def sampler(self, *, num_tokens: int, length: int, batch_size: int, seed: int) -> WindowSampler:
        """Return the sampler of a data set."""
        return UniformWindows(
            num_tokens=num_tokens, length=length, batch_size=batch_size, seed=seed
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffledEpochs:
    """Every token once before any comes again (``ShuffledWindows``)."""

    def sampler(self, *, num_tokens: int, length: int, batch_size: int, seed: int) -> WindowSampler:
        """Return the sampler of a data set."""
        return ShuffledWindows(
            num_tokens=num_tokens, length=length, batch_size=batch_size, seed=seed
        )


DataOrder = RandomWindows | ShuffledEpochs


def _check_sizes(length: int, batch_size: int) -> None:
    if length <= 0 or batch_size <= 0:
        raise ValueError(f"length={length}, batch_size={batch_size} must be positive")


@lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, length: int, num_windows: int) -> tuple[int, NDArray[np.int64]]:
    """Return the shift and the order of the windows of an epoch."""
    rng = np.random.default_rng((seed, epoch))
    return int(rng.integers(length)), rng.permutation(num_windows)
