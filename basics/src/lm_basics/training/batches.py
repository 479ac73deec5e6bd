"""Batches of consecutive tokens: the course's random ones, and those of a step of a run."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Int64
from numpy.typing import NDArray
from torch import Tensor

from lm_basics.training.data_order import WindowSampler
from lm_basics.training.token_stream import check_ids


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
