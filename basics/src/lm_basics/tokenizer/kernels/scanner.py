r"""Pre-tokens of the patterns of GPT-2, found 64 bytes at a time, and of GPT-4.

GPT-2's branches become rules about neighbouring bytes. Within ASCII a pre-token starts

- at a letter, digit or other visible byte whose predecessor is of another class and no space
  (a space before a word belongs to it);
- at whitespace that follows something else;
- at whitespace before something visible: ``\s+(?!\S)`` leaves the last whitespace of a run to the
  word behind it.

Each class is a 64-bit mask, one bit a byte, and "the predecessor" is a shift by one. For ``ab  c``
(lowest bit first) letters are ``11001``; letters whose predecessor is none, ``10001``; less those
after a space, ``10000``; whitespace after something else, ``00100``; whitespace before something
visible, ``00010``. Their union ``10110`` has the starts of ``ab``, `` `` and `` c``.

Contractions (``'s 't 'd 'm 'll 've 're``) move a start: the apostrophe's pre-token ends behind
them. A byte of 128 or more, the end of the text and the last bytes of a block stop the fast rules;
``next_start`` goes one pre-token on, whatever its characters are.

What the branches of GPT-4's pattern become at the first character of a pre-token:

- an apostrophe may begin a contraction, in either case, and the long s of old prints is an ``s``;
- a letter begins a run of letters; any one character but a digit or a line end may stand before it;
- a digit begins up to three digits;
- another visible character begins a run of such, with the line ends behind it; a space may precede;
- white space at the end of the text is one pre-token. Elsewhere it ends behind its last line end,
  or else before its last character, which is left to the word behind it.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import byte_masks, count_trailing_zeros
from lm_basics.tokenizer.kernels.records import GPT2, GPT4, LETTER, NUMBER, OTHER, WHITESPACE

_ONE = np.uint64(1)
_TWO = np.uint64(2)
_NONE = np.uint64(0)
_APOSTROPHE, _SPACE, _LINE_FEED, _RETURN = ord("'"), ord(" "), ord("\n"), ord("\r")
_S, _D, _M, _T, _L, _V, _R, _E = (ord(letter) for letter in "sdmtlvre")
_LOWER_CASE = 0x20
_LONG_S_0, _LONG_S_1 = "\u017f".encode()
_MOST_DIGITS = 3
# Bytes of two characters.
_LONGEST_LOOK = 8

# A start is certain when the three bytes of a contraction before it and the byte behind it lie in
# the block, too.
_LOOKAHEAD = 3
_LAST_CERTAIN = 59


@njit(inline="always")
def certain_starts(text, start, end):
    """Return a mask of the starts after ``start``, itself one, that no later byte can change.

    64 bytes from ``start`` on must be readable, also where the text ends before.
    """
    letters, digits, whitespace, spaces, apostrophes, high = byte_masks(text, start)
    others = ~(letters | digits | whitespace)
    no_space_before = ~(spaces << _ONE)
    other_starts = others & ~(others << _ONE) & no_space_before
    words = (letters & ~(letters << _ONE)) | (digits & ~(digits << _ONE))
    starts = (words & no_space_before) | other_starts
    starts |= (whitespace & ~(whitespace << _ONE)) | (whitespace & ~(whitespace >> _ONE))
    limit = min(count_trailing_zeros(high), end - start) - _LOOKAHEAD
    if limit < 1:
        return _NONE
    contractions = apostrophes & (other_starts | _ONE)
    while contractions != _NONE:
        place = count_trailing_zeros(contractions)
        contractions &= contractions - _ONE
        if place >= _LAST_CERTAIN:
            break
        length = contraction_length(text, start + place, end)
        if length:
            starts &= ~(_ONE << np.uint64(place + 1))
            starts |= _ONE << np.uint64(place + length)
    limit = min(limit, _LAST_CERTAIN)
    return starts & ((_ONE << np.uint64(limit + 1)) - _TWO)


@njit(inline="always")
def contraction_length(text, place, end):
    """Return the bytes of the contraction at the apostrophe in ``place``, 0 if there is none."""
    if place + 1 >= end:
        return 0
    first = text[place + 1]
    if first == _S or first == _D or first == _M or first == _T:
        return 2
    if place + 2 >= end:
        return 0
    second = text[place + 2]
    if first == _L and second == _L:
        return 3
    if (first == _V or first == _R) and second == _E:
        return 3
    return 0


@njit
def classify(text, place, classes):
    """Return the class of the character at ``place`` and its bytes; the text is valid UTF-8."""
    lead = np.int64(text[place])
    if lead < 0x80:
        return np.int64(classes[lead]), 1
    tail = np.int64(text[place + 1]) & 0x3F
    if lead < 0xE0:
        return np.int64(classes[(lead & 0x1F) << 6 | tail]), 2
    tail = tail << 6 | np.int64(text[place + 2]) & 0x3F
    if lead < 0xF0:
        return np.int64(classes[(lead & 0x0F) << 12 | tail]), 3
    tail = tail << 6 | np.int64(text[place + 3]) & 0x3F
    return np.int64(classes[(lead & 0x07) << 18 | tail]), 4


@njit
def next_start(text, start, end, classes):
    """Return where the pre-token that starts at ``start`` ends."""
    if text[start] == _APOSTROPHE:
        length = contraction_length(text, start, end)
        if length:
            return start + length
    kind, width = classify(text, start, classes)
    place = start + width
    if kind == WHITESPACE:
        if text[start] == _SPACE and place < end:
            kind, width = classify(text, place, classes)
            if kind != WHITESPACE:
                return end_of_run(text, place + width, end, kind, classes)
        return _end_of_whitespace(text, start, end, classes)
    return end_of_run(text, place, end, kind, classes)


@njit
def end_of_run(text, place, end, kind, classes):
    """Return the end of the characters of class ``kind`` from ``place`` on."""
    while place < end:
        found, width = classify(text, place, classes)
        if found != kind:
            break
        place += width
    return place


@njit
def _end_of_whitespace(text, start, end, classes):
    """Leave the last whitespace to the word behind it, unless it is the only one."""
    place, last = start, start
    while place < end:
        kind, width = classify(text, place, classes)
        if kind != WHITESPACE:
            return last if last > start else place
        last = place
        place += width
    return end


@njit
def next_start_gpt4(text, start, end, classes):
    """Return where the pre-token that starts at ``start`` ends."""
    first = text[start]
    if first == _APOSTROPHE:
        length = _contraction_length_gpt4(text, start, end)
        if length:
            return start + length
    kind, width = classify(text, start, classes)
    place = start + width
    if kind == LETTER:
        return end_of_run(text, place, end, LETTER, classes)
    if kind == NUMBER:
        return _end_of_digits(text, start, end, classes)
    if place < end and first != _LINE_FEED and first != _RETURN:
        following, width = classify(text, place, classes)
        if following == LETTER:
            return end_of_run(text, place + width, end, LETTER, classes)
        if first == _SPACE and following == OTHER:
            kind = OTHER
    if kind == WHITESPACE:
        return _end_of_whitespace_gpt4(text, start, end, classes)
    place = end_of_run(text, place, end, OTHER, classes)
    while place < end and (text[place] == _LINE_FEED or text[place] == _RETURN):
        place += 1
    return place


@njit
def _contraction_length_gpt4(text, place, end):
    """Return the bytes of the contraction at the apostrophe in ``place``, 0 if there is none."""
    if place + 1 >= end:
        return 0
    first = text[place + 1] | _LOWER_CASE
    if first == _S or first == _D or first == _M or first == _T:
        return 2
    if place + 2 >= end:
        return 0
    if text[place + 1] == _LONG_S_0 and text[place + 2] == _LONG_S_1:
        return 3
    second = text[place + 2] | _LOWER_CASE
    if first == _L and second == _L:
        return 3
    if (first == _V or first == _R) and second == _E:
        return 3
    return 0


@njit
def _end_of_digits(text, place, end, classes):
    """Return the end of up to three digits."""
    for _ in range(_MOST_DIGITS):
        if place >= end:
            break
        kind, width = classify(text, place, classes)
        if kind != NUMBER:
            break
        place += width
    return place


@njit
def _end_of_whitespace_gpt4(text, start, end, classes):
    """Return where white space without a word or sign right behind its first character ends."""
    place, last, line_end = start, start, start
    while place < end:
        kind, width = classify(text, place, classes)
        if kind != WHITESPACE:
            if line_end > start:
                return line_end
            return last if last > start else place
        last = place
        if text[place] == _LINE_FEED or text[place] == _RETURN:
            line_end = place + 1
        place += width
    return end


@njit(inline="always")
def next_end(pattern, text, start, end, classes):
    """Return where the pre-token that starts at ``start`` ends, by the pattern of that number."""
    if pattern == GPT4:
        return next_start_gpt4(text, start, end, classes)
    return next_start(text, start, end, classes)


def find_ends(pattern, text, start, end, classes, ends):
    """Write the end of every pre-token in ``text[start:end]`` and return how many there are."""
    count = 0
    while start < end:
        starts = certain_starts(text, start, end) if pattern == GPT2 else _NONE
        if starts == _NONE:
            start = next_end(pattern, text, start, end, classes)
            ends[count] = start
            count += 1
            continue
        place = np.int64(0)
        while starts != _NONE:
            place = count_trailing_zeros(starts)
            starts &= starts - _ONE
            ends[count] = start + place
            count += 1
        start += place
    return count


def find_last_end(pattern, text, end, classes):
    """Return the end of the last pre-token of a text that no text behind can change, 0 if none is.

    White space may go on, and a contraction looks two characters ahead; nothing else looks further.
    """
    start, last = np.int64(0), np.int64(0)
    while start < end - _LONGEST_LOOK:
        start = next_end(pattern, text, start, end, classes)
        place = start - 1
        while text[place] & 0xC0 == 0x80:
            place -= 1
        kind, _ = classify(text, place, classes)
        if kind != WHITESPACE and start <= end - _LONGEST_LOOK:
            last = start
    return last
