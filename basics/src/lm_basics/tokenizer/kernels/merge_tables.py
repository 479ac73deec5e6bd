"""What the merges of a tokenizer are to the encoder: ranks of pairs, and characters to begin with.

Byte-pair encoding begins with bytes, so a word in Japanese needs two merges a character before any
two characters meet. Where these always come before all others that could touch the same bytes, the
token of the whole character may stand there from the start: the ids are the same. Such a character
is a *unit*.

Merge the bytes of a character alone. Before each step they are a few tokens, of which only the
first and the last have neighbours outside. If the step comes earlier than every merge whose right
token is that first one, and every merge whose left token is that last one, nothing outside comes
between. Merges whose left token ends within a character, or whose right one begins within one, do
not count, for valid UTF-8 has neither at the border of two characters. (Where a stretch of a word
begins or ends within a character, only the end of one stands at its left, and only the beginning of
one at its right; merges with these count.) And if every merge with the whole character comes after
these steps, as wherever training learnt them, it is not there too soon.

    character  e3 81 8f     ranks: e3+81 0, e381+8f 70
    a unit if no merge into e3 comes before 0, none into e381 before 70, none from 8f before 70,
    and none into or from e3818f before 70
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import (
    character_length,
    rank_in_bucket,
    uint32_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    BUCKET,
    BYTE_IDS,
    ID_BITS,
    MERGED_IDS,
    PAIR_RANKS,
    PAIR_RANKS_MASK,
    PAIR_RANKS_SHIFT,
    RANK_BITS,
    UNIT_CODES,
    UNITS,
)

NO_RANK = (1 << RANK_BITS) - 1
"""Rank of pairs that no merge joins."""

_NO_RANK = np.uint64(NO_RANK)
_RANK_SHIFT = np.uint64(RANK_BITS)
_ID_SHIFT = np.uint64(ID_BITS)
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)


@njit(inline="always")
def find_rank(pair_ranks, shift, mask, left, right):
    """Return the rank of a pair, ``NO_RANK`` if no merge joins it."""
    key = np.uint64(left) << _ID_SHIFT | np.uint64(right)
    bucket = (key * _MIX) >> shift
    rank = rank_in_bucket(pair_ranks, np.int64(bucket) * BUCKET, key)
    while (rank == _NO_RANK) & (pair_ranks[np.int64(bucket) * BUCKET + BUCKET - 1] != _FREE):
        bucket = (bucket + _ONE) & mask
        rank = rank_in_bucket(pair_ranks, np.int64(bucket) * BUCKET, key)
    return np.int64(rank)


@njit(inline="always")
def unit_at(units, text, place, end):
    """Return one more than the id of the unit at a place, and its bytes; 0 and 1 where none is."""
    lead = np.int64(text[place])
    size = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if lead < 0xC0 or place + size > end:
        return 0, 1
    code = _code_point(text, place, size)
    unit = np.int64(units[code]) if code < UNIT_CODES else 0
    return unit, size if unit else 1


@njit(inline="always")
def _code_point(text, place, size):
    """Return the code point of a character of several bytes."""
    code = np.int64(text[place]) & (0x7F >> size)
    for offset in range(1, size):
        code = code << 6 | np.int64(text[place + offset]) & 0x3F
    return code


def enter_ranks(record, lefts, rights, num_merges):
    """Fill the table of ranks, which is all ones before; of equal pairs the first one counts."""
    pair_ranks = uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    for rank in range(num_merges):
        key = np.uint64(lefts[rank]) << _ID_SHIFT | np.uint64(rights[rank])
        bucket = (key * _MIX) >> shift
        place = np.int64(bucket) * BUCKET
        while pair_ranks[place] != _FREE and pair_ranks[place] >> _RANK_SHIFT != key:
            place += 1
            if place % BUCKET == 0:
                bucket = (bucket + _ONE) & mask
                place = np.int64(bucket) * BUCKET
        if pair_ranks[place] == _FREE:
            pair_ranks[place] = key << _RANK_SHIFT | np.uint64(rank)
    return 0


def enter_units(record, token_bytes, spans, lefts, rights, num_merges, into, out_of, tokens):
    """Fill the table of units, which is all zeros before.

    ``spans`` says where the bytes of ids lie. ``into`` and ``out_of`` are ``NO_RANK`` for every id
    before; they take the ranks of the first merges across a border of characters with the token on
    the right, or on the left, of it. ``tokens`` has room for four.
    """
    units = uint32_at(record[UNITS])
    for rank in range(num_merges - 1, -1, -1):
        left, right = np.int64(lefts[rank]), np.int64(rights[rank])
        if spans[2 * left + 1] <= 0 or spans[2 * right + 1] <= 0:
            continue
        if _may_end_before_a_character(token_bytes, spans[2 * left], spans[2 * left + 1]):
            into[right] = rank
        if token_bytes[spans[2 * right]] & 0xC0 != 0x80:
            out_of[left] = rank
    merged_ids = uint32_at(record[MERGED_IDS])
    for rank in range(num_merges):
        token = np.int64(merged_ids[rank])
        start, size = np.int64(spans[2 * token]), np.int64(spans[2 * token + 1])
        # A token that only looks like a character would take the place of another one.
        if size < 2 or character_length(token_bytes, start, start + size) != size:
            continue
        code = _code_point(token_bytes, start, size)
        if code < UNIT_CODES:
            units[code] = _merge_alone(record, token_bytes, start, size, into, out_of, tokens)
    return 0


@njit
def _may_end_before_a_character(token_bytes, start, size):
    """Return whether a character may follow: a token's last one is whole, or all of it an end."""
    end = np.int64(start) + np.int64(size)
    place = end - 1
    while place > start and token_bytes[place] & 0xC0 == 0x80:
        place -= 1
    lead = token_bytes[place]
    return lead < 0xC0 or place + 2 + (lead >= 0xE0) + (lead >= 0xF0) == end


@njit
def _merge_alone(record, token_bytes, start, size, into, out_of, tokens):
    """Return one more than the id that a character's bytes become before all else, 0 if none."""
    byte_ids, merged_ids = uint32_at(record[BYTE_IDS]), uint32_at(record[MERGED_IDS])
    pair_ranks = uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    for offset in range(size):
        tokens[offset] = byte_ids[token_bytes[start + offset]]
    last = 0
    for number in range(size - 1, 0, -1):
        first, best = 0, NO_RANK
        for place in range(number):
            rank = find_rank(pair_ranks, shift, mask, tokens[place], tokens[place + 1])
            if rank < best:
                first, best = place, rank
        if best == NO_RANK or into[tokens[0]] <= best or out_of[tokens[number]] <= best:
            return 0
        last = max(last, best)
        tokens[first] = merged_ids[best]
        for place in range(first + 1, number):
            tokens[place] = tokens[place + 1]
    return tokens[0] + 1 if into[tokens[0]] > last and out_of[tokens[0]] > last else 0
