"""The heap of pairs that tells the merge loop which one is next.

A binary heap in two arrays, counts and keys. The larger count comes first; among equal counts the
rule of ties decides: the greater pair of byte strings, or the smaller pair of ids.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import int64_at, uint8_at, uint64_at
from lm_basics.tokenizer.kernels.records import (
    HEAP_COUNTS,
    HEAP_KEYS,
    HEAP_USED,
    PREFERS_SMALLER_ID,
    TOKEN_BYTES,
    TOKEN_STARTS,
)

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@njit
def heapify(record):
    """Put the counts and keys, which lie in any order, into the order of a heap."""
    for place in range(record[HEAP_USED] // 2 - 1, -1, -1):
        _sift_down(record, place)


@njit
def push(record, count, key):
    """Add a pair."""
    counts, keys = int64_at(record[HEAP_COUNTS]), uint64_at(record[HEAP_KEYS])
    place = record[HEAP_USED]
    record[HEAP_USED] = place + 1
    while place > 0:
        parent = (place - 1) >> 1
        if not _comes_first(record, count, key, counts[parent], keys[parent]):
            break
        counts[place], keys[place] = counts[parent], keys[parent]
        place = parent
    counts[place], keys[place] = count, key


@njit
def pop_top(record):
    """Remove the first pair."""
    counts, keys = int64_at(record[HEAP_COUNTS]), uint64_at(record[HEAP_KEYS])
    last = record[HEAP_USED] - 1
    record[HEAP_USED] = last
    counts[0], keys[0] = counts[last], keys[last]
    if last > 0:
        _sift_down(record, 0)


@njit
def correct_top(record, count):
    """Give the first pair its present count, a lower one; a pair without any goes."""
    if count <= 0:
        pop_top(record)
        return
    int64_at(record[HEAP_COUNTS])[0] = count
    _sift_down(record, 0)


@njit
def _sift_down(record, place):
    """Move a pair behind those that come before it."""
    counts, keys = int64_at(record[HEAP_COUNTS]), uint64_at(record[HEAP_KEYS])
    size = record[HEAP_USED]
    count, key = counts[place], keys[place]
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _comes_first(
            record, counts[child + 1], keys[child + 1], counts[child], keys[child]
        ):
            child += 1
        if not _comes_first(record, counts[child], keys[child], count, key):
            break
        counts[place], keys[place] = counts[child], keys[child]
        place = child
    counts[place], keys[place] = count, key


@njit(inline="always")
def _comes_first(record, count, key, other_count, other_key):
    if count != other_count:
        return count > other_count
    return _wins_tie(record, key, other_key)


@njit
def _wins_tie(record, key, other):
    """Return whether the first of two equally frequent pairs is merged first."""
    if record[PREFERS_SMALLER_ID]:
        return key < other
    for shift in (_HALF, _ZERO):
        a = np.int64((key - _ONE) >> shift & _LOW)
        b = np.int64((other - _ONE) >> shift & _LOW)
        if a != b:
            difference = _compare_bytes(record, a, b)
            if difference != 0:
                return difference > 0
    return False


@njit
def _compare_bytes(record, a, b):
    """Return a number above, below or at 0 as token ``a`` is greater, less or equal in bytes."""
    token_bytes, starts = uint8_at(record[TOKEN_BYTES]), int64_at(record[TOKEN_STARTS])
    a_length, b_length = starts[a + 1] - starts[a], starts[b + 1] - starts[b]
    for offset in range(min(a_length, b_length)):
        a_byte = np.int64(token_bytes[starts[a] + offset])
        b_byte = np.int64(token_bytes[starts[b] + offset])
        if a_byte != b_byte:
            return a_byte - b_byte
    return a_length - b_length
