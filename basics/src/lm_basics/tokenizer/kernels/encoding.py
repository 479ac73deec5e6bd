"""Text to ids through a cache of words: most of a text is words seen before.

The cache is the table of words with ids in place of counts. An entry holds up to 8 bytes of ids
side by side, four of 16 bits or two of 32; if a word has more, they lie in an arena and the entry
says where. So a hit writes 8 bytes, whatever the number of ids, and moves on by that number: there
is no branch that the processor would have to guess.

Words of a round that are not in the table are merged from their bytes and entered, long ones only
when they come again. When the table is full the caller enlarges or empties it.
"""

import numpy as np
from numba import njit

from lm_basics.tokenizer.kernels.long_words import merge_long_word, scratch_for
from lm_basics.tokenizer.kernels.primitives import (
    int64_at,
    load_word,
    store_word,
    uint8_at,
    uint32_at,
    uint64_at,
)
from lm_basics.tokenizer.kernels.records import (
    ARENA,
    ARENA_FULL,
    ARENA_SIZE,
    ARENA_USED,
    CLASSES,
    DONE,
    ENTRY,
    IDS_BEFORE,
    IDS_FULL,
    IDS_ROOM,
    IDS_USED,
    LONG_CODES,
    LONG_CODES_SIZE,
    LONG_CODES_USED,
    MAX_KEPT_AT_ONCE,
    MAX_NOTED_BYTES,
    MOST_WORDS,
    NEW_CODES,
    NO_SPECIAL,
    NOTE,
    NOTES,
    PADDED_BYTES,
    PATTERN,
    POSITION,
    QUEUE,
    SCRATCH_FULL,
    SCRATCH_NEEDED,
    SCRATCH_SIZE,
    SEEN,
    SEEN_LONG_WORDS,
    SEGMENT,
    SEGMENT_ENDS,
    SEGMENT_ID_ENDS,
    SEGMENT_SPECIALS,
    SEGMENT_STARTS,
    TABLE_FULL,
    WORDS,
    WORDS_CAPACITY,
    WORDS_LIMIT,
    WORDS_USED,
)
from lm_basics.tokenizer.kernels.word_merging import merge_words
from lm_basics.tokenizer.kernels.words import (
    NOTE_AMOUNT,
    NOTE_CODES,
    NOTE_HIGH,
    NOTE_LOW,
    NOTE_PLACE,
    NOTE_SLOT,
    copy_bytes,
    copy_tail,
    is_long,
    length_of,
    read_words,
    same_bytes,
    start_of,
)

LOW, HIGH, PLACE, CODES = range(ENTRY)
"""``PLACE`` packs where the word lies in the arena, its length and the number of its ids."""

MOST_ROOM = 1 << 13
"""Room in both arenas that is enough to go on; words for which there is none are not kept."""

_BYTE = np.uint64(0xFF)
_LENGTH_SHIFT = np.uint64(8)
_ARENA_SHIFT = np.uint64(16)
_ONE = np.uint64(1)
_NONE = np.uint64(0)


def encode_text_16(record, text, length, ids):
    """Write the ids, of 16 bits, of a text; see ``_encode_text``."""
    return _encode_text(record, text, length, ids, 4)


def encode_text_32(record, text, length, ids):
    """Write the ids, of 32 bits, of a text; see ``_encode_text``."""
    return _encode_text(record, text, length, ids, 2)


def encode_segments_16(record, text, num_segments, ids):
    """Write the ids, of 16 bits, of segments; see ``_encode_segments``."""
    return _encode_segments(record, text, num_segments, ids, 4)


def encode_segments_32(record, text, num_segments, ids):
    """Write the ids, of 32 bits, of segments; see ``_encode_segments``."""
    return _encode_segments(record, text, num_segments, ids, 2)


@njit(inline="always")
def _encode_text(record, text, length, ids, ids_per_entry):
    """Encode ``text[:length]`` from the record's position on.

    Returns the number of ids, or the complement of what is full: then the caller makes it larger,
    or takes the ids so far away, and calls again. ``ids`` needs 8 bytes more than its room.
    """
    full = _encode_segment(record, text, record[POSITION], length, ids, ids_per_entry)
    if full != DONE:
        return ~full
    used = record[IDS_USED]
    record[POSITION], record[IDS_USED] = 0, 0
    return used


@njit(inline="always")
def _encode_segments(record, text, num_segments, ids, ids_per_entry):
    """Encode segments of ``text``, each followed by its special token, if any."""
    starts, ends = int64_at(record[SEGMENT_STARTS]), int64_at(record[SEGMENT_ENDS])
    specials, id_ends = int64_at(record[SEGMENT_SPECIALS]), int64_at(record[SEGMENT_ID_ENDS])
    while record[SEGMENT] < num_segments:
        segment = record[SEGMENT]
        position = max(record[POSITION], starts[segment])
        full = _encode_segment(record, text, position, ends[segment], ids, ids_per_entry)
        if full != DONE:
            return ~full
        if specials[segment] != NO_SPECIAL:
            if record[IDS_USED] >= record[IDS_ROOM]:
                return ~IDS_FULL
            ids[record[IDS_USED]] = specials[segment]
            record[IDS_USED] += 1
        id_ends[segment] = record[IDS_BEFORE] + record[IDS_USED]
        record[SEGMENT] += 1
        record[POSITION] = 0
    used = record[IDS_USED]
    record[SEGMENT], record[IDS_USED] = 0, 0
    return used


@njit
def _encode_segment(record, text, position, end, ids, ids_per_entry):
    """Encode ``text[position:end]``; return ``DONE`` or what is full."""
    table = uint64_at(record[WORDS])
    mask = np.uint64(record[WORDS_CAPACITY] - 1)
    classes = uint8_at(record[CLASSES])
    notes = uint64_at(record[NOTES])
    pattern = record[PATTERN]
    used = record[IDS_USED]
    unpadded_end = end - PADDED_BYTES
    while position < end:
        if position >= unpadded_end:
            text = copy_tail(record, text, position, end)
            unpadded_end = end
        if record[WORDS_USED] > record[WORDS_LIMIT]:
            return _stop(record, position, used, TABLE_FULL)
        count, stop = read_words(
            pattern, text, position, unpadded_end, end, classes, table, mask, notes
        )
        size = stop - position
        is_alone = size > MAX_NOTED_BYTES and count == 1
        full = _what_is_full(record, used, size, is_alone)
        if full != DONE:
            return _stop(record, position, used, full)
        if is_alone:
            used = merge_long_word(record, text, position, size, ids, used)
            position = stop
            continue
        for number in range(count):
            note = number * NOTE
            low, high = notes[note + NOTE_LOW], notes[note + NOTE_HIGH]
            entry = np.int64(notes[note + NOTE_SLOT]) * ENTRY
            amount = np.int64(table[entry + PLACE] & _BYTE)
            is_word = table[entry + LOW] == low and table[entry + HIGH] == high
            if not is_word or is_long(high) or amount > ids_per_entry:
                used = _encode_others(record, text, number, count, ids, used, ids_per_entry)
                break
            store_word(ids, used, table[entry + CODES])
            used += amount
        position = stop
    return _stop(record, position, used, DONE)


@njit(inline="always")
def _what_is_full(record, used, size, is_alone):
    """Return which array has no room for words of that many bytes, ``DONE`` if none."""
    # A word has at most one id a byte.
    if used + size > record[IDS_ROOM]:
        return IDS_FULL
    if is_alone:
        record[SCRATCH_NEEDED] = scratch_for(size)
        return SCRATCH_FULL if record[SCRATCH_NEEDED] > record[SCRATCH_SIZE] else DONE
    room = min(
        record[ARENA_SIZE] - record[ARENA_USED],
        record[LONG_CODES_SIZE] - record[LONG_CODES_USED],
    )
    return ARENA_FULL if min(size, MOST_ROOM) > room else DONE


@njit(inline="always")
def _stop(record, position, used, reason):
    """Write down where to go on."""
    record[POSITION], record[IDS_USED] = position, used
    return reason


@njit
def _encode_others(record, text, first, count, ids, used, ids_per_entry):
    """Encode the words of a round, from the first one on whose ids are not at hand.

    New ones are merged together before anything is written.
    """
    notes, queue = uint64_at(record[NOTES]), int64_at(record[QUEUE])
    room, num_new = record[NEW_CODES], 0
    for number in range(first, count):
        note = number * NOTE
        if not _look_up(record, text, notes, note, ids_per_entry):
            queue[num_new] = note
            num_new += 1
            notes[note + NOTE_CODES] = np.uint64(room)
            room += 4 * length_of(notes[note + NOTE_PLACE])
    if num_new > 0:
        merge_words(record, text, notes, queue, num_new)
        for index in range(num_new):
            _keep_word(record, text, notes, queue[index], ids_per_entry)
    for number in range(first, count):
        codes = notes[number * NOTE + NOTE_CODES]
        amount = np.int64(notes[number * NOTE + NOTE_AMOUNT])
        if amount <= ids_per_entry:
            store_word(ids, used, codes)
        else:
            words = uint32_at(np.int64(codes))
            for index in range(amount):
                ids[used + index] = words[index]
        used += amount
    return used


@njit(inline="always")
def _look_up(record, text, notes, note, ids_per_entry):
    """Note the ids of a word, or where they are; return whether there is an entry."""
    table = uint64_at(record[WORDS])
    entry = _find_entry(record, text, notes, note)
    if table[entry + HIGH] == _NONE:
        return False
    codes, amount = table[entry + CODES], table[entry + PLACE] & _BYTE
    if amount > ids_per_entry:
        codes = np.uint64(record[LONG_CODES]) + np.uint64(4) * codes
    notes[note + NOTE_CODES], notes[note + NOTE_AMOUNT] = codes, amount
    return True


@njit
def _keep_word(record, text, notes, note, ids_per_entry):
    """Enter a merged word if it is new, not too long for a first sight, and there is room."""
    amount = np.int64(notes[note + NOTE_AMOUNT])
    new_codes = uint32_at(np.int64(notes[note + NOTE_CODES]))
    codes = np.uint64(0)
    if amount <= ids_per_entry:
        for index in range(amount):
            codes |= np.uint64(new_codes[index]) << np.uint64(64 // ids_per_entry * index)
        notes[note + NOTE_CODES] = codes
    place, high = notes[note + NOTE_PLACE], notes[note + NOTE_HIGH]
    start, length = start_of(place), length_of(place)
    if (
        (length > MAX_KEPT_AT_ONCE and not _was_seen(record, high))
        or record[WORDS_USED] >= record[WORDS_LIMIT] + MOST_WORDS
        or record[ARENA_USED] + length > record[ARENA_SIZE]
        or record[LONG_CODES_USED] + amount > record[LONG_CODES_SIZE]
    ):
        return
    table = uint64_at(record[WORDS])
    entry = _find_entry(record, text, notes, note)
    if table[entry + HIGH] != _NONE:
        return
    if amount > ids_per_entry:
        long_codes, codes = uint32_at(record[LONG_CODES]), np.uint64(record[LONG_CODES_USED])
        for index in range(amount):
            long_codes[np.int64(codes) + index] = new_codes[index]
        record[LONG_CODES_USED] += amount
    table[entry + LOW], table[entry + HIGH] = notes[note + NOTE_LOW], high
    table[entry + PLACE] = (
        np.uint64(record[ARENA_USED]) << _ARENA_SHIFT
        | np.uint64(length) << _LENGTH_SHIFT
        | np.uint64(amount)
    )
    table[entry + CODES] = codes
    if is_long(high):
        copy_bytes(text, start, length, uint8_at(record[ARENA]), record[ARENA_USED])
        record[ARENA_USED] += length
    record[WORDS_USED] += 1


@njit(inline="always")
def _was_seen(record, high):
    """Return whether a long word was met before, as far as is known, and note that it was met."""
    seen = uint64_at(record[SEEN])
    place = np.int64(high) & (SEEN_LONG_WORDS - 1)
    was_seen = seen[place] == high
    seen[place] = high
    return was_seen


@njit
def _find_entry(record, text, notes, note):
    """Return the entry of a noted word, or the free one that it would take."""
    table, arena = uint64_at(record[WORDS]), uint8_at(record[ARENA])
    mask = np.uint64(record[WORDS_CAPACITY] - 1)
    low, high, slot = notes[note + NOTE_LOW], notes[note + NOTE_HIGH], notes[note + NOTE_SLOT]
    start, length = start_of(notes[note + NOTE_PLACE]), length_of(notes[note + NOTE_PLACE])
    entry = np.int64(slot) * ENTRY
    while table[entry + HIGH] != _NONE:
        if table[entry + LOW] == low and table[entry + HIGH] == high:
            place = table[entry + PLACE]
            if not is_long(high) or (
                np.int64(place >> _LENGTH_SHIFT & _BYTE) == length
                and same_bytes(text, start, arena, np.int64(place >> _ARENA_SHIFT), length)
            ):
                break
        slot = (slot + _ONE) & mask
        entry = np.int64(slot) * ENTRY
    return entry


def measure_tokens(ids, num_ids, spans, vocab_size):
    """Return the bytes of some ids, or the complement of the place of an id that there is not.

    ``spans`` holds, of each id, where its bytes begin and how many they are; of an id that stands
    for no token, a negative number.
    """
    total = 0
    for index in range(num_ids):
        token = np.int64(ids[index])
        if token >= vocab_size:
            return ~index
        length = spans[2 * token + 1]
        if length < 0:
            return ~index
        total += length
    return total


def copy_tokens(ids, num_ids, spans, token_bytes, out):
    """Write the bytes of ids; ``token_bytes`` and ``out`` need 16 bytes behind their ends."""
    place = 0
    for index in range(num_ids):
        token = np.int64(ids[index])
        start, length = spans[2 * token], spans[2 * token + 1]
        store_word(out, place, load_word(token_bytes, start))
        store_word(out, place + 8, load_word(token_bytes, start + 8))
        for offset in range(16, length, 8):
            store_word(out, place + offset, load_word(token_bytes, start + offset))
        place += length
    return place
