"""Words: their keys in hash tables, and the next ones of a text, noted before they are looked up.

A key is two numbers of 64 bits. Up to 15 bytes it holds the word itself, zero-padded, and in its
last byte the length, so that comparing keys compares words:

    "the" -> (0x0000000000656874, 0x0300000000000000)

Of longer words the second number is a hash of all bytes under the mark 255, and whoever finds the
key compares the bytes as well. The second number is never 0, which marks a free entry.

A table larger than the processor's cache answers late. So the words of a block of text are all
noted, each with its key and the entry to look at, and that entry is requested; by the time the
first note is read, the memory is on its way for all.

Writing without spaces makes words of a whole sentence, which no cache has seen before, but their
pieces, a few characters each, come again and again. So long words are cut at places that no merge
ever crosses: their pieces are words of their own.

The first merge across a place joins a token that ends there with one that begins there, so the text
before it ends with the left token of some merge and the text behind it begins with the right one.
Of every merge the last bytes of the left token and the first bytes of the right one, three each at
most, are kept: how many they are (the *kind*, nine of them) in a table of the two bytes at the
place, and all of them as a bit in a table by hash. Where neither finds any, nothing can cross; a
bit that another merge has set makes a piece longer than it had to be, and changes no id.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import (
    count_trailing_zeros,
    load_word,
    prefetch,
    uint8_at,
    uint16_at,
)
from lm_basics.tokenizer.kernels.records import (
    CROSSING_KINDS,
    CROSSINGS,
    CROSSINGS_SHIFT,
    ENOUGH_WORDS,
    ENTRY,
    GPT4,
    MAX_CACHED_BYTES,
    TAIL,
)
from lm_basics.tokenizer.kernels.scanner import certain_starts, next_end

MAX_KEY_BYTES = 15

NOTE = 4
NOTE_LOW, NOTE_HIGH, NOTE_SLOT, NOTE_PLACE = range(NOTE)
"""A note: both numbers of the key, the entry to look at, place and length in the text."""

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

_MOST_BYTES = 3
_THREE = np.uint64(3)
_BYTE = np.uint64(8)
_BITS = np.uint64(7)
_HALF_OF_KEY = np.uint64(24)
_KIND_SHIFT = np.uint64(48)


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


def enter_crossings(record, token_bytes, spans, lefts, rights, num_merges):
    """Fill both tables, which are all zeros before; ``spans`` says where the bytes of ids lie."""
    kinds, crossings = uint16_at(record[CROSSING_KINDS]), uint8_at(record[CROSSINGS])
    shift = np.uint64(record[CROSSINGS_SHIFT])
    for rank in range(num_merges):
        left, right = np.int64(lefts[rank]), np.int64(rights[rank])
        behind = spans[2 * left] + np.int64(spans[2 * left + 1])
        num_left = min(_MOST_BYTES, np.int64(spans[2 * left + 1]))
        first = np.int64(spans[2 * right])
        num_right = min(_MOST_BYTES, np.int64(spans[2 * right + 1]))
        if num_left == 0 or num_right == 0:
            continue
        kind = _kind(num_left, num_right)
        pair = np.int64(token_bytes[behind - 1]) << 8 | np.int64(token_bytes[first])
        kinds[pair] |= 1 << kind
        before = _bytes_before(token_bytes, behind, num_left)
        bit = _bit_of(before, _bytes_behind(token_bytes, first, num_right), kind, shift)
        crossings[np.int64(bit >> _THREE)] |= np.uint8(_ONE << (bit & _BITS))
    return 0


@njit(inline="always")
def next_cut(kinds, crossings, shift, text, start, place, end):
    """Return the first place behind ``place`` that no merge crosses, ``end`` if there is none.

    The word is ``text[start:end]``, of whole characters.
    """
    cut = place + 1
    while cut < end:
        if text[cut] & 0xC0 != 0x80:
            found = np.uint64(kinds[np.int64(text[cut - 1]) << 8 | np.int64(text[cut])])
            if not _may_cross(text, start, cut, end, found, crossings, shift):
                break
        cut += 1
    return cut


@njit(inline="always")
def _may_cross(text, start, cut, end, kinds, crossings, shift):
    """Return whether one of the kinds of merges may cross a place."""
    while kinds != _NONE:
        kind = count_trailing_zeros(kinds)
        kinds &= kinds - _ONE
        num_left, num_right = kind // 3 + 1, kind % 3 + 1
        if num_left > cut - start or num_right > end - cut:
            continue
        before = _bytes_before(text, cut, num_left)
        bit = _bit_of(before, _bytes_behind(text, cut, num_right), kind, shift)
        if np.uint64(crossings[np.int64(bit >> _THREE)]) >> (bit & _BITS) & _ONE != _NONE:
            return True
    return False


@njit(inline="always")
def _kind(num_left, num_right):
    return 3 * (num_left - 1) + num_right - 1


@njit(inline="always")
def _bytes_before(text, place, number):
    """Return up to three bytes that end at a place as one number."""
    value = np.uint64(text[place - 1])
    for offset in range(2, number + 1):
        value = value << _BYTE | np.uint64(text[place - offset])
    return value


@njit(inline="always")
def _bytes_behind(text, place, number):
    """Return up to three bytes from a place on as one number."""
    value = np.uint64(text[place])
    for offset in range(1, number):
        value = value << _BYTE | np.uint64(text[place + offset])
    return value


@njit(inline="always")
def _bit_of(before, behind, kind, shift):
    """Return the number of the bit that stands for what surrounds a place."""
    key = before | behind << _HALF_OF_KEY | np.uint64(kind) << _KIND_SHIFT
    return ((key ^ key >> _HALF_OF_KEY) * _MIX_1) >> shift
