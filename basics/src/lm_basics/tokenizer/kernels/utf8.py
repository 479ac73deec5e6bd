"""Validity of UTF-8."""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.blocks import load_word

_HIGH_BITS = np.uint64(0x8080808080808080)
_NONE = np.uint64(0)


def find_invalid_utf8(text, start, end):
    """Return the place of the first byte that starts no valid character, ``end`` if all are.

    Surrogates, overlong forms and what lies above U+10FFFF are invalid (Unicode 16, table 3-7).
    Nothing behind the end is read.
    """
    place = start
    while place < end:
        if place + 8 <= end and load_word(text, place) & _HIGH_BITS == _NONE:
            place += 8
            continue
        length = _character_length(text, place, end)
        if length == 0:
            return place
        place += length
    return end


@njit(inline="always")
def _character_length(text, place, end):
    """Return the bytes of the character at ``place``, 0 if it is not valid."""
    lead = text[place]
    if lead < 0x80:
        return 1
    length = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if lead < 0xC2 or lead > 0xF4 or place + length > end:
        return 0
    for offset in range(1, length):
        if text[place + offset] & 0xC0 != 0x80:
            return 0
    second = text[place + 1]
    is_overlong = (lead == 0xE0 and second < 0xA0) or (lead == 0xF0 and second < 0x90)
    is_too_large = (lead == 0xED and second > 0x9F) or (lead == 0xF4 and second > 0x8F)
    return 0 if is_overlong or is_too_large else length
