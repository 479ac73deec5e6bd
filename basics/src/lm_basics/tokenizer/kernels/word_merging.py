"""The merges that apply to one word, earliest first.

A *rank* is the place of a merge in the order of training. Of a short word every byte has a lane
that holds the rank of the merge of the token that starts there with the next one, and the place
itself in the low bits, so that one vector minimum over 16 lanes finds both. Tokens are never moved:
a mask of 64 bits says where tokens start, and its bits lead to the neighbours.

    word  h u g s      ranks: u+g 5, h+ug 9    lanes (rank, place), - for none
    starts 1111        lanes (-) (5,1) (-) (-)      merge at 1: the token at 2 goes
    starts 1101        lanes (9,0) (-) (-) (-)      merge at 0: the token at 1 goes
    starts 1001        lanes (-) (-) (-) (-)        done: hug s

Words of more than 64 bytes use a heap and a doubly linked list, which takes n log n steps.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.blocks import (
    count_leading_zeros,
    count_trailing_zeros,
    smallest_of_16,
    uint32_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    BYTE_IDS,
    BYTE_RANKS,
    MERGED_IDS,
    PAIR_RANKS,
    PAIR_RANKS_MASK,
    PAIR_RANKS_SHIFT,
    SCRATCH,
)

MAX_LANES = 64
RANK_BITS, ID_BITS = 22, 21
NO_RANK = (1 << RANK_BITS) - 1
"""Rank of pairs that no merge joins; real ranks and ids fit the bits of an entry."""

SCRATCH_PER_BYTE = 40
"""Bytes of scratch that a long word needs for each of its own."""

_RANK_MASK = np.uint64(NO_RANK)
_RANK_SHIFT = np.uint64(RANK_BITS)
_ID_SHIFT = np.uint64(ID_BITS)
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_NONE = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_PLACE_BITS = 6
_PLACE_MASK = MAX_LANES - 1
_NO_LANE = np.uint32(0xFFFFFFFF)
_LARGEST_LANE = np.uint32(NO_RANK << _PLACE_BITS)
_DEAD = np.uint32(0xFFFFFFFF)
_HEAP_SHIFT = np.uint64(40)


@njit(inline="always")
def find_rank(pair_ranks, shift, mask, left, right):
    """Return the rank of a pair, ``NO_RANK`` if no merge joins it."""
    key = np.uint64(left) << _ID_SHIFT | np.uint64(right)
    slot = (key * _MIX) >> shift
    while True:
        entry = pair_ranks[np.int64(slot)]
        if entry >> _RANK_SHIFT == key:
            return np.int64(entry & _RANK_MASK)
        if entry == _FREE:
            return NO_RANK
        slot = (slot + _ONE) & mask


def enter_ranks(record, lefts, rights, num_merges):
    """Fill the table of ranks, which is all ones before; of equal pairs the first one counts."""
    pair_ranks = uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    for rank in range(num_merges):
        key = np.uint64(lefts[rank]) << _ID_SHIFT | np.uint64(rights[rank])
        slot = (key * _MIX) >> shift
        while pair_ranks[np.int64(slot)] != _FREE:
            if pair_ranks[np.int64(slot)] >> _RANK_SHIFT == key:
                break
            slot = (slot + _ONE) & mask
        if pair_ranks[np.int64(slot)] == _FREE:
            pair_ranks[np.int64(slot)] = key << _RANK_SHIFT | np.uint64(rank)
    return 0


@njit
def merge_short_word(record, text, start, length, out, used):
    """Write the ids of a word of at most 64 bytes to ``out[used:]``; return the new end."""
    byte_ids, byte_ranks = uint32_at(record[BYTE_IDS]), uint32_at(record[BYTE_RANKS])
    merged_ids, pair_ranks = uint32_at(record[MERGED_IDS]), uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    lanes = uint32_at(record[SCRATCH])
    ids = uint32_at(record[SCRATCH] + 4 * MAX_LANES)
    for place in range(length - 1):
        pair = np.int64(text[start + place]) << 8 | np.int64(text[start + place + 1])
        lanes[place] = byte_ranks[pair] << _PLACE_BITS | place
        ids[place] = byte_ids[text[start + place]]
    ids[length - 1] = byte_ids[text[start + length - 1]]
    num_lanes = (length + 15) & ~15
    for place in range(length - 1, num_lanes):
        lanes[place] = _NO_LANE
    starts = _ALL >> np.uint64(64 - length)
    while True:
        best = smallest_of_16(lanes, 0)
        for first in range(16, num_lanes, 16):
            best = min(best, smallest_of_16(lanes, first))
        if best >= _LARGEST_LANE:
            break
        left = np.int64(best & np.uint32(_PLACE_MASK))
        new = merged_ids[best >> _PLACE_BITS]
        ids[left] = new
        behind = starts & (_ALL << np.uint64(left)) & ~(_ONE << np.uint64(left))
        right = count_trailing_zeros(behind)
        starts &= ~(_ONE << np.uint64(right))
        behind &= behind - _ONE
        lanes[right] = _NO_LANE
        lanes[left] = _NO_LANE
        if behind != _NONE:
            after = ids[count_trailing_zeros(behind)]
            rank = find_rank(pair_ranks, shift, mask, new, after)
            lanes[left] = np.uint32(rank << _PLACE_BITS | left)
        before = starts & ((_ONE << np.uint64(left)) - _ONE)
        if before != _NONE:
            place = 63 - count_leading_zeros(before)
            rank = find_rank(pair_ranks, shift, mask, ids[place], new)
            lanes[place] = np.uint32(rank << _PLACE_BITS | place)
    while starts != _NONE:
        out[used] = ids[count_trailing_zeros(starts)]
        starts &= starts - _ONE
        used += 1
    return used


@njit
def merge_long_word(record, text, start, length, out, used):
    """Write the ids of a word of any length to ``out[used:]``; return the new end.

    The scratch holds the heap (three numbers of 64 bits a byte at most), the ids, and the places
    of the next and the previous token.
    """
    byte_ids, merged_ids = uint32_at(record[BYTE_IDS]), uint32_at(record[MERGED_IDS])
    heap = uint64_at(record[SCRATCH])
    ids = uint32_at(record[SCRATCH] + 24 * length)
    following = uint32_at(record[SCRATCH] + 28 * length)
    preceding = uint32_at(record[SCRATCH] + 32 * length)
    for place in range(length):
        ids[place] = byte_ids[text[start + place]]
        following[place] = place + 1
        preceding[place] = place - 1
    size = 0
    for place in range(length - 1):
        size = _push_pair(record, heap, size, ids, place, place + 1)
    while size > 0:
        rank = np.int64(heap[0] >> _HEAP_SHIFT)
        left = np.int64(heap[0] & ((_ONE << _HEAP_SHIFT) - _ONE))
        size = _pop_smallest(heap, size)
        right = np.int64(following[left])
        # An entry is stale when one of its tokens has been merged since.
        if ids[left] == _DEAD or right == length:
            continue
        if _rank_of(record, ids, left, right) != rank:
            continue
        ids[left] = merged_ids[rank]
        ids[right] = _DEAD
        after = np.int64(following[right])
        following[left] = after
        if after < length:
            preceding[after] = left
            size = _push_pair(record, heap, size, ids, left, after)
        if left > 0:
            size = _push_pair(record, heap, size, ids, np.int64(preceding[left]), left)
    for place in range(length):
        if ids[place] != _DEAD:
            out[used] = ids[place]
            used += 1
    return used


@njit
def _rank_of(record, ids, left, right):
    pair_ranks = uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    return find_rank(pair_ranks, shift, mask, ids[left], ids[right])


@njit
def _push_pair(record, heap, size, ids, left, right):
    """Enter the pair of two neighbours if a merge joins it; return the new size."""
    rank = _rank_of(record, ids, left, right)
    if rank == NO_RANK:
        return size
    entry = np.uint64(rank) << _HEAP_SHIFT | np.uint64(left)
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= entry:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = entry
    return size + 1


@njit
def _pop_smallest(heap, size):
    """Remove the smallest entry; return the new size."""
    size -= 1
    entry = heap[size]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = entry
    return size
