"""Batches of consecutive tokens: the course's random windows, and shuffled epochs."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

_BLOCK_TOKENS = 4_096

Batch = tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]


def get_batch(
    dataset: NDArray[np.integer], batch_size: int, context_length: int, device: torch.device | str
) -> Batch:
    """Return random windows and the same windows shifted by one, on ``device``.

    Starts are uniform over all ``len(dataset) - context_length`` possible ones, drawn with torch's
    global generator.

    Raises:
        ValueError: The data set has no window of ``context_length + 1`` tokens.
    """
    num_starts = len(dataset) - context_length
    if num_starts <= 0:
        raise ValueError(
            f"{len(dataset)} tokens hold no window of context_length + 1 = {context_length + 1}"
        )
    starts = torch.randint(num_starts, (batch_size,)).numpy()
    return read_windows(dataset, starts, context_length, device)


def read_windows(
    dataset: NDArray[np.integer],
    starts: NDArray[np.integer],
    length: int,
    device: torch.device | str,
) -> Batch:
    """Return the windows of ``length`` tokens from ``starts`` on, and those one token later."""
    windows = dataset[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    tokens = torch.from_numpy(windows).to(device)
    return tokens[:, :-1], tokens[:, 1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffledWindows:
    """Windows side by side, shuffled anew and shifted for each epoch: no token twice in one.

    The shift leaves out less than two windows at the ends of the data, other ones in each epoch.
    The batch of a step is a function of (seed, step) alone, so there is no loader state to save.
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
        if self.length <= 0 or self.batch_size <= 0:
            raise ValueError(f"length={self.length}, batch_size={self.batch_size} must be positive")
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


def fingerprint(tokens: NDArray[np.integer]) -> str:
    """Return a hash that tells data sets apart without reading the large ones whole.

    It covers the type, the length and up to 1,024 blocks of 4,096 tokens, evenly spread.
    """
    num_blocks = -(-len(tokens) // _BLOCK_TOKENS)
    digest = hashlib.sha256(f"{tokens.dtype.str} {len(tokens)}".encode())
    for block in np.unique(np.linspace(0, num_blocks - 1, min(num_blocks, 1024)).astype(np.int64)):
        digest.update(tokens[block * _BLOCK_TOKENS : (block + 1) * _BLOCK_TOKENS].tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, length: int, num_windows: int) -> tuple[int, NDArray[np.int64]]:
    """Return the shift and the order of the windows of an epoch."""
    rng = np.random.default_rng((seed, epoch))
    return int(rng.integers(length)), rng.permutation(num_windows)
