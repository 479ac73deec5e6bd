"""The training data as one array of tokens: what tells it apart, and whether it fits the model."""

import hashlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

_BLOCK_TOKENS = 4_096
_CHECKED_TOKENS = 1 << 22


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
    """Raise ``ValueError`` unless the starts ascend from 0 to at most the last token."""
    is_ascending = len(starts) > 0 and starts[0] == 0 and bool(np.all(np.diff(starts) >= 0))
    if not is_ascending or starts[-1] > num_tokens:
        raise ValueError(
            f"document starts must ascend from 0 to at most {num_tokens}, got {starts[:3]} … "
            f"{starts[-1:]}"
        )


def _spread_blocks(tokens: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    num_blocks = -(-len(tokens) // _BLOCK_TOKENS)
    for block in np.unique(np.linspace(0, num_blocks - 1, min(num_blocks, 1024)).astype(np.int64)):
        yield tokens[block * _BLOCK_TOKENS : (block + 1) * _BLOCK_TOKENS]


def _all_blocks(tokens: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    for first in range(0, len(tokens), _CHECKED_TOKENS):
        yield tokens[first : first + _CHECKED_TOKENS]
