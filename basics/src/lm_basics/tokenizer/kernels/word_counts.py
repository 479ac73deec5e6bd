"""Counts of distinct pre-tokens.

The table's entries are the key of a word, where its bytes lie in an arena, and its count.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import (
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
    NOTE,
    NOTES,
    PADDED_BYTES,
    PATTERN,
    POSITION,
    SEGMENT,
    TABLE_FULL,
    WORDS,
    WORDS_CAPACITY,
    WORDS_LIMIT,
    WORDS_USED,
)
from lm_basics.tokenizer.kernels.words import (
    NOTE_HIGH,
    NOTE_LOW,
    NOTE_PLACE,
    NOTE_SLOT,
    copy_bytes,
    copy_tail,
    is_long,
    length_of,
    pack_place,
    read_words,
    same_bytes,
    slot_of,
    start_of,
)

LOW, HIGH, PLACE, COUNT = range(ENTRY)
"""``PLACE`` packs where the word lies in the arena and, in its low bits, how long it is."""

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
    pattern = record[PATTERN]
    while record[SEGMENT] < num_segments:
        end = ends[record[SEGMENT]]
        position = max(record[POSITION], starts[record[SEGMENT]])
        piece, unpadded_end = text, end - PADDED_BYTES
        while position < end:
            record[POSITION] = position
            if position >= unpadded_end:
                piece = copy_tail(record, text, position, end)
                unpadded_end = end
            if record[WORDS_USED] > record[WORDS_LIMIT]:
                return TABLE_FULL
            count, stop = read_words(
                pattern, piece, position, unpadded_end, end, classes, table, mask, notes
            )
            if record[ARENA_USED] + (stop - position) > record[ARENA_SIZE]:
                return ARENA_FULL
            for number in range(count):
                _count_word(piece, notes, number, table, mask, arena, record)
            position = stop
        record[SEGMENT] += 1
        record[POSITION] = 0
    return DONE


@njit(inline="always")
def _count_word(text, notes, number, table, mask, arena, record):
    """Look a noted word up and count it."""
    note = number * NOTE
    low, high, slot = notes[note + NOTE_LOW], notes[note + NOTE_HIGH], notes[note + NOTE_SLOT]
    place = notes[note + NOTE_PLACE]
    while True:
        entry = np.int64(slot) * ENTRY
        if table[entry + LOW] == low and table[entry + HIGH] == high:
            if not is_long(high) or _is_word(text, place, arena, table[entry + PLACE]):
                table[entry + COUNT] += _ONE
                return
        if table[entry + HIGH] == _NONE:
            _enter_word(text, low, high, place, _ONE, table, entry, arena, record)
            return
        slot = (slot + _ONE) & mask


@njit
def _is_word(text, place, arena, arena_place):
    """Return whether two packed places hold the same bytes."""
    length = length_of(place)
    if length_of(arena_place) != length:
        return False
    return same_bytes(text, start_of(place), arena, start_of(arena_place), length)


@njit
def _enter_word(text, low, high, place, count, table, entry, arena, record):
    """Fill a free entry and copy the word into the arena."""
    length = length_of(place)
    used = record[ARENA_USED]
    copy_bytes(text, start_of(place), length, arena, used)
    table[entry + LOW] = low
    table[entry + HIGH] = high
    table[entry + PLACE] = pack_place(used, length)
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
        length = length_of(table[entry + PLACE])
        if length < 2:
            continue
        start = start_of(table[entry + PLACE])
        for offset in range(length):
            tokens[place + offset] = arena[start + offset]
            word_of[place + offset] = words
        word_counts[words] = np.int64(table[entry + COUNT])
        place += length + 1
        words += 1
    return words
