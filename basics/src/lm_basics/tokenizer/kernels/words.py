"""Keys of words, for the hash tables of counting and of encoding.

A key is two numbers of 64 bits. Up to 15 bytes it holds the word itself, zero-padded, and in its
last byte the length, so that comparing keys compares words:

    "the" -> (0x0000000000656874, 0x0300000000000000)

Of longer words the second number is a hash of all bytes under the mark 255, and whoever finds the
key compares the bytes as well. The second number is never 0, which marks a free entry.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.blocks import load_word
from lm_basics.tokenizer.kernels.records import ENTRY

MAX_KEY_BYTES = 15

_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LENGTH_SHIFT = np.uint64(56)
_LONG_MARK = np.uint64(0xFF << 56)
_HALF = np.uint64(32)
# Odd numbers whose bits look random, so that a product mixes all bits below into the high ones.
_MIX_1 = np.uint64(0x9E3779B97F4A7C15)
_MIX_2 = np.uint64(0xC2B2AE3D27D4EB4F)


@njit(inline="always")
def word_key(text, start, length):
    """Return the two numbers of the key of ``text[start : start + length]``.

    24 bytes from ``start`` on must be readable.
    """
    low = load_word(text, start) & (_ALL >> np.uint64(64 - 8 * min(length, 8)))
    if length > MAX_KEY_BYTES:
        return low, _hash_bytes(text, start, length) | _LONG_MARK
    rest = _ONE << np.uint64(8 * max(length - 8, 0))
    high = load_word(text, start + 8) & (rest - _ONE)
    return low, high | np.uint64(length) << _LENGTH_SHIFT


@njit(inline="always")
def slot_of(low, high, mask):
    """Return the first entry to look for a key in, of ``mask + 1`` entries."""
    value = (low ^ (high * _MIX_2)) * _MIX_1
    return (value ^ (value >> _HALF)) & mask


@njit(inline="always")
def is_long(high):
    """Return whether the key alone does not tell the word."""
    return high >= _LONG_MARK


@njit
def same_bytes(a, a_start, b, b_start, length):
    """Return whether two stretches of bytes are equal."""
    for offset in range(length):
        if a[a_start + offset] != b[b_start + offset]:
            return False
    return True


@njit
def copy_bytes(source, start, length, target, place):
    """Copy ``length`` bytes."""
    for offset in range(length):
        target[place + offset] = source[start + offset]


def move_entries(old, old_capacity, new, capacity):
    """Enter the entries of one table into another that is empty and larger."""
    mask = np.uint64(capacity - 1)
    for number in range(old_capacity):
        entry = number * ENTRY
        if old[entry + 1] == 0:
            continue
        slot = slot_of(old[entry], old[entry + 1], mask)
        while new[np.int64(slot) * ENTRY + 1] != 0:
            slot = (slot + _ONE) & mask
        for field in range(ENTRY):
            new[np.int64(slot) * ENTRY + field] = old[entry + field]
    return 0


@njit
def _hash_bytes(text, start, length):
    """Hash 8 bytes at a time; the last step overlaps the one before."""
    value = np.uint64(length)
    place = start
    last = start + length - 8
    while place < last:
        value = (value ^ load_word(text, place)) * _MIX_1
        value ^= value >> _HALF
        place += 8
    value = (value ^ load_word(text, last)) * _MIX_2
    return value ^ (value >> _HALF)
