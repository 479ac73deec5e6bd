"""The next words of a text, hashed and asked for before the first one is looked up.

A table larger than the processor's cache answers late. So the words of a block of text are all
noted, each with its key and the entry to look at, and that entry is requested; by the time the
first note is read, the memory is on its way for all.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.blocks import count_trailing_zeros, prefetch, uint8_at
from lm_basics.tokenizer.kernels.gpt4_scanner import next_start_gpt4
from lm_basics.tokenizer.kernels.records import (
    ENOUGH_WORDS,
    ENTRY,
    GPT4,
    MAX_CACHED_BYTES,
    TAIL,
)
from lm_basics.tokenizer.kernels.scanner import certain_starts, next_start
from lm_basics.tokenizer.kernels.words import copy_bytes, slot_of, word_key

NOTE = 4
NOTE_LOW, NOTE_HIGH, NOTE_SLOT, NOTE_PLACE = range(NOTE)
"""A note: both numbers of the key, the entry to look at, place and length in the text."""

LENGTH_BITS = 30

_LENGTH_SHIFT = np.uint64(LENGTH_BITS)
_LENGTH_MASK = np.uint64((1 << LENGTH_BITS) - 1)
_ONE = np.uint64(1)
_NONE = np.uint64(0)


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

    Words begin before ``last``. One of more than ``MAX_CACHED_BYTES`` is read alone.
    """
    count, stop = 0, position
    while count < ENOUGH_WORDS and stop < last:
        more, behind = _read_block(pattern, text, stop, end, classes, table, mask, notes, count)
        if behind - stop > MAX_CACHED_BYTES:
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
        if pattern == GPT4:
            stop = next_start_gpt4(text, position, end, classes)
        else:
            stop = next_start(text, position, end, classes)
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
