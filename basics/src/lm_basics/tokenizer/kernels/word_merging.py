"""The merges that apply to one word, earliest first.

A *rank* is the place of a merge in the order of training. The tokens of a short word have slots,
that of the unit where they begin (a byte, or a whole character, see ``merge_tables``); slot 0 and
the one behind the word hold ``NO_ID``, which no merge joins with anything, so that every token has
neighbours. The lane of a slot holds the rank of the merge of its token with the next one, and the
slot itself in the low bits: one minimum over all lanes, which lie in vector registers, finds both.
Tokens are never moved: a mask of 64 bits says where tokens start, and its bits lead to the
neighbours.

    word  h u g s      ranks: u+g 5, h+ug 9      lanes (rank, slot), - for none
    starts 111111      slots .hugs.              (-) (5,2) (-) (-)      merge: slot 3 goes
    starts 111011      slots .h ug s.            (9,1) (-)     (-)      merge: slot 2 goes
    starts 110011      slots .hug  s.            (-)           (-)      done: hug s

Longer words have their lanes in memory, with the smallest of every 32 in registers, and links
between tokens. Still longer ones are merged a window at a time, or with a heap.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.merge_tables import NO_RANK, find_rank, unit_at
from lm_basics.tokenizer.kernels.primitives import (
    NUM_LANES,
    count_leading_zeros,
    count_trailing_zeros,
    load_lanes,
    set_lane,
    smallest_lane,
    uint32_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    BYTE_IDS,
    BYTE_RANKS,
    MERGED_IDS,
    NO_ID,
    PAIR_RANKS,
    PAIR_RANKS_MASK,
    PAIR_RANKS_SHIFT,
    SCRATCH,
    UNITS,
)

MAX_SHORT_UNITS = NUM_LANES - 2
"""Units of the longest word that has a lane in registers for every slot."""

_PLACE_BITS = 10
_LANES = 1 << _PLACE_BITS

MAX_MEDIUM_BYTES = _LANES - 2
"""Longest word with a place for every slot beside a rank in 32 bits."""

SCRATCH_PER_BYTE = 40
"""Bytes of scratch that a long word needs for each of its own."""

_ONE = np.uint64(1)
_NONE = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_SLOT_BITS = 5
_TWO = np.uint64(2)
_NO_LANE = np.uint32(0xFFFFFFFF)
_LARGEST_LANE = np.uint32(NO_RANK << _PLACE_BITS)
# Near the end of a window tokens may differ from those of the word.
_MARGIN = 128
_DEAD = np.uint32(0xFFFFFFFF)
_HEAP_SHIFT = np.uint64(40)


@njit
def merge_word(record, text, start, length, out, used):
    """Write the ids of a word to ``out[used:]``; return the new end."""
    if length > MAX_MEDIUM_BYTES:
        return _merge_in_windows(record, text, start, length, out, used)
    number = _fill_lanes(record, text, start, length)
    if number <= MAX_SHORT_UNITS:
        return _merge_short_word(record, number, out, used)
    return _merge_medium_word(record, number, out, used)


@njit(inline="always")
def _fill_lanes(record, text, start, length):
    """Begin with the units of a word; return how many they are. Lanes without a pair have no rank.

    Characters that are cut, and those that are no unit, are as many units as bytes.
    """
    byte_ids, byte_ranks = uint32_at(record[BYTE_IDS]), uint32_at(record[BYTE_RANKS])
    pair_ranks, units = uint64_at(record[PAIR_RANKS]), uint32_at(record[UNITS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    lanes, ids, places = _lanes(record), _ids(record), _places(record)
    slot, place, end = 0, start, start + length
    byte, id_before = np.int64(-1), NO_ID
    ids[0] = NO_ID
    while place < end:
        after = np.int64(text[place])
        unit, size = np.int64(0), 1
        if after >= 0x80:
            unit, size = unit_at(units, text, place, end)
        if unit == 0:
            token = np.int64(byte_ids[after])
        else:
            token, after = unit - 1, np.int64(-1)
        if after >= 0 and byte >= 0:
            rank = np.int64(byte_ranks[byte << 8 | after])
        else:
            rank = find_rank(pair_ranks, shift, mask, id_before, token)
        lanes[slot] = np.uint32(rank << _PLACE_BITS | slot)
        slot += 1
        ids[slot] = token
        places[slot] = place - start
        byte, id_before = after, token
        place += size
    ids[slot + 1] = NO_ID
    places[slot + 1] = length
    for lane in range(slot, (slot | (NUM_LANES - 1)) + 1):
        lanes[lane] = _NO_LANE
    return slot


@njit(inline="always")
def _merge_short_word(record, number, out, used):
    """Merge at most 30 units."""
    merged_ids, pair_ranks = uint32_at(record[MERGED_IDS]), uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    ids = _ids(record)
    lanes = load_lanes(_lanes(record), 0)
    starts = (_ONE << np.uint64(number + 2)) - _ONE
    while True:
        best = smallest_lane(lanes)
        if best >= _LARGEST_LANE:
            break
        slot = np.int64(best & np.uint32(NUM_LANES - 1))
        new = merged_ids[best >> _PLACE_BITS]
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
        lanes = set_lane(lanes, slot, np.uint32(rank << _PLACE_BITS | slot))
        lanes = set_lane(lanes, before, np.uint32(rank_before << _PLACE_BITS | before))
    starts &= (_ONE << np.uint64(number + 1)) - _TWO
    while starts != _NONE:
        out[used] = ids[count_trailing_zeros(starts)]
        starts &= starts - _ONE
        used += 1
    return used


@njit
def _merge_medium_word(record, number, out, used):
    """The same as for short words with lanes in memory, of which 32 share a place in registers.

    Behind it ``_following`` still tells where each token ends.
    """
    merged_ids, pair_ranks = uint32_at(record[MERGED_IDS]), uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    lanes, ids = _lanes(record), _ids(record)
    following, preceding = _following(record), _preceding(record)
    num_groups = (number >> _SLOT_BITS) + 1
    # Behind the groups of lanes lies one more without any rank.
    for lane in range(num_groups * NUM_LANES, (num_groups + 1) * NUM_LANES):
        lanes[lane] = _NO_LANE
    for slot in range(1, number + 1):
        following[slot] = slot + 1
        preceding[slot] = slot - 1
    smallest = load_lanes(lanes, num_groups * NUM_LANES)
    for group in range(num_groups):
        smallest = set_lane(smallest, group, smallest_lane(load_lanes(lanes, group * NUM_LANES)))
    while True:
        best = smallest_lane(smallest)
        if best >= _LARGEST_LANE:
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
    while slot <= number:
        out[used] = ids[slot]
        used += 1
        slot = np.int64(following[slot])
    return used


# The scratch: five arrays of ``_LANES`` numbers and some, and what ``_are_tokens`` finds.


@njit(inline="always")
def _lanes(record):
    return uint32_at(record[SCRATCH])


@njit(inline="always")
def _ids(record):
    """Return the token of every slot."""
    return uint32_at(record[SCRATCH] + 4 * (_LANES + NUM_LANES))


@njit(inline="always")
def _following(record):
    """Return which slot comes behind that of each token."""
    return uint32_at(record[SCRATCH] + 8 * (_LANES + NUM_LANES))


@njit(inline="always")
def _preceding(record):
    """Return which slot comes before that of each token."""
    return uint32_at(record[SCRATCH] + 12 * (_LANES + NUM_LANES))


@njit(inline="always")
def _places(record):
    """Return at which byte of the word each slot begins."""
    return uint32_at(record[SCRATCH] + 16 * (_LANES + NUM_LANES))


@njit
def _merge_in_windows(record, text, start, length, out, used):
    """Merge a word of any length a window at a time, each from the end of a token on.

    That is right where no merge crosses the border of the last token kept and the first one of the
    next window. What becomes of two tokens at a border depends on the two alone, as long as nothing
    crosses their other ends: if merging the bytes of both gives them again, nothing crosses. If it
    does not, which is rare, the whole word is merged with a heap.
    """
    kept, done, previous = used, 0, 0
    following, places = _following(record), _places(record)
    while True:
        size = min(MAX_MEDIUM_BYTES, length - done)
        num_slots = _fill_lanes(record, text, start + done, size)
        end = _merge_medium_word(record, num_slots, out, kept)
        is_last = done + size == length
        first_length = np.int64(places[following[1]])
        slot, last_length, number = np.int64(1), np.int64(0), 0
        while slot <= num_slots and (is_last or places[following[slot]] <= size - _MARGIN):
            behind = np.int64(following[slot])
            last_length = np.int64(places[behind]) - np.int64(places[slot])
            slot = behind
            number += 1
        merged = np.int64(places[slot])
        if done > 0:
            place = start + done - previous
            if not _are_tokens(record, text, place, previous, first_length):
                return _merge_by_heap(record, text, start, length, out, used)
        if is_last:
            return end
        if number == 0:
            return _merge_by_heap(record, text, start, length, out, used)
        kept, done, previous = kept + number, done + merged, last_length


@njit
def _are_tokens(record, text, place, first_length, second_length):
    """Return whether merging the bytes of two neighbouring tokens gives the two again."""
    length = first_length + second_length
    if length > MAX_MEDIUM_BYTES:
        return False
    out = uint32_at(record[SCRATCH] + 20 * (_LANES + NUM_LANES))
    num_slots = _fill_lanes(record, text, place, length)
    number = _merge_medium_word(record, num_slots, out, 0)
    return number == 2 and np.int64(_places(record)[_following(record)[1]]) == first_length


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
