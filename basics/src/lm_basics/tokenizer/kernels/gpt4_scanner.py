r"""Pre-tokens of the GPT-4 pattern, one at a time.

What the branches of the pattern become at the first character of a pre-token:

- an apostrophe may begin a contraction, in either case, and the long s of old prints is an ``s``;
- a letter begins a run of letters; any one character but a digit or a line end may stand before it;
- a digit begins up to three digits;
- another visible character begins a run of such, with the line ends behind it; a space may precede;
- white space at the end of the text is one pre-token. Elsewhere it ends behind its last line end,
  or else before its last character, which is left to the word behind it.
"""

from numba import njit

from lm_basics.tokenizer.kernels.records import LETTER, NUMBER, OTHER, WHITESPACE
from lm_basics.tokenizer.kernels.scanner import classify, end_of_run

_APOSTROPHE, _SPACE, _LINE_FEED, _RETURN = ord("'"), ord(" "), ord("\n"), ord("\r")
_S, _D, _M, _T, _L, _V, _R, _E = (ord(letter) for letter in "sdmtlvre")
_LOWER_CASE = 0x20
_LONG_S_0, _LONG_S_1 = "\u017f".encode()
_MOST_DIGITS = 3


@njit
def next_start_gpt4(text, start, end, classes):
    """Return where the pre-token that starts at ``start`` ends."""
    first = text[start]
    if first == _APOSTROPHE:
        length = _contraction_length(text, start, end)
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
        return _end_of_whitespace(text, start, end, classes)
    place = end_of_run(text, place, end, OTHER, classes)
    while place < end and (text[place] == _LINE_FEED or text[place] == _RETURN):
        place += 1
    return place


@njit
def _contraction_length(text, place, end):
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
def _end_of_whitespace(text, start, end, classes):
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


def find_ends_gpt4(text, start, end, classes, ends):
    """Write the end of every pre-token in ``text[start:end]`` and return how many there are."""
    count = 0
    while start < end:
        start = next_start_gpt4(text, start, end, classes)
        ends[count] = start
        count += 1
    return count
