"""The merges that apply to a word, earliest first; several words side by side.

A *rank* is the place of a merge in the order of training. The tokens of a word have slots, that of
the unit where they begin (a byte, or a whole character, see ``merge_tables``); slot 0 and the one
behind the word hold ``NO_ID``, which no merge joins with anything, so that every token has
neighbours. The lane of a slot holds the rank of the merge of its token with the next one, and the
slot itself in the low bits: one minimum over all lanes, in vector registers, finds both. Of longer
words the smallest lane of every 32 has a lane in a summary, and the minimum is taken there.

    word  h u g s    ranks: u+g 5, h+ug 9    lanes (rank, slot), - for none
                     slots .hugs.            (-) (5,2) (-) (-)     merge: slot 3 goes
                     slots .h ug s.          (9,1) (-)     (-)     merge: slot 2 goes
                     slots .hug  s.          (-)           (-)     done: hug s

Each merge waits for the one before, and the processor has little else to do meanwhile. So the new
words of a block of text are merged in turns, one step each, every one on a *track* of its own,
which is the memory of its slots.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.merge_tables import NO_RANK, find_rank, unit_at
from lm_basics.tokenizer.kernels.primitives import (
    int64_at,
    load_lanes,
    set_lane,
    smallest_lane,
    store_lanes,
    uint32_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    BYTE_IDS,
    BYTE_RANKS,
    MERGED_IDS,
    NO_ID,
    NUM_LANES,
    NUM_TRACKS,
    PAIR_RANKS,
    PAIR_RANKS_MASK,
    PAIR_RANKS_SHIFT,
    PLACE_BITS,
    SCRATCH,
    TRACK_ARRAY_BYTES,
    TRACK_BYTES,
    TRACK_SLOTS,
    TURN,
    UNITS,
)
from lm_basics.tokenizer.kernels.words import (
    NOTE_AMOUNT,
    NOTE_CODES,
    NOTE_PLACE,
    length_of,
    start_of,
)

MAX_TRACK_BYTES = TRACK_SLOTS - 2
"""Longest word that has a slot on a track for every byte."""

_SLOT_BITS = 5
_LANE_MASK = NUM_LANES - 1
_MAX_SHORT_UNITS = NUM_LANES - 2
_NO_LANE = np.uint32(0xFFFFFFFF)
_LARGEST_LANE = np.uint32(NO_RANK << PLACE_BITS)
_SLOT_MASK = np.uint32(TRACK_SLOTS - 1)


@njit
def merge_words(record, text, notes, queue, num_words):
    """Merge the words of the notes in a queue.

    The ids go to where ``NOTE_CODES`` points, and ``NOTE_AMOUNT`` takes how many they are.
    """
    turns = int64_at(record[SCRATCH])
    begun, active = 0, 0
    while begun < num_words and active < NUM_TRACKS:
        turns[TURN * active] = track_at(record, active)
        _begin(record, text, notes, queue[begun], turns, active)
        begun, active = begun + 1, active + 1
    turn = 0
    while active > 0:
        track, number, note = turns[TURN * turn], turns[TURN * turn + 1], turns[TURN * turn + 2]
        if _merge_once(record, track, number):
            turn += 1
        else:
            out = uint32_at(np.int64(notes[note + NOTE_CODES]))
            notes[note + NOTE_AMOUNT] = write_ids(track, number, out, 0)
            if begun < num_words:
                _begin(record, text, notes, queue[begun], turns, turn)
                begun += 1
            else:
                active -= 1
                for field in range(TURN):
                    turns[TURN * turn + field] = turns[TURN * active + field]
        if turn >= active:
            turn = 0


@njit
def merge_on_track(record, text, start, length, track):
    """Merge one word of at most ``MAX_TRACK_BYTES``; return how many units it had."""
    number = _fill(record, text, start, length, track)
    while _merge_once(record, track, number):
        pass
    return number


@njit(inline="always")
def write_ids(track, number, out, used):
    """Write the ids of a merged word of so many units to ``out[used:]``; return the new end."""
    ids, following = ids_of(track), following_of(track)
    slot = np.int64(1)
    while slot <= number:
        out[used] = ids[slot]
        used += 1
        slot = np.int64(following[slot])
    return used


@njit(inline="always")
def _begin(record, text, notes, note, turns, turn):
    """Begin with the word of a note."""
    place = notes[note + NOTE_PLACE]
    track = turns[TURN * turn]
    turns[TURN * turn + 1] = _fill(record, text, start_of(place), length_of(place), track)
    turns[TURN * turn + 2] = note


@njit
def _fill(record, text, start, length, track):
    """Begin with the units of a word; return how many they are. Slots without a pair have no lane.

    Characters that are cut, and those that are no unit, are as many units as bytes.
    """
    byte_ids, byte_ranks = uint32_at(record[BYTE_IDS]), uint32_at(record[BYTE_RANKS])
    pair_ranks, units = uint64_at(record[PAIR_RANKS]), uint32_at(record[UNITS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    lanes, ids, places = _lanes_of(track), ids_of(track), places_of(track)
    following, preceding = following_of(track), _preceding_of(track)
    slot, place, end = 0, start, start + length
    byte, id_before = np.int64(-1), np.int64(NO_ID)
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
        lanes[slot] = np.uint32(rank << PLACE_BITS | slot)
        slot += 1
        ids[slot] = token
        following[slot], preceding[slot] = slot + 1, slot - 1
        places[slot] = place - start
        byte, id_before = after, token
        place += size
    ids[slot + 1] = NO_ID
    places[slot + 1] = length
    for lane in range(slot, (slot | (NUM_LANES - 1)) + 1):
        lanes[lane] = _NO_LANE
    if slot > _MAX_SHORT_UNITS:
        summary = summary_of(track)
        num_groups = (slot >> _SLOT_BITS) + 1
        for group in range(NUM_LANES):
            summary[group] = _NO_LANE
        for group in range(num_groups):
            summary[group] = smallest_lane(load_lanes(lanes, group * NUM_LANES))
    return slot


@njit(inline="always")
def _merge_once(record, track, number):
    """Merge the pair of the smallest rank in a word of so many units; return whether there is one.

    Behind the last one ``following_of`` still tells where each token ends.
    """
    lanes = _lanes_of(track)
    summary = lanes if number <= _MAX_SHORT_UNITS else summary_of(track)
    best = smallest_lane(load_lanes(summary, 0))
    if best >= _LARGEST_LANE:
        return False
    merged_ids, pair_ranks = uint32_at(record[MERGED_IDS]), uint64_at(record[PAIR_RANKS])
    shift, mask = np.uint64(record[PAIR_RANKS_SHIFT]), np.uint64(record[PAIR_RANKS_MASK])
    ids, following, preceding = ids_of(track), following_of(track), _preceding_of(track)
    slot = np.int64(best & _SLOT_MASK)
    new = merged_ids[best >> PLACE_BITS]
    right, before = np.int64(following[slot]), np.int64(preceding[slot])
    after = np.int64(following[right])
    ids[slot] = new
    following[slot] = after
    preceding[after] = slot
    rank = find_rank(pair_ranks, shift, mask, new, ids[after])
    rank_before = find_rank(pair_ranks, shift, mask, ids[before], new)
    lane = np.uint32(rank << PLACE_BITS | slot)
    lane_before = np.uint32(rank_before << PLACE_BITS | before)
    group = slot >> _SLOT_BITS
    own = set_lane(load_lanes(lanes, group * NUM_LANES), slot & _LANE_MASK, lane)
    if right >> _SLOT_BITS == group:
        own = set_lane(own, right & _LANE_MASK, _NO_LANE)
    if before >> _SLOT_BITS == group:
        own = set_lane(own, before & _LANE_MASK, lane_before)
    store_lanes(lanes, group * NUM_LANES, own)
    if number <= _MAX_SHORT_UNITS:
        return True
    smallest = set_lane(load_lanes(summary, 0), group, smallest_lane(own))
    if right >> _SLOT_BITS != group:
        smallest = _set_elsewhere(lanes, smallest, right, _NO_LANE)
    if before >> _SLOT_BITS != group:
        smallest = _set_elsewhere(lanes, smallest, before, lane_before)
    store_lanes(summary, 0, smallest)
    return True


@njit(inline="always")
def _set_elsewhere(lanes, smallest, slot, lane):
    """Set the lane of a slot; return the smallest lanes of all groups."""
    group = slot >> _SLOT_BITS
    changed = set_lane(load_lanes(lanes, group * NUM_LANES), slot & _LANE_MASK, lane)
    store_lanes(lanes, group * NUM_LANES, changed)
    return set_lane(smallest, group, smallest_lane(changed))


@njit(inline="always")
def track_at(record, number):
    """Return the address of a track."""
    return record[SCRATCH] + 8 * TURN * NUM_TRACKS + number * TRACK_BYTES


@njit(inline="always")
def _lanes_of(track):
    return uint32_at(track)


@njit(inline="always")
def summary_of(track):
    """Return the smallest lane of each group, which lie behind the last one."""
    return uint32_at(track + 4 * TRACK_SLOTS)


@njit(inline="always")
def ids_of(track):
    """Return the token of every slot."""
    return uint32_at(track + TRACK_ARRAY_BYTES)


@njit(inline="always")
def following_of(track):
    """Return which slot comes behind that of each token."""
    return uint32_at(track + 2 * TRACK_ARRAY_BYTES)


@njit(inline="always")
def _preceding_of(track):
    return uint32_at(track + 3 * TRACK_ARRAY_BYTES)


@njit(inline="always")
def places_of(track):
    """Return at which byte of the word each slot begins."""
    return uint32_at(track + 4 * TRACK_ARRAY_BYTES)


@njit(inline="always")
def room_of(track):
    """Return an array for a caller, of as many numbers as a track has slots."""
    return uint32_at(track + 5 * TRACK_ARRAY_BYTES)
