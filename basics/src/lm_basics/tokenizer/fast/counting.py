"""Distinct pre-tokens and their counts, in memory that grows with the distinct ones only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_basics.tokenizer.fast.classes import character_classes
from lm_basics.tokenizer.fast.record import Record
from lm_basics.tokenizer.kernels import kernel, records
from lm_shared.machine_code import address_of, zeros_at_cache_lines

LONGEST_TEXT = 1 << 30
"""Bytes of a text that is counted at once: places and lengths share numbers of 64 bits."""

_SMALLEST_TABLE = 1 << 12
_SMALLEST_ARENA = 1 << 16


class WordCounts:
    """Counts pre-tokens in UTF-8 text.

    Args:
        kernel_pattern: ``records.GPT2`` or ``records.GPT4``.
    """

    def __init__(self, kernel_pattern: int = records.GPT2) -> None:
        self.record = Record(records.WORD_FIELDS)
        self.record[records.PATTERN] = kernel_pattern
        self.record.attach(records.CLASSES, character_classes())
        self.record.attach(records.NOTES, np.zeros(4 * records.MOST_WORDS, dtype=np.uint64))
        self.record.attach(records.TAIL, np.zeros(2 * records.PADDED_BYTES, dtype=np.uint8))
        self._attach_table(zeros_at_cache_lines(_SMALLEST_TABLE * records.ENTRY, np.uint64))
        self._attach_arena(np.empty(_SMALLEST_ARENA, dtype=np.uint8))

    def __len__(self) -> int:
        return self.record[records.WORDS_USED]

    @property
    def num_bytes(self) -> int:
        """Bytes of all distinct words."""
        return self.record[records.ARENA_USED]

    def count(self, data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Count the words in ``data[starts[i] : ends[i]]``, valid UTF-8.

        Raises:
            ValueError: there is more text than one call takes.
        """
        if len(data) > LONGEST_TEXT:
            raise ValueError(f"cannot count {len(data)} bytes at once, at most {LONGEST_TEXT}")
        arguments = (self.record.address, data, address_of(starts), address_of(ends), len(starts))
        while (full := kernel("word_counts:count_words")(*arguments)) != records.DONE:
            if full == records.TABLE_FULL:
                self._make_room(2 * len(self), 0)
            else:
                longest = int((ends - starts).max())
                self._make_room(0, 2 * (self.num_bytes + longest))
        self.record[records.SEGMENT] = 0

    def add(self, other: "WordCounts") -> None:
        """Add the counts of another object."""
        self._make_room(len(self) + len(other), self.num_bytes + other.num_bytes)
        kernel("word_counts:add_word_counts")(other.record.address, self.record.address)

    def _make_room(self, num_words: int, num_bytes: int) -> None:
        """Have room for that many words and bytes."""
        record = self.record
        capacity = record[records.WORDS_CAPACITY]
        while _limit(capacity) < num_words:
            capacity *= 2
        if capacity > record[records.WORDS_CAPACITY]:
            table = zeros_at_cache_lines(capacity * records.ENTRY, np.uint64)
            kernel("words:move_entries")(
                record[records.WORDS], record[records.WORDS_CAPACITY], address_of(table), capacity
            )
            self._attach_table(table)
        if num_bytes > record[records.ARENA_SIZE]:
            arena = np.empty(num_bytes, dtype=np.uint8)
            arena[: self.num_bytes] = record.array(records.ARENA)[: self.num_bytes]
            self._attach_arena(arena)

    def _attach_table(self, table: NDArray[np.uint64]) -> None:
        capacity = len(table) // records.ENTRY
        self.record.attach(records.WORDS, table)
        self.record[records.WORDS_CAPACITY] = capacity
        self.record[records.WORDS_LIMIT] = _limit(capacity)

    def _attach_arena(self, arena: NDArray[Any]) -> None:
        self.record.attach(records.ARENA, arena)
        self.record[records.ARENA_SIZE] = len(arena)


def _limit(capacity: int) -> int:
    """Return the words with which a block of text may still be counted."""
    return int(capacity * records.MAX_LOAD) - records.MOST_WORDS
