"""Baselines for a language model: a general compressor, and an n-gram model of its tokens."""

import lzma
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lm_basics.ngram import KneserNeyModel
from lm_basics.perplexity import bits_per_byte
from lm_basics.token_files.token_file import TokenFile

MIN_DICTIONARY = 1 << 20
MAX_DICTIONARY = 1536 << 20
"""Largest dictionary that the format allows."""


def xz_bits_per_byte(training_text: bytes, held_out: bytes | Sequence[bytes]) -> float:
    """Return what ``xz -9e`` needs for held-out text once it has seen the training text.

    ``8 * (|xz(training + held out)| - |xz(training)|) / |held out|``. The dictionary covers all of
    the text, so nothing that was seen is out of reach.

    Raises:
        ValueError: There is no held-out text.
    """
    held_out = held_out if isinstance(held_out, bytes) else b"".join(held_out)
    if not held_out:
        raise ValueError("held_out is empty: there is nothing to predict")
    # lzma gives the interpreter lock back, so both sizes are computed at the same time.
    with ThreadPoolExecutor(2) as threads:
        before, after = threads.map(_compressed_size, [training_text, training_text + held_out])
    return 8.0 * (after - before) / len(held_out)


def ngram_bits_per_byte(training: TokenFile, held_out: TokenFile, *, order: int = 5) -> float:
    """Return the code length of held-out tokens under a modified Kneser-Ney model.

    Args:
        training: Tokens to count.
        held_out: Tokens to predict, of the same vocabulary; every document starts anew.
        order: Longest n-gram.

    Raises:
        ValueError: The two files have different vocabularies, or the second does not record the
            bytes of its text.
    """
    if training.vocab_size != held_out.vocab_size:
        raise ValueError(
            f"vocab_size={training.vocab_size} of the training tokens differs from "
            f"{held_out.vocab_size} of the held-out tokens"
        )
    if held_out.num_bytes is None:
        raise ValueError(f"{held_out.path} does not record the bytes of its text")
    model = KneserNeyModel.fit(
        training.tokens,
        vocab_size=training.vocab_size,
        order=order,
        document_starts=training.document_starts,
    )
    log_probabilities = model.log_probabilities(held_out.tokens, held_out.document_starts)
    return bits_per_byte(-float(log_probabilities.sum()), held_out.num_bytes)


def _compressed_size(text: bytes) -> int:
    # Memory grows with the dictionary: ten times 16 MB for the default corpus instead of ten times
    # the 64 MB that the preset takes.
    size = min(max(1 << len(text).bit_length(), MIN_DICTIONARY), MAX_DICTIONARY)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]
    return len(lzma.compress(text, format=lzma.FORMAT_XZ, filters=filters))
