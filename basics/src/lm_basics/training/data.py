"""The training data: one array of tokens, the windows that a step trains on, the batch they make.

The windows of a step are a function of (seed, step) alone, so a loader has no state that a
checkpoint could lose.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Int64
from numpy.typing import NDArray
from torch import Tensor

from lm_basics.training.config import DataOrder, RandomWindows

_BLOCK_TOKENS = 4_096
_CHECKED_TOKENS = 1 << 22


@runtime_checkable
class WindowSampler(Protocol):
    """Chooses the windows of each step."""

    def starts(self, step: int) -> NDArray[np.int64]:
        """Return where the windows of ``step``, counted from 0, begin."""
        ...


def window_sampler(
    order: DataOrder, *, num_tokens: int, length: int, batch_size: int, seed: int
) -> WindowSampler:
    """Return the sampler of a data set.

    Raises:
        ValueError: A size is not positive, or the data is too short.
    """
    kind = UniformWindows if isinstance(order, RandomWindows) else ShuffledWindows
    return kind(num_tokens=num_tokens, length=length, batch_size=batch_size, seed=seed)


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
class Batch:
    """What one step trains on."""

    token_ids: Int[Tensor, "batch seq"]
    """Windows of the data."""
    targets: Int[Tensor, "batch seq"]
    """The same windows one token later."""
    documents: Int[Tensor, "batch seq"] | None
    """Number of the document of each token of ``token_ids``; None where attention crosses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """Reads the batch of any step; keeps no state from one step to the next."""

    tokens: NDArray[np.integer]
    """The data, may be memory-mapped."""
    vocab_size: int
    """All tokens have to be below."""
    sampler: WindowSampler
    """Chooses the windows."""
    length: int
    """Tokens in a window."""
    device: torch.device
    """Where the batch goes."""
    document_starts: Int64[np.ndarray, " documents"] | None = None
    """Position of each document's first token; None means that documents do not matter.

    The last token of a document still learns to predict the first of the next one, because that is
    how a text begins after an end-of-text token.
    """

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``, counted from 0.

        Raises:
            ValueError: It holds a token outside of the vocabulary.
        """
        starts = self.sampler.starts(step)
        windows = _read_windows(self.tokens, starts, self.length)
        # Mapped files are not read whole before, and a GPU would not say which token it was.
        check_ids(windows, self.vocab_size)
        token_ids, targets = _shifted(windows, self.device)
        return Batch(token_ids=token_ids, targets=targets, documents=self._documents(starts))

    def _documents(self, starts: Int64[np.ndarray, " batch"]) -> Int[Tensor, "batch seq"] | None:
        if self.document_starts is None:
            return None
        positions = starts[:, None] + np.arange(self.length)
        numbers = np.searchsorted(self.document_starts, positions, side="right") - 1
        return torch.from_numpy(numbers).to(self.device)


def get_batch(
    dataset: NDArray[np.integer], batch_size: int, context_length: int, device: torch.device | str
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Return random windows and the same windows shifted by one, on ``device``.

    Starts are uniform over all ``len(dataset) - context_length`` possible ones, drawn with torch's
    global generator.

    Raises:
        ValueError: The data set has no window of ``context_length + 1`` tokens, or a size is not
            positive.
    """
    num_starts = len(dataset) - context_length
    if context_length < 1 or batch_size < 1:
        raise ValueError(f"context_length={context_length} and batch_size={batch_size} must be > 0")
    if num_starts <= 0:
        raise ValueError(
            f"{len(dataset)} tokens hold no window of context_length + 1 = {context_length + 1}"
        )
    starts = torch.randint(num_starts, (batch_size,)).numpy()
    return _shifted(_read_windows(dataset, starts, context_length), device)


def fingerprint(tokens: NDArray[np.integer]) -> str:
    """Return a hash that tells data sets apart without reading the large ones whole.

    It covers the type, the length and up to 1,024 blocks of 4,096 tokens, evenly spread.
    """
    digest = hashlib.sha256(f"{tokens.dtype.str} {len(tokens)}".encode())
    for block in _spread_blocks(tokens):
        digest.update(block.tobytes())
    return digest.hexdigest()


def check_tokens(tokens: NDArray[np.integer], vocab_size: int) -> None:
    """Raise unless the tokens are integers inside of the vocabulary.

    Arrays in memory are read whole. Of those that are mapped from a file only the blocks of
    ``fingerprint`` are: ``open_token_file`` has read the rest.

    Raises:
        TypeError: The tokens are no integers.
        ValueError: One is outside of the vocabulary; names it and its place.
    """
    if tokens.dtype.kind not in "iu" or tokens.ndim != 1:
        raise TypeError(
            f"expected a row of integer tokens, got {tokens.dtype} of shape {tokens.shape}"
        )
    is_mapped = isinstance(tokens, np.memmap)
    for block in _spread_blocks(tokens) if is_mapped else _all_blocks(tokens):
        check_ids(block, vocab_size)


def check_ids(ids: NDArray[np.integer], vocab_size: int) -> None:
    """Raise ``ValueError`` where an id is outside of the vocabulary."""
    for extreme in (int(ids.min()), int(ids.max())):
        if not 0 <= extreme < vocab_size:
            raise ValueError(
                f"the data holds the token {extreme}, but the model's vocab_size is {vocab_size}"
            )


def check_document_starts(starts: Int64[np.ndarray, " documents"], num_tokens: int) -> None:
    """Raise ``ValueError`` unless the starts ascend from 0 to at most ``num_tokens``."""
    is_ascending = len(starts) > 0 and starts[0] == 0 and bool(np.all(np.diff(starts) >= 0))
    if not is_ascending or starts[-1] > num_tokens:
        raise ValueError(
            f"document starts must ascend from 0 to at most {num_tokens}, got {starts[:3]} … "
            f"{starts[-1:]}"
        )


def _read_windows(
    dataset: NDArray[np.integer], starts: NDArray[np.integer], length: int
) -> Int64[np.ndarray, "batch length_and_one"]:
    """Return the windows from ``starts`` on, each with the token after it."""
    return dataset[starts[:, None] + np.arange(length + 1)].astype(np.int64)


def _shifted(
    windows: Int64[np.ndarray, "batch length_and_one"], device: torch.device | str
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    tokens = torch.from_numpy(windows).to(device)
    # The targets have memory of their own: who masks tokens in place must not change them.
    return tokens[:, :-1], tokens[:, 1:].clone()


def _check_sizes(length: int, batch_size: int) -> None:
    if length <= 0 or batch_size <= 0:
        raise ValueError(f"length={length}, batch_size={batch_size} must be positive")


@lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, length: int, num_windows: int) -> tuple[int, NDArray[np.int64]]:
    """Return the shift and the order of the windows of an epoch."""
    rng = np.random.default_rng((seed, epoch))
    return int(rng.integers(length)), rng.permutation(num_windows)


def _spread_blocks(tokens: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    num_blocks = -(-len(tokens) // _BLOCK_TOKENS)
    for block in np.unique(np.linspace(0, num_blocks - 1, min(num_blocks, 1024)).astype(np.int64)):
        yield tokens[block * _BLOCK_TOKENS : (block + 1) * _BLOCK_TOKENS]


def _all_blocks(tokens: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    for first in range(0, len(tokens), _CHECKED_TOKENS):
        yield tokens[first : first + _CHECKED_TOKENS]
