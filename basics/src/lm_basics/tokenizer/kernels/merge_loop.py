"""The merges of byte-pair encoding, found without looking at any word twice.

All distinct words lie one behind the other in ``tokens``, one number a byte, ``SEPARATOR`` between
them. A token writes its id at its first byte and ``-2 - id`` at its last, so both neighbours of any
token are found from its place and length, without links:

    h u g s | p u g     ids h=104 ...        merge u g -> 300
    104 117 103 115 -1 112 117 103           104 300 -302 115 -1 112 300 -302

Every pair has an entry in a hash table: its key, its count, and where in ``pool`` its occurrences
lie. Because a new pair always contains the new token, all its occurrences are found during one
merge, so they are written once, side by side.

A merge walks the occurrences from left to right (``aaa`` becomes ``(aa)a``) and adds what changes
to sums that are indexed by the neighbour's id; only then is the hash table asked, once for each
distinct neighbour. A heap tells the next pair. Counts only fall after a pair is born, so a stale
top goes back with its present count.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.pair_heap import correct_top, heapify, pop_top, push
from lm_basics.tokenizer.kernels.primitives import (
    int32_at,
    int64_at,
    prefetch,
    uint8_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    BYTES_FULL,
    DONE,
    ENTRY,
    HEAP_COUNTS,
    HEAP_FULL,
    HEAP_KEYS,
    HEAP_SIZE,
    HEAP_USED,
    MAX_TOKENS,
    MERGES,
    MERGES_DONE,
    NEIGHBOURS,
    NOTES_FULL,
    PAIRS,
    PAIRS_CAPACITY,
    PAIRS_LIMIT,
    PAIRS_USED,
    POOL,
    POOL_FULL,
    POOL_SIZE,
    POOL_USED,
    ROOM_NEEDED,
    SUMS,
    TABLE_FULL,
    TOKEN_BYTES,
    TOKEN_BYTES_SIZE,
    TOKEN_BYTES_USED,
    TOKEN_STARTS,
    TOKENS,
    TOUCHED,
    TOUCHED_SIZE,
    WORD_COUNTS,
    WORD_OF,
)

SEPARATOR = -1
KEY, COUNT, FIRST, NUMBER = range(ENTRY)

NUM_SUMS = 8
(LEFT_GAIN, LEFT_NUMBER, LEFT_LOSS, LEFT_PLACE) = range(4)
(RIGHT_GAIN, RIGHT_NUMBER, RIGHT_LOSS, RIGHT_PLACE) = range(4, 8)
"""Of each token, as left and as right neighbour of the new one: what the pair with the new token
gains, in how many places, what the old pair loses, and where its next occurrence is written."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_AHEAD = 12


@njit(inline="always")
def pair_key(left, right):
    """Pack a pair; never 0, which marks a free entry."""
    return (np.uint64(left) << _HALF | np.uint64(right)) + _ONE


@njit(inline="always")
def find_entry(table, mask, key):
    """Return the entry of ``key``, or the free one that it would take."""
    value = key * _MIX
    slot = (value ^ (value >> _HALF)) & mask
    while table[np.int64(slot) * ENTRY] != key and table[np.int64(slot) * ENTRY] != _ZERO:
        slot = (slot + _ONE) & mask
    return np.int64(slot) * ENTRY


def count_byte_pairs(tokens, size, word_of, word_counts, counts, numbers):
    """Count pairs of bytes, weighted by words, and their occurrences: two arrays of 65,536."""
    for place in range(size - 1):
        left, right = tokens[place], tokens[place + 1]
        if left >= 0 and right >= 0:
            pair = np.int64(left) << 8 | np.int64(right)
            counts[pair] += word_counts[word_of[place]]
            numbers[pair] += 1
    return DONE


def enter_byte_pairs(record, size, counts, numbers):
    """Fill table, pool and heap with the pairs of bytes; ``counts`` is used up."""
    table, mask = uint64_at(record[PAIRS]), np.uint64(record[PAIRS_CAPACITY] - 1)
    tokens, pool = int32_at(record[TOKENS]), int32_at(record[POOL])
    heap_counts, heap_keys = int64_at(record[HEAP_COUNTS]), uint64_at(record[HEAP_KEYS])
    used, pairs = 0, 0
    for pair in range(65536):
        if numbers[pair] == 0:
            continue
        key = pair_key(pair >> 8, pair & 255)
        _fill(table, find_entry(table, mask, key), key, counts[pair], used, numbers[pair])
        heap_counts[pairs], heap_keys[pairs] = counts[pair], key
        counts[pair] = used
        used += numbers[pair]
        pairs += 1
    for place in range(size - 1):
        left, right = tokens[place], tokens[place + 1]
        if left >= 0 and right >= 0:
            pair = np.int64(left) << 8 | np.int64(right)
            pool[counts[pair]] = place
            counts[pair] += 1
    record[PAIRS_USED] = pairs
    record[HEAP_USED] = pairs
    record[POOL_USED] = used
    heapify(record)
    return DONE


def move_pairs(record, new, capacity):
    """Enter the living pairs into a larger table; return how many there are."""
    old = uint64_at(record[PAIRS])
    mask = np.uint64(capacity - 1)
    pairs = 0
    for number in range(record[PAIRS_CAPACITY]):
        entry = number * ENTRY
        if old[entry + COUNT] == _ZERO:
            continue
        place = find_entry(new, mask, old[entry])
        for field in range(ENTRY):
            new[place + field] = old[entry + field]
        pairs += 1
    return pairs


def merge_pairs(record, num_merges):
    """Do merges until there are ``num_merges``, no pair is left, or room is.

    Returns ``DONE`` or what is full; the record then tells how much the next merge may need.
    ``MERGES`` gets two ids a merge.
    """
    table, mask = uint64_at(record[PAIRS]), np.uint64(record[PAIRS_CAPACITY] - 1)
    heap_counts, heap_keys = int64_at(record[HEAP_COUNTS]), uint64_at(record[HEAP_KEYS])
    merges = int32_at(record[MERGES])
    while record[MERGES_DONE] < num_merges and record[HEAP_USED] > 0:
        key = heap_keys[0]
        entry = find_entry(table, mask, key)
        count = np.int64(table[entry + COUNT])
        if count != heap_counts[0]:
            correct_top(record, count)
            continue
        left = np.int64((key - _ONE) >> _HALF)
        right = np.int64((key - _ONE) & _LOW)
        full = _find_what_is_full(record, left, right, np.int64(table[entry + NUMBER]))
        if full != DONE:
            return full
        done = record[MERGES_DONE]
        merges[2 * done], merges[2 * done + 1] = left, right
        record[MERGES_DONE] = done + 1
        _append_token(record, left, right, 256 + done)
        pop_top(record)
        table[entry + COUNT] = _ZERO
        _merge_pair(record, entry, left, right, 256 + done)
    return DONE


@njit
def _find_what_is_full(record, left, right, number):
    """Return which array has no room for the largest need of a merge, ``DONE`` if none."""
    starts = int64_at(record[TOKEN_STARTS])
    length = starts[left + 1] - starts[left] + starts[right + 1] - starts[right]
    need = 2 * number
    record[ROOM_NEEDED] = need
    if record[PAIRS_USED] + need > record[PAIRS_LIMIT]:
        return TABLE_FULL
    if record[HEAP_USED] + need > record[HEAP_SIZE]:
        return HEAP_FULL
    if record[POOL_USED] + need > record[POOL_SIZE]:
        return POOL_FULL
    if need > record[TOUCHED_SIZE]:
        return NOTES_FULL
    if record[TOKEN_BYTES_USED] + length > record[TOKEN_BYTES_SIZE]:
        return BYTES_FULL
    return DONE


@njit
def _append_token(record, left, right, new):
    """Write the bytes of the new token behind the others."""
    token_bytes, starts = uint8_at(record[TOKEN_BYTES]), int64_at(record[TOKEN_STARTS])
    used = record[TOKEN_BYTES_USED]
    for part in (left, right):
        for place in range(starts[part], starts[part + 1]):
            token_bytes[used] = token_bytes[place]
            used += 1
    starts[new + 1] = used
    record[TOKEN_BYTES_USED] = used


@njit
def _merge_pair(record, entry, left, right, new):
    """Replace a pair everywhere and enter the pairs that this makes."""
    num_left, num_right, num_touched = _replace(record, entry, left, right, new)
    _subtract(record, left, right, num_left, num_right)
    _enter(record, new, num_left, num_right)
    _file(record, num_touched)
    _clear(record, num_left, num_right)


@njit
def _replace(record, entry, left, right, new):
    """Write the new token over the occurrences; note what its neighbours gain and lose.

    Left neighbours are listed from the front of ``NEIGHBOURS``, right ones from its middle.
    Returns how many there are of each, and of occurrences of new pairs.
    """
    table, pool = uint64_at(record[PAIRS]), int32_at(record[POOL])
    tokens, word_of = int32_at(record[TOKENS]), int32_at(record[WORD_OF])
    word_counts, starts = int64_at(record[WORD_COUNTS]), int64_at(record[TOKEN_STARTS])
    sums, neighbours = int64_at(record[SUMS]), int32_at(record[NEIGHBOURS])
    touched, middle_of_list = int64_at(record[TOUCHED]), record[MAX_TOKENS]
    left_length = starts[left + 1] - starts[left]
    right_length = starts[right + 1] - starts[right]
    first = np.int64(table[entry + FIRST])
    last = first + np.int64(table[entry + NUMBER])
    num_left, num_right, num_touched = 0, 0, 0
    for index in range(first, last):
        if index + _AHEAD < last:
            prefetch(tokens, np.int64(pool[index + _AHEAD]))
            prefetch(word_of, np.int64(pool[index + _AHEAD]))
        start = np.int64(pool[index])
        middle = start + left_length
        if tokens[start] != left or tokens[middle] != right:
            continue
        weight = word_counts[word_of[start]]
        end = middle + right_length
        before, after = np.int64(tokens[start - 1]), np.int64(tokens[end])
        tokens[middle] = SEPARATOR
        tokens[start] = new
        tokens[end - 1] = -2 - new
        if before != SEPARATOR:
            place = start - 1
            if before < 0:
                before = -2 - before
                place = start - (starts[before + 1] - starts[before])
            own = before * NUM_SUMS
            if sums[own + LEFT_NUMBER] == 0:
                neighbours[num_left] = before
                num_left += 1
            sums[own + LEFT_NUMBER] += 1
            sums[own + LEFT_GAIN] += weight
            if before == new:
                # The token before is new as well: it met ``left`` here, which is gone now.
                sums[left * NUM_SUMS + RIGHT_GAIN] -= weight
            else:
                sums[own + LEFT_LOSS] += weight
            touched[num_touched] = place << 32 | before << 1
            num_touched += 1
        if after >= 0:
            own = after * NUM_SUMS
            if sums[own + RIGHT_NUMBER] == 0:
                neighbours[middle_of_list + num_right] = after
                num_right += 1
            sums[own + RIGHT_NUMBER] += 1
            sums[own + RIGHT_GAIN] += weight
            sums[own + RIGHT_LOSS] += weight
            touched[num_touched] = start << 32 | after << 1 | 1
            num_touched += 1
    return num_left, num_right, num_touched


@njit
def _subtract(record, left, right, num_left, num_right):
    """Take the lost occurrences from the pairs that the merge broke up."""
    sums, neighbours = int64_at(record[SUMS]), int32_at(record[NEIGHBOURS])
    for index in range(num_left):
        neighbour = np.int64(neighbours[index])
        _lower(record, pair_key(neighbour, left), sums[neighbour * NUM_SUMS + LEFT_LOSS])
    for index in range(record[MAX_TOKENS], record[MAX_TOKENS] + num_right):
        neighbour = np.int64(neighbours[index])
        _lower(record, pair_key(right, neighbour), sums[neighbour * NUM_SUMS + RIGHT_LOSS])


@njit(inline="always")
def _lower(record, key, loss):
    """Lower the count of a pair, unless it is the merged pair itself, which is at 0 already."""
    table, mask = uint64_at(record[PAIRS]), np.uint64(record[PAIRS_CAPACITY] - 1)
    if loss != 0:
        entry = find_entry(table, mask, key)
        if table[entry + KEY] != _ZERO and table[entry + COUNT] != _ZERO:
            table[entry + COUNT] -= np.uint64(loss)


@njit
def _enter(record, new, num_left, num_right):
    """Enter the new pairs and reserve their places in the pool."""
    table, mask = uint64_at(record[PAIRS]), np.uint64(record[PAIRS_CAPACITY] - 1)
    sums, neighbours = int64_at(record[SUMS]), int32_at(record[NEIGHBOURS])
    for index in range(num_left + num_right):
        if index < num_left:
            neighbour = np.int64(neighbours[index])
            own = neighbour * NUM_SUMS + LEFT_GAIN
            key = pair_key(neighbour, new)
        else:
            neighbour = np.int64(neighbours[record[MAX_TOKENS] + index - num_left])
            own = neighbour * NUM_SUMS + RIGHT_GAIN
            key = pair_key(new, neighbour)
        gain, number = sums[own], sums[own + LEFT_NUMBER]
        sums[own + LEFT_PLACE] = -1
        if gain <= 0:
            continue
        first = record[POOL_USED]
        _fill(table, find_entry(table, mask, key), key, gain, first, number)
        sums[own + LEFT_PLACE] = first
        record[POOL_USED] = first + number
        record[PAIRS_USED] += 1
        push(record, gain, key)


@njit(inline="always")
def _fill(table, entry, key, count, first, number):
    """Write an entry of the pair table."""
    table[entry + KEY] = key
    table[entry + COUNT] = np.uint64(count)
    table[entry + FIRST] = np.uint64(first)
    table[entry + NUMBER] = np.uint64(number)


@njit
def _file(record, num_touched):
    """Write the occurrences of the new pairs into their places, still from left to right."""
    touched, sums = int64_at(record[TOUCHED]), int64_at(record[SUMS])
    pool = int32_at(record[POOL])
    for index in range(num_touched):
        packed = touched[index]
        own = ((packed & 0xFFFFFFFF) >> 1) * NUM_SUMS
        own += RIGHT_PLACE if packed & 1 else LEFT_PLACE
        place = sums[own]
        if place >= 0:
            pool[place] = packed >> 32
            sums[own] = place + 1


@njit
def _clear(record, num_left, num_right):
    """Set the sums of the neighbours back to 0."""
    sums, neighbours = int64_at(record[SUMS]), int32_at(record[NEIGHBOURS])
    for index in range(num_left):
        for field in range(LEFT_GAIN, LEFT_PLACE + 1):
            sums[np.int64(neighbours[index]) * NUM_SUMS + field] = 0
    for index in range(record[MAX_TOKENS], record[MAX_TOKENS] + num_right):
        for field in range(RIGHT_GAIN, RIGHT_PLACE + 1):
            sums[np.int64(neighbours[index]) * NUM_SUMS + field] = 0
