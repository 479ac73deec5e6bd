"""Places in a long word that no merge ever crosses: its pieces are words of their own.

Writing without spaces makes words of a whole sentence, which no cache has seen before, but their
pieces, a few characters each, come again and again.

The first merge across a place joins a token that ends there with one that begins there, so the text
before it ends with the left token of some merge and the text behind it begins with the right one.
Of every merge the last bytes of the left token and the first bytes of the right one, three each at
most, are kept: how many they are (the *kind*, nine of them) in a table of the two bytes at the
place, and all of them as a bit in a table by hash. Where neither finds any, nothing can cross; a
bit that another merge has set makes a piece longer than it had to be, and changes no id.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import count_trailing_zeros, uint8_at, uint16_at
from lm_basics.tokenizer.kernels.records import CROSSING_KINDS, CROSSINGS, CROSSINGS_SHIFT

_MOST_BYTES = 3

_ONE = np.uint64(1)
_NONE = np.uint64(0)
_BYTE = np.uint64(8)
_HALF_OF_KEY = np.uint64(24)
_KIND_SHIFT = np.uint64(48)
_BITS = np.uint64(7)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_THREE = np.uint64(3)


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
    return ((key ^ key >> _HALF_OF_KEY) * _MIX) >> shift
