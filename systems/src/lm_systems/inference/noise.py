"""Random numbers that depend on what they are for, not on when they are drawn.

Token ``step`` of a completion is drawn with a number computed from (seed, prompt, repeat of the
prompt, step) alone. A prompt therefore gets the same completion alone or in a batch, in any order
and at any batch size.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# SplitMix64 (Steele, Lea & Flood, 2014, Fig. 14): increment and the two multipliers.
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
# Fewer than float64's 53 bits, so that u * total < total however the product is rounded.
_BITS = 48


def stream_key(seed: int, occurrence: int, prompt_ids: Sequence[int]) -> int:
    """Return 64 bits that name the random stream of one completion."""
    words = np.asarray([seed, occurrence, *prompt_ids], dtype="<i8")
    return int.from_bytes(hashlib.blake2b(words.tobytes(), digest_size=8).digest(), "little")


def uniform_numbers(keys: Sequence[int], steps: Sequence[int]) -> NDArray[np.float64]:
    """Return for each (key, step) a number that is uniform in [0, 1)."""
    # Arrays of uint64 wrap around silently, as the generator wants.
    z = np.array(keys, dtype=np.uint64)
    z += (np.array(steps, dtype=np.uint64) + np.uint64(1)) * _INCREMENT
    z = (z ^ (z >> np.uint64(30))) * _MULTIPLIERS[0]
    z = (z ^ (z >> np.uint64(27))) * _MULTIPLIERS[1]
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(64 - _BITS)).astype(np.float64) * 2.0**-_BITS
