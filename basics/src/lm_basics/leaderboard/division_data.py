"""The data of a division: official token files, and the proof that they are apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt64

from lm_basics.default_corpus import prepare_default_corpus
from lm_basics.leaderboard.divisions import TrainingDivision
from lm_basics.token_files import TokenFile, open_token_file
from lm_basics.tokenizer import END_OF_TEXT, Tokenizer
from lm_shared.files import hash_file
from lm_shared.leaderboard import Check

WINDOW_LENGTH = 64
"""Tokens in a row that count as the same text."""
MAX_OVERLAP = 0.02
"""Share of held-out windows that may occur in training: web corpora repeat some text by nature."""
MAX_LAPTOP_VOCAB_SIZE = 65_536
_NUM_WINDOWS = 2_048
_BLOCK_TOKENS = 1 << 22
_MULTIPLIER = 0x9E3779B97F4A7C15


@dataclass(frozen=True, kw_only=True, slots=True)
class DivisionData:
    """Token files that a run trains and is measured on."""

    train: TokenFile
    """To learn from."""
    validation: TokenFile
    """To measure the score on, all of it."""
    tokenizer: Tokenizer
    """Made both."""
    is_official: bool
    """Whether it was made here from the division's texts; files that were given are not."""

    @property
    def end_of_text(self) -> int:
        """Id of the token before the first held-out one."""
        return self.tokenizer.special_token_ids[END_OF_TEXT]

    def hashes(self) -> dict[str, str]:
        """Return what tells the data from other data; every token counts."""
        return {
            "train": hash_file(self.train.path),
            "validation": hash_file(self.validation.path),
            "tokenizer": self.tokenizer.vocab_hash,
        }


def make_laptop_data(folder: Path, *, vocab_size: int) -> DivisionData:
    """Train the tokenizer on the default corpus's training documents and encode both sides.

    Raises:
        FileNotFoundError: the corpus is not installed.
        ValueError: ``folder`` holds it in another vocabulary size, or that is too large.
    """
    if vocab_size > MAX_LAPTOP_VOCAB_SIZE:
        raise ValueError(f"vocab_size={vocab_size} is more than {MAX_LAPTOP_VOCAB_SIZE:,}")
    corpus = prepare_default_corpus(folder, vocab_size=vocab_size)
    return DivisionData(
        train=corpus.train,
        validation=corpus.validation,
        tokenizer=corpus.tokenizer,
        is_official=True,
    )


def open_division_data(folder: Path, division: TrainingDivision) -> DivisionData:
    """Open ``train.bin``, ``validation.bin`` and the folder ``tokenizer`` of a data folder.

    Raises:
        FileNotFoundError: one of them is missing.
        ValueError: one is damaged, they do not belong together, or the vocabulary is not of the
            division's size.
    """
    tokenizer = Tokenizer.from_folder(folder / "tokenizer")
    data = DivisionData(
        train=open_token_file(folder / "train.bin"),
        validation=open_token_file(folder / "validation.bin"),
        tokenizer=tokenizer,
        is_official=False,
    )
    for file in (data.train, data.validation):
        if file.vocab_hash != tokenizer.vocab_hash:
            raise ValueError(f"{file.path} was not made by the tokenizer in {folder / 'tokenizer'}")
    if END_OF_TEXT not in tokenizer.special_token_ids:
        raise ValueError(f"the tokenizer in {folder / 'tokenizer'} has no {END_OF_TEXT}")
    wanted = division.vocab_size
    if wanted is not None and tokenizer.vocab_size != wanted:
        raise ValueError(
            f"the tokenizer in {folder / 'tokenizer'} has {tokenizer.vocab_size:,} tokens, but the "
            f"division {division.name} asks for {wanted:,}"
        )
    return data


def check_overlap(data: DivisionData) -> Check:
    """Look for held-out text in the training tokens."""
    share = validation_overlap(data.train.tokens, data.validation.tokens)
    return Check(
        rule="held-out text",
        passed=share <= MAX_OVERLAP,
        detail=(
            f"{share:.1%} of the held-out windows of {WINDOW_LENGTH} tokens occur in the training "
            f"tokens, {MAX_OVERLAP:.0%} may"
        ),
    )


def validation_overlap(
    train: Integer[np.ndarray, " tokens"], validation: Integer[np.ndarray, " held_out"]
) -> float:
    """Return the share of held-out windows of 64 tokens that occur in the training tokens.

    Up to 2,048 windows, evenly spread, are looked up by a 64-bit hash at every place of the
    training tokens. Texts shorter than a window are compared whole.
    """
    length = min(WINDOW_LENGTH, len(validation), len(train))
    if length == 0:
        return 0.0
    places = np.linspace(0, len(validation) - length, _NUM_WINDOWS).astype(np.int64)
    windows = [validation[place : place + length] for place in np.unique(places)]
    wanted = _hash_windows(np.stack(windows), length)[:, 0]
    known = np.unique(wanted)
    is_found = np.zeros(len(known), dtype=bool)
    for block in _overlapping_blocks(train, length):
        hashes = _hash_windows(block, length)
        places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        is_found[places[known[places] == hashes]] = True
    return float(is_found[np.searchsorted(known, wanted)].mean())


def _overlapping_blocks(
    tokens: Integer[np.ndarray, " tokens"], length: int
) -> Iterator[Integer[np.ndarray, " block"]]:
    """Cut so that every window lies whole in some block."""
    for first in range(0, len(tokens) - length + 1, _BLOCK_TOKENS):
        yield tokens[first : first + _BLOCK_TOKENS + length - 1]


def _hash_windows(
    tokens: Integer[np.ndarray, "*rows tokens"], length: int
) -> UInt64[np.ndarray, "*rows windows"]:
    """Return a polynomial hash of every window, modulo 2**64.

    The hash of n + m tokens is that of the first n times x**m, plus that of the last m. So windows
    of a length come from those of its binary digits, in a handful of passes instead of one a token.
    """
    # Mixed and odd, so that small ids do not make small sums.
    power = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(_MULTIPLIER)
    power ^= power >> np.uint64(29)
    power_length = 1
    *rows, num_tokens = tokens.shape
    hashes, covered = np.zeros((*rows, num_tokens + 1), dtype=np.uint64), 0
    while True:
        if length & power_length:
            shifted = power[..., covered:]
            count = min(hashes.shape[-1], shifted.shape[-1])
            hashes = hashes[..., :count] * _factor(power_length) + shifted[..., :count]
            covered += power_length
        if 2 * power_length > length:
            return hashes
        earlier, later = power[..., :-power_length], power[..., power_length:]
        power = earlier * _factor(power_length) + later
        power_length *= 2


def _factor(exponent: int) -> np.uint64:
    """Return the multiplier to a power, as ``numpy`` multiplies: modulo 2**64."""
    return np.uint64(pow(_MULTIPLIER, exponent, 2**64))
