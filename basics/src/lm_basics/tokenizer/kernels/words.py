"""Words: their keys in hash tables, and the next ones of a text, noted before they are looked up.

A key is two numbers of 64 bits. Up to 15 bytes it holds the word itself, zero-padded, and in its
last byte the length, so that comparing keys compares words:

    "the" -> (0x0000000000656874, 0x0300000000000000)

Of longer words the second number is a hash of all bytes under the mark 255, and whoever finds the
key compares the bytes as well. The second number is never 0, which marks a free entry.

A table larger than the processor's cache answers late. So the words of a block of text are all
noted, each with its key and the entry to look at, and that entry is requested; by the time the
first note is read, the memory is on its way for all.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import (
    count_trailing_zeros,
    load_word,
    prefetch,
    uint8_at,
)
from lm_basics.tokenizer.kernels.records import (
    ENOUGH_WORDS,
    ENTRY,
    GPT4,
    MAX_NOTED_BYTES,
    NOTE,
    TAIL,
)
from lm_basics.tokenizer.kernels.scanner import certain_starts, next_end

MAX_KEY_BYTES = 15

NOTE_LOW, NOTE_HIGH, NOTE_SLOT, NOTE_PLACE, NOTE_CODES, NOTE_AMOUNT = range(NOTE)
"""A note: both numbers of the key, the entry to look at, place and length in the text; for the
encoder also the ids, or the address of them, and how many they are."""

LENGTH_BITS = 30

_NONE = np.uint64(0)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LENGTH_SHIFT = np.uint64(LENGTH_BITS)
_LENGTH_MASK = np.uint64((1 << LENGTH_BITS) - 1)
_KEY_LENGTH_SHIFT = np.uint64(56)
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
    return low, high | np.uint64(length) << _KEY_LENGTH_SHIFT


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
    """Return whether two stretches of at least 8 bytes are equal; the last step overlaps."""
    place = 0
    while place + 8 < length:
        if load_word(a, a_start + place) != load_word(b, b_start + place):
            return False
        place += 8
    place = length - 8
    return load_word(a, a_start + place) == load_word(b, b_start + place)


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


@njit(inline="always")
def pack_place(start, length):
    """Return place and length of a word as one number."""
    return np.uint64(start) << _LENGTH_SHIFT | np.uint64(length)


@njit(inline="always")
def start_of(place):
    """Return where a packed place begins."""
    return np.int64(place >> _LENGTH_SHIFT)


@njit(inline="always")
def length_of(place):
    """Return the length of a packed place."""
    return np.int64(place & _LENGTH_MASK)


@njit(inline="always")
def read_words(pattern, text, position, last, end, classes, table, mask, notes):
    """Note the next pre-tokens, as many as are worth a round; return how many, and their end.

    Words begin before ``last``. One of more than ``MAX_NOTED_BYTES`` is read alone.
    """
    count, stop = 0, position
    while count < ENOUGH_WORDS and stop < last:
        more, behind = _read_block(pattern, text, stop, end, classes, table, mask, notes, count)
        if behind - stop > MAX_NOTED_BYTES:
            if count == 0:
                return 1, behind
            break
        count, stop = more, behind
    return count, stop


@njit(inline="always")
def _read_block(pattern, text, position, end, classes, table, mask, notes, count):
    """Note the pre-tokens of one block behind ``count`` others; return the count and their end."""
    starts = _NONE
    if pattern != GPT4:
        starts = certain_starts(text, position, end)
    if starts == _NONE:
        stop = next_end(pattern, text, position, end, classes)
        _note_word(text, position, stop, table, mask, notes, count)
        return count + 1, stop
    first = position
    while starts != _NONE:
        stop = position + count_trailing_zeros(starts)
        starts &= starts - _ONE
        _note_word(text, first, stop, table, mask, notes, count)
        first = stop
        count += 1
    return count, first


@njit(inline="always")
def _note_word(text, start, stop, table, mask, notes, number):
    length = stop - start
    low, high = word_key(text, start, length)
    slot = slot_of(low, high, mask)
    prefetch(table, np.int64(slot) * ENTRY)
    note = number * NOTE
    notes[note + NOTE_LOW] = low
    notes[note + NOTE_HIGH] = high
    notes[note + NOTE_SLOT] = slot
    notes[note + NOTE_PLACE] = pack_place(start, length)


@njit
def copy_tail(record, text, position, end):
    """Copy the last bytes of a text to where more is readable behind them.

    Returns a pointer that finds the copy at the places of the original.
    """
    tail = uint8_at(record[TAIL])
    copy_bytes(text, position, end - position, tail, 0)
    return uint8_at(record[TAIL] - position)
