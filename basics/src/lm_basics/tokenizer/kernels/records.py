"""Records through which Python hands arrays to the kernels, without needing numba.

A record is an array of 64-bit numbers. The constants say which number is what: an address, a size
or a state that the kernel goes on from. Kernels allocate nothing: where an array is too small, they
stop between two steps and return what is full; the caller enlarges it and calls again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_shared.machine_code import address_of

LETTER, NUMBER, WHITESPACE, OTHER = range(4)
"""Classes of characters in the GPT-2 pattern."""

GPT2, GPT4 = range(2)
"""The patterns that there are kernels for."""

PADDED_BYTES = 96
"""Kernels read blocks, and so a little more than words. From here on before its end a text is
copied to where more is readable behind it."""

ENOUGH_WORDS = 32
"""Words that are looked up in one round; a block may add up to 60."""

NOTE = 6
"""64-bit numbers of a note on a word."""

MOST_WORDS = 96
"""Words of one round at most: the room that there must be for notes and for new entries."""

ENTRY = 4
"""64-bit numbers of an entry of every hash table: two entries fill a cache line."""

RANK_BITS, ID_BITS = 22, 21
"""Bits of a rank and of an id in the table of merges: key and rank share 64 bits."""

NO_ID = (1 << ID_BITS) - 1
"""Neighbour of the first and the last token of a word; real ids are below."""

UNIT_CODES = 1 << 17
"""Code points that a character to begin with may have: the planes in use, rare ideographs apart."""

BUCKET = 8
"""Entries of the table of merges that are compared at once: a cache line."""

MAX_LOAD = 0.6
"""Fraction of a hash table that may be in use; above it, searches become long."""

(
    DONE,
    TABLE_FULL,
    ARENA_FULL,
    HEAP_FULL,
    POOL_FULL,
    NOTES_FULL,
    BYTES_FULL,
    SCRATCH_FULL,
    IDS_FULL,
) = range(9)
"""What the kernels return."""

# Words: their table, the arena of their bytes, and where in the text the kernel stands.
(
    WORDS,
    WORDS_CAPACITY,
    WORDS_USED,
    WORDS_LIMIT,
    ARENA,
    ARENA_SIZE,
    ARENA_USED,
    CLASSES,
    NOTES,
    SEGMENT,
    POSITION,
    PATTERN,
    TAIL,
    WORD_FIELDS,
) = range(14)

# Encoding: the fields of words, and these.
(
    LONG_CODES,
    LONG_CODES_SIZE,
    LONG_CODES_USED,
    BYTE_IDS,
    BYTE_RANKS,
    PAIR_RANKS,
    PAIR_RANKS_SHIFT,
    PAIR_RANKS_MASK,
    MERGED_IDS,
    UNITS,
    QUEUE,
    NEW_CODES,
    SEEN,
    SCRATCH,
    SCRATCH_SIZE,
    SCRATCH_NEEDED,
    SEGMENT_STARTS,
    SEGMENT_ENDS,
    SEGMENT_SPECIALS,
    SEGMENT_ID_ENDS,
    IDS_USED,
    IDS_ROOM,
    IDS_BEFORE,
    ENCODING_FIELDS,
) = range(WORD_FIELDS, WORD_FIELDS + 24)

NO_SPECIAL = -1
"""Where no special token follows a segment."""

MAX_NOTED_BYTES = 255
"""Longest word that is read together with others."""

MAX_KEPT_AT_ONCE = 40
"""Longest word that the encoder remembers at first sight. Longer ones are mostly clauses of writing
without spaces, which hardly ever come again: they are remembered where they do."""

SEEN_LONG_WORDS = 2048
"""Long words of which the encoder knows that it has seen them, a power of two."""

NUM_LANES = 32
"""32-bit numbers whose minimum is taken in vector registers."""

NUM_TRACKS = 4
"""Words that are merged side by side: with three or six the speed is the same."""

PLACE_BITS = 10
"""Bits of a place on a track, beside the rank in a lane."""

TRACK_SLOTS = 1 << PLACE_BITS
"""Places of a track."""

# A track has six arrays, longer than its slots by one group of lanes; the last is for a caller.
TRACK_ARRAY_BYTES = 4 * (TRACK_SLOTS + NUM_LANES)
TRACK_BYTES = 6 * TRACK_ARRAY_BYTES

TURN = 3
"""64-bit numbers of each turn, before the tracks: its track, the units of its word, its note."""

TRACKS_BYTES = NUM_TRACKS * (8 * TURN + TRACK_BYTES)
"""Bytes of scratch for all tracks."""

# Learning merges.
(
    TOKENS,
    WORD_OF,
    WORD_COUNTS,
    PAIRS,
    PAIRS_CAPACITY,
    PAIRS_USED,
    PAIRS_LIMIT,
    POOL,
    POOL_SIZE,
    POOL_USED,
    HEAP_COUNTS,
    HEAP_KEYS,
    HEAP_SIZE,
    HEAP_USED,
    SUMS,
    NEIGHBOURS,
    TOUCHED,
    TOUCHED_SIZE,
    TOKEN_BYTES,
    TOKEN_BYTES_SIZE,
    TOKEN_BYTES_USED,
    TOKEN_STARTS,
    MERGES,
    MERGES_DONE,
    MAX_TOKENS,
    PREFERS_SMALLER_ID,
    ROOM_NEEDED,
    LEARNING_FIELDS,
) = range(28)


class Record:
    """An array of 64-bit numbers, some of them addresses of arrays that it keeps alive.

    Args:
        num_fields: numbers of the record; ``kernels.records`` says what each one is.
    """

    def __init__(self, num_fields: int) -> None:
        self._numbers = np.zeros(num_fields, dtype=np.int64)
        self._arrays: dict[int, NDArray[Any]] = {}
        self.address = address_of(self._numbers)

    def __getitem__(self, field: int) -> int:
        return int(self._numbers[field])

    def __setitem__(self, field: int, value: int) -> None:
        self._numbers[field] = value

    def attach(self, field: int, array: NDArray[Any]) -> None:
        """Let a field hold the address of ``array``, which replaces an earlier one."""
        if not array.flags.c_contiguous:
            raise ValueError("kernels read contiguous arrays only")
        self._arrays[field] = array
        self._numbers[field] = address_of(array)

    def array(self, field: int) -> NDArray[Any]:
        """Return the array that a field holds the address of."""
        return self._arrays[field]

    def release(self, *fields: int) -> None:
        """Forget arrays that no kernel needs any more."""
        for field in fields:
            del self._arrays[field]
            self._numbers[field] = 0


def new_notes() -> NDArray[np.uint64]:
    """Return room for the notes on the words of one round."""
    return np.zeros(NOTE * MOST_WORDS, dtype=np.uint64)
