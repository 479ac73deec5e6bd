"""Words of any length: merged a window at a time, or with a heap."""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.merge_tables import NO_RANK, find_rank
from lm_basics.tokenizer.kernels.primitives import uint32_at, uint64_at
from lm_basics.tokenizer.kernels.records import (
    BYTE_IDS,
    MERGED_IDS,
    PAIR_RANKS,
    PAIR_RANKS_MASK,
    PAIR_RANKS_SHIFT,
    SCRATCH,
    TRACKS_BYTES,
)
from lm_basics.tokenizer.kernels.word_merging import (
    MAX_TRACK_BYTES,
    following_of,
    merge_on_track,
    places_of,
    room_of,
    track_at,
    write_ids,
)

_SCRATCH_PER_BYTE = 40
# Near the end of a window tokens may differ from those of the word.
_MARGIN = 128
_ONE = np.uint64(1)
_DEAD = np.uint32(0xFFFFFFFF)
_HEAP_SHIFT = np.uint64(40)


@njit(inline="always")
def scratch_for(length):
    """Return the bytes of scratch that a word of so many bytes may need."""
    return max(TRACKS_BYTES, _SCRATCH_PER_BYTE * length)


@njit
def merge_long_word(record, text, start, length, out, used):
    """Write the ids of a word to ``out[used:]``; return the new end.

    It is merged a window at a time, each from the end of a token on. That is right where no merge
    crosses the border of the last token kept and the first one of the next window. What becomes of
    two tokens at a border depends on the two alone, as long as nothing crosses their other ends: if
    merging the bytes of both gives them again, nothing crosses. If it does not, which is rare, the
    whole word is merged with a heap.
    """
    track = track_at(record, 0)
    kept, done, previous = used, 0, 0
    following, places = following_of(track), places_of(track)
    while True:
        size = min(MAX_TRACK_BYTES, length - done)
        num_slots = merge_on_track(record, text, start + done, size, track)
        end = write_ids(track, num_slots, out, kept)
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
            if not _are_tokens(record, text, place, previous, first_length, track):
                return _merge_by_heap(record, text, start, length, out, used)
        if is_last:
            return end
        if number == 0:
            return _merge_by_heap(record, text, start, length, out, used)
        kept, done, previous = kept + number, done + merged, last_length


@njit
def _are_tokens(record, text, place, first_length, second_length, track):
    """Return whether merging the bytes of two neighbouring tokens gives the two again."""
    length = first_length + second_length
    if length > MAX_TRACK_BYTES:
        return False
    num_slots = merge_on_track(record, text, place, length, track)
    number = write_ids(track, num_slots, room_of(track), 0)
    return number == 2 and np.int64(places_of(track)[following_of(track)[1]]) == first_length


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
