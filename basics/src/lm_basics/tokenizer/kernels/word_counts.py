"""Counts of distinct pre-tokens.

The table's entries are the key of a word, where its bytes lie, and its count. The words of a block
of text are all hashed, and their cache lines asked for, before the first one is looked up: the
waits for memory overlap.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.blocks import (
    count_trailing_zeros,
    prefetch,
    uint8_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    ARENA,
    ARENA_FULL,
    ARENA_SIZE,
    ARENA_USED,
    CLASSES,
    DONE,
    ENTRY,
    NOTES,
    POSITION,
    SEGMENT,
    TABLE_FULL,
    WORDS,
    WORDS_CAPACITY,
    WORDS_LIMIT,
    WORDS_USED,
)
from lm_basics.tokenizer.kernels.scanner import certain_starts, next_start
from lm_basics.tokenizer.kernels.words import (
    copy_bytes,
    is_long,
    same_bytes,
    slot_of,
    word_key,
)

LOW, HIGH, PLACE, COUNT = range(ENTRY)
"""``PLACE`` packs where the word lies in the arena and, in its low bits, how long it is."""

_LENGTH_BITS = np.uint64(30)
_LENGTH_MASK = np.uint64((1 << 30) - 1)
_ONE = np.uint64(1)
_NONE = np.uint64(0)


def count_words(record, text, starts, ends, num_segments):
    """Count the pre-tokens of the segments ``text[starts[i] : ends[i]]``.

    Returns ``DONE``, or what is full. Then the caller makes it larger and calls again; the work
    goes on at the segment and position that the record holds.
    """
    table = uint64_at(record[WORDS])
    mask = np.uint64(record[WORDS_CAPACITY] - 1)
    arena = uint8_at(record[ARENA])
    classes = uint8_at(record[CLASSES])
    notes = uint64_at(record[NOTES])
    while record[SEGMENT] < num_segments:
        end = ends[record[SEGMENT]]
        position = max(record[POSITION], starts[record[SEGMENT]])
        while position < end:
            record[POSITION] = position
            if record[WORDS_USED] > record[WORDS_LIMIT]:
                return TABLE_FULL
            count, stop = _read_block(text, position, end, classes, table, mask, notes)
            if record[ARENA_USED] + (stop - position) > record[ARENA_SIZE]:
                return ARENA_FULL
            for number in range(count):
                _count_word(text, notes, number, table, mask, arena, record)
            position = stop
        record[SEGMENT] += 1
        record[POSITION] = 0
    return DONE


@njit(inline="always")
def _read_block(text, position, end, classes, table, mask, notes):
    """Note the next pre-tokens; return their number and where they end."""
    starts = certain_starts(text, position, end)
    if starts == _NONE:
        stop = next_start(text, position, end, classes)
        _note_word(text, position, stop, table, mask, notes, 0)
        return 1, stop
    first = position
    count = 0
    while starts != _NONE:
        stop = position + count_trailing_zeros(starts)
        starts &= starts - _ONE
        _note_word(text, first, stop, table, mask, notes, count)
        first = stop
        count += 1
    return count, first


@njit(inline="always")
def _note_word(text, start, stop, table, mask, notes, number):
    """Write down the key, the slot and the place of a word, and ask for its entry."""
    length = stop - start
    low, high = word_key(text, start, length)
    slot = slot_of(low, high, mask)
    prefetch(table, np.int64(slot) * ENTRY)
    note = number * ENTRY
    notes[note] = low
    notes[note + 1] = high
    notes[note + 2] = slot
    notes[note + 3] = np.uint64(start) << _LENGTH_BITS | np.uint64(length)


@njit(inline="always")
def _count_word(text, notes, number, table, mask, arena, record):
    """Look a noted word up and count it."""
    note = number * ENTRY
    low, high, slot = notes[note], notes[note + 1], notes[note + 2]
    while True:
        entry = np.int64(slot) * ENTRY
        if table[entry + LOW] == low and table[entry + HIGH] == high:
            if not is_long(high) or _is_word(text, notes[note + 3], arena, table[entry + PLACE]):
                table[entry + COUNT] += _ONE
                return
        if table[entry + HIGH] == _NONE:
            _enter_word(text, low, high, notes[note + 3], _ONE, table, entry, arena, record)
            return
        slot = (slot + _ONE) & mask


@njit
def _is_word(text, place, arena, arena_place):
    """Return whether two packed places hold the same bytes."""
    length = place & _LENGTH_MASK
    if arena_place & _LENGTH_MASK != length:
        return False
    start = np.int64(place >> _LENGTH_BITS)
    return same_bytes(text, start, arena, np.int64(arena_place >> _LENGTH_BITS), np.int64(length))


@njit
def _enter_word(text, low, high, place, count, table, entry, arena, record):
    """Fill a free entry and copy the word into the arena."""
    length = np.int64(place & _LENGTH_MASK)
    used = record[ARENA_USED]
    copy_bytes(text, np.int64(place >> _LENGTH_BITS), length, arena, used)
    table[entry + LOW] = low
    table[entry + HIGH] = high
    table[entry + PLACE] = np.uint64(used) << _LENGTH_BITS | np.uint64(length)
    table[entry + COUNT] = count
    record[WORDS_USED] += 1
    record[ARENA_USED] = used + length


def add_word_counts(other, record):
    """Add the counts of another table; both table and arena must have room for all of them."""
    theirs, their_arena = uint64_at(other[WORDS]), uint8_at(other[ARENA])
    table, arena = uint64_at(record[WORDS]), uint8_at(record[ARENA])
    mask = np.uint64(record[WORDS_CAPACITY] - 1)
    for number in range(other[WORDS_CAPACITY]):
        own = number * ENTRY
        if theirs[own + HIGH] == _NONE:
            continue
        low, high, place = theirs[own + LOW], theirs[own + HIGH], theirs[own + PLACE]
        slot = slot_of(low, high, mask)
        while True:
            entry = np.int64(slot) * ENTRY
            if table[entry + LOW] == low and table[entry + HIGH] == high:
                if not is_long(high) or _is_word(their_arena, place, arena, table[entry + PLACE]):
                    table[entry + COUNT] += theirs[own + COUNT]
                    break
            if table[entry + HIGH] == _NONE:
                count = theirs[own + COUNT]
                _enter_word(their_arena, low, high, place, count, table, entry, arena, record)
                break
            slot = (slot + _ONE) & mask
    return DONE


def lay_out_words(record, tokens, word_of, word_counts):
    """Write the words of two bytes and more one behind the other, as ``merge_pairs`` needs them.

    Returns the number of words.
    """
    table, arena = uint64_at(record[WORDS]), uint8_at(record[ARENA])
    place, words = 1, 0
    for number in range(record[WORDS_CAPACITY]):
        entry = number * ENTRY
        length = np.int64(table[entry + PLACE] & _LENGTH_MASK)
        if length < 2:
            continue
        start = np.int64(table[entry + PLACE] >> _LENGTH_BITS)
        for offset in range(length):
            tokens[place + offset] = arena[start + offset]
            word_of[place + offset] = words
        word_counts[words] = np.int64(table[entry + COUNT])
        place += length + 1
        words += 1
    return words
