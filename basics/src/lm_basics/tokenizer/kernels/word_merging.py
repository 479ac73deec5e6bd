"""The merges that apply to one word, earliest first.

A *rank* is the place of a merge in the order of training. The tokens of a short word have slots,
that of the byte where they begin; slot 0 and the one behind the word hold ``NO_ID``, which no merge
joins with anything, so that every token has neighbours. The lane of a slot holds the rank of the
merge of its token with the next one, and the slot itself in the low bits: one minimum over all
lanes, which lie in vector registers, finds both. Tokens are never moved: a mask of 64 bits says
where tokens start, and its bits lead to the neighbours.

    word  h u g s      ranks: u+g 5, h+ug 9      lanes (rank, slot), - for none
    starts 111111      slots .hugs.              (-) (5,2) (-) (-)      merge: slot 3 goes
    starts 111011      slots .h ug s.            (9,1) (-)     (-)      merge: slot 2 goes
    starts 110011      slots .hug  s.            (-)           (-)      done: hug s

Longer words have their lanes in memory, with the smallest of every 32 in registers, and links
between tokens. Still longer ones are merged a window at a time, or with a heap.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.primitives import (
    NUM_LANES,
    count_leading_zeros,
    count_trailing_zeros,
    load_lanes,
    rank_in_bucket,
    set_lane,
    smallest_lane,
    uint32_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    BUCKET,
    BYTE_IDS,
    BYTE_RANKS,
    ID_BITS,
    MERGED_IDS,
    NO_ID,
    PAIR_RANKS,
    PAIR_RANKS_MASK,
    PAIR_RANKS_SHIFT,
    RANK_BITS,
    SCRATCH,
)

MAX_SHORT_BYTES = NUM_LANES - 2
"""Longest word that has a lane for every slot."""

_PLACE_BITS = 10
_LANES = 1 << _PLACE_BITS

MAX_MEDIUM_BYTES = _LANES - 2
"""Longest word with a place for every slot beside a rank in 32 bits."""

NO_RANK = (1 << RANK_BITS) - 1
"""Rank of pairs that no merge joins."""

SCRATCH_PER_BYTE = 40
"""Bytes of scratch that a long word needs for each of its own."""

_NO_RANK = np.uint64(NO_RANK)
_RANK_MASK = np.uint64(NO_RANK)
_RANK_SHIFT = np.uint64(RANK_BITS)
_ID_SHIFT = np.uint64(ID_BITS)
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_NONE = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_SLOT_BITS = 5
_TWO = np.uint64(2)
_NO_LANE = np.uint32(0xFFFFFFFF)
_LARGEST_LANE = np.uint32(NO_RANK << _SLOT_BITS)
_LARGEST_PLACE_LANE = np.uint32(NO_RANK << _PLACE_BITS)
# Near the end of a window tokens may differ from those of the word.
_MARGIN = 128
_DEAD = np.uint32(0xFFFFFFFF)
_HEAP_SHIFT = np.uint64(40)


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


@njit
def _merge_short_word(record, text, start, length, out, used):
    """Write the ids of a word of at most 30 bytes to ``out[used:]``; return the new end."""
    merged_ids, pair_ranks = uint32_at(record[MERGED_IDS]), uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    numbers = uint32_at(record[SCRATCH])
    ids = uint32_at(record[SCRATCH] + 4 * NUM_LANES)
    _fill_lanes(record, text, start, length, numbers, ids, NUM_LANES, _SLOT_BITS)
    lanes = load_lanes(numbers, 0)
    starts = (_ONE << np.uint64(length + 2)) - _ONE
    while True:
        best = smallest_lane(lanes)
        if best >= _LARGEST_LANE:
            break
        slot = np.int64(best & np.uint32(NUM_LANES - 1))
        new = merged_ids[best >> _SLOT_BITS]
        behind = starts & (_ALL << np.uint64(slot + 1))
        right = count_trailing_zeros(behind)
        behind &= behind - _ONE
        after = count_trailing_zeros(behind)
        before = 63 - count_leading_zeros(starts & ((_ONE << np.uint64(slot)) - _ONE))
        starts &= ~(_ONE << np.uint64(right))
        ids[slot] = new
        rank = find_rank(pair_ranks, shift, mask, new, ids[after])
        rank_before = find_rank(pair_ranks, shift, mask, ids[before], new)
        lanes = set_lane(lanes, right, _NO_LANE)
        lanes = set_lane(lanes, slot, np.uint32(rank << _SLOT_BITS | slot))
        lanes = set_lane(lanes, before, np.uint32(rank_before << _SLOT_BITS | before))
    starts &= (_ONE << np.uint64(length + 1)) - _TWO
    while starts != _NONE:
        out[used] = ids[count_trailing_zeros(starts)]
        starts &= starts - _ONE
        used += 1
    return used


@njit
def merge_word(record, text, start, length, out, used):
    """Write the ids of a word to ``out[used:]``; return the new end."""
    if length <= MAX_SHORT_BYTES:
        return _merge_short_word(record, text, start, length, out, used)
    if length <= MAX_MEDIUM_BYTES:
        return _merge_medium_word(record, text, start, length, out, used)
    return _merge_in_windows(record, text, start, length, out, used)


@njit
def _merge_medium_word(record, text, start, length, out, used):
    """The same as for short words with lanes in memory, of which 32 share a place in registers.

    Behind it ``_following`` still tells where each token ends.
    """
    merged_ids, pair_ranks = uint32_at(record[MERGED_IDS]), uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    lanes, ids = uint32_at(record[SCRATCH]), uint32_at(record[SCRATCH] + 20 * _LANES)
    following, preceding = _following(record), uint32_at(record[SCRATCH] + 12 * _LANES)
    # Behind the groups of lanes lies one more without any rank.
    num_groups = (length >> _SLOT_BITS) + 1
    num_lanes = (num_groups + 1) * NUM_LANES
    _fill_lanes(record, text, start, length, lanes, ids, num_lanes, _PLACE_BITS)
    for slot in range(1, length + 1):
        following[slot] = slot + 1
        preceding[slot] = slot - 1
    smallest = load_lanes(lanes, num_groups * NUM_LANES)
    for group in range(num_groups):
        smallest = set_lane(smallest, group, smallest_lane(load_lanes(lanes, group * NUM_LANES)))
    while True:
        best = smallest_lane(smallest)
        if best >= _LARGEST_PLACE_LANE:
            break
        slot = np.int64(best & np.uint32(_LANES - 1))
        new = merged_ids[best >> _PLACE_BITS]
        right, before = np.int64(following[slot]), np.int64(preceding[slot])
        after = np.int64(following[right])
        ids[slot] = new
        following[slot] = after
        preceding[after] = slot
        rank = find_rank(pair_ranks, shift, mask, new, ids[after])
        rank_before = find_rank(pair_ranks, shift, mask, ids[before], new)
        lanes[right] = _NO_LANE
        lanes[slot] = np.uint32(rank << _PLACE_BITS | slot)
        lanes[before] = np.uint32(rank_before << _PLACE_BITS | before)
        group = slot >> _SLOT_BITS
        smallest = set_lane(smallest, group, smallest_lane(load_lanes(lanes, group * NUM_LANES)))
        for other in (right >> _SLOT_BITS, before >> _SLOT_BITS):
            if other != group:
                changed = smallest_lane(load_lanes(lanes, other * NUM_LANES))
                smallest = set_lane(smallest, other, changed)
    slot = 1
    while slot <= length:
        out[used] = ids[slot]
        used += 1
        slot = np.int64(following[slot])
    return used


@njit(inline="always")
def _fill_lanes(record, text, start, length, lanes, ids, num_lanes, place_bits):
    """Begin with the bytes of a word; lanes without a pair have no rank."""
    byte_ids, byte_ranks = uint32_at(record[BYTE_IDS]), uint32_at(record[BYTE_RANKS])
    for slot in range(num_lanes):
        lanes[slot] = _NO_LANE
    ids[0] = NO_ID
    ids[length + 1] = NO_ID
    byte = np.int64(text[start])
    ids[1] = byte_ids[byte]
    for slot in range(1, length):
        after = np.int64(text[start + slot])
        lanes[slot] = byte_ranks[byte << 8 | after] << place_bits | slot
        ids[slot + 1] = byte_ids[after]
        byte = after


@njit(inline="always")
def _following(record):
    """Return where, in a word of medium length, the token behind each one begins."""
    return uint32_at(record[SCRATCH] + 8 * _LANES)


@njit
def _merge_in_windows(record, text, start, length, out, used):
    """Merge a word of any length a window at a time, each from the end of a token on.

    That is right where no merge crosses the border of the last token kept and the first one of the
    next window. What becomes of two tokens at a border depends on the two alone, as long as nothing
    crosses their other ends: if merging the bytes of both gives them again, nothing crosses. If it
    does not, which is rare, the whole word is merged with a heap.
    """
    kept, done, previous = used, 0, 0
    following = _following(record)
    while True:
        size = min(MAX_MEDIUM_BYTES, length - done)
        end = _merge_medium_word(record, text, start + done, size, out, kept)
        is_last = done + size == length
        first_length = np.int64(following[1]) - 1
        slot, last_length, number = 1, 0, 0
        while slot <= size and (is_last or following[slot] - 1 <= size - _MARGIN):
            last_length = np.int64(following[slot]) - slot
            slot = np.int64(following[slot])
            number += 1
        if done > 0:
            place = start + done - previous
            if not _are_tokens(record, text, place, previous, first_length):
                return _merge_by_heap(record, text, start, length, out, used)
        if is_last:
            return end
        if number == 0:
            return _merge_by_heap(record, text, start, length, out, used)
        kept, done, previous = kept + number, done + slot - 1, last_length


@njit
def _are_tokens(record, text, place, first_length, second_length):
    """Return whether merging the bytes of two neighbouring tokens gives the two again."""
    length = first_length + second_length
    if length > MAX_MEDIUM_BYTES:
        return False
    out = uint32_at(record[SCRATCH] + 16 * _LANES)
    number = _merge_medium_word(record, text, place, length, out, 0)
    return number == 2 and np.int64(_following(record)[1]) == first_length + 1


@njit
def _merge_by_heap(record, text, start, length, out, used):
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
