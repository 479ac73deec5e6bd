"""Training on the fast path: words counted by several threads, then the merges of the counts.

Memory grows with the distinct words only.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_basics.tokenizer.fast.segments import SpecialTokenFinder, character_classes
from lm_basics.tokenizer.kernels import kernel, records
from lm_basics.tokenizer.kernels.records import Record
from lm_basics.tokenizer.texts import Block, OnInvalid
from lm_shared.machine_code import address_of, zeros_at_cache_lines
from lm_shared.processes import map_in_threads

LONGEST_TEXT = 1 << 30
"""Bytes of a text that is counted at once: places and lengths share numbers of 64 bits."""

_SMALLEST_TABLE = 1 << 12
_SMALLEST_ARENA = 1 << 16
_NUM_BYTES = 256
_MERGES_AT_ONCE = 1000
_NUM_SUMS = 8
# Places in the list are numbers of 32 bits.
_LONGEST_LIST = (1 << 31) - 1


class WordCounts:
    """Counts pre-tokens in UTF-8 text.

    Args:
        kernel_pattern: ``records.GPT2`` or ``records.GPT4``.
    """

    def __init__(self, kernel_pattern: int = records.GPT2) -> None:
        self.record = Record(records.WORD_FIELDS)
        self.record[records.PATTERN] = kernel_pattern
        self.record.attach(records.CLASSES, character_classes())
        self.record.attach(records.NOTES, records.new_notes())
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


Documents = list[str]
"""Texts that no pre-token crosses the limits of."""


class CorpusCounter:
    """Counts the words of blocks of files and of documents.

    Every thread has counts of its own, so memory grows with the distinct words times the threads.
    """

    def __init__(
        self, special_tokens: Collection[str], *, kernel_pattern: int, on_invalid: OnInvalid
    ) -> None:
        self._finder = SpecialTokenFinder(special_tokens)
        self._kernel_pattern = kernel_pattern
        self._on_invalid: OnInvalid = on_invalid
        self._idle: deque[WordCounts] = deque()

    def count(self, parts: Iterable[Block | Documents], num_threads: int) -> Iterable[int]:
        """Count all parts, and yield the bytes of each as it is done."""
        return map_in_threads(self._count_part, parts, num_threads)

    def total(self) -> WordCounts:
        """Return the counts of all threads together, and forget them."""
        total = self._idle.popleft() if self._idle else WordCounts(self._kernel_pattern)
        while self._idle:
            total.add(self._idle.popleft())
        return total

    def _count_part(self, part: Block | Documents) -> int:
        try:
            counts = self._idle.pop()
        except IndexError:
            counts = WordCounts(self._kernel_pattern)
        size = (
            self._count_block(part, counts)
            if isinstance(part, Block)
            else self._count_documents(part, counts)
        )
        self._idle.append(counts)
        return size

    def _count_block(self, block: Block, counts: WordCounts) -> int:
        data, size = block.data, len(block.data)
        if kernel("primitives:find_invalid_utf8")(data, 0, size) < size:
            data = block.text(self._on_invalid).encode()
        segments = self._finder.split([data])
        counts.count(data, segments.starts, segments.ends)
        return size

    def _count_documents(self, texts: Documents, counts: WordCounts) -> int:
        documents = [text.encode() for text in texts]
        segments = self._finder.split(documents)
        data = b"".join(documents)
        counts.count(data, segments.starts, segments.ends)
        return len(data)


@dataclass(frozen=True, kw_only=True, slots=True)
class WordList:
    """Distinct words one behind the other."""

    tokens: NDArray[np.int32]
    """The bytes of the words, -1 before, between and behind them."""
    word_of: NDArray[np.int32]
    """For every byte the number of its word."""
    counts: NDArray[np.int64]
    """How often each word occurs."""

    @classmethod
    def from_table(cls, words: WordCounts) -> "WordList":
        """List the words of a table, whose memory is released."""
        listed = cls._with_room(len(words), words.num_bytes)
        kernel("word_counts:lay_out_words")(
            words.record.address,
            address_of(listed.tokens),
            address_of(listed.word_of),
            address_of(listed.counts),
        )
        words.record.release(records.WORDS, records.ARENA)
        return listed

    @classmethod
    def from_mapping(cls, pretoken_counts: Mapping[bytes, int]) -> "WordList":
        """List the words of a dictionary."""
        listed = cls._with_room(len(pretoken_counts), sum(map(len, pretoken_counts)))
        lengths = np.fromiter(map(len, pretoken_counts), np.int64, len(pretoken_counts))
        ends = 1 + np.cumsum(lengths + 1)
        body = np.frombuffer(b"\0".join(pretoken_counts), dtype=np.uint8)
        listed.tokens[1 : 1 + len(body)] = body
        listed.tokens[ends - 1] = -1
        listed.word_of[1 : ends[-1] if len(ends) else 1] = np.repeat(
            np.arange(len(lengths)), lengths + 1
        )
        listed.counts[: len(lengths)] = np.fromiter(
            pretoken_counts.values(), np.int64, len(pretoken_counts)
        )
        return listed

    @classmethod
    def _with_room(cls, num_words: int, num_bytes: int) -> "WordList":
        size = num_bytes + num_words + 2
        if size > _LONGEST_LIST:
            raise ValueError(
                f"the distinct words have {num_bytes} bytes together, at most {_LONGEST_LIST} can "
                "be handled: train on less text"
            )
        return cls(
            tokens=np.full(size, -1, dtype=np.int32),
            word_of=np.zeros(size, dtype=np.int32),
            counts=np.zeros(num_words + 1, dtype=np.int64),
        )


def learn_merges_of_words(
    words: WordList,
    num_merges: int,
    *,
    prefers_smaller_id: bool = False,
    report: Callable[[int], None] | None = None,
) -> list[tuple[bytes, bytes]]:
    """Return up to ``num_merges`` merges, in order; fewer when no pair is left.

    Args:
        words: changed: the bytes become tokens.
        num_merges: most merges.
        prefers_smaller_id: of equally frequent pairs, take the one of smaller ids, not the one of
            greater bytes.
        report: called from time to time with the number of merges so far.
    """
    # Every merge joins two tokens somewhere, so there are fewer merges than bytes.
    num_merges = min(num_merges, len(words.tokens))
    learner = _Learner(words, num_merges, prefers_smaller_id=prefers_smaller_id)
    done = 0
    while done < num_merges:
        wanted = min(num_merges, done + _MERGES_AT_ONCE)
        done = learner.merge(wanted)
        if done < wanted:
            break
        if report is not None:
            report(done)
    return learner.merges()


class _Learner:
    """The arrays of the merge loop; see ``kernels.merge_loop`` for what they mean."""

    def __init__(self, words: WordList, num_merges: int, *, prefers_smaller_id: bool) -> None:
        self._record = record = Record(records.LEARNING_FIELDS)
        record[records.PREFERS_SMALLER_ID] = int(prefers_smaller_id)
        record.attach(records.TOKENS, words.tokens)
        record.attach(records.WORD_OF, words.word_of)
        record.attach(records.WORD_COUNTS, words.counts)
        size = len(words.tokens)
        max_tokens = _NUM_BYTES + num_merges
        self._set_tokens(max_tokens)
        counts = np.zeros(1 << 16, dtype=np.int64)
        numbers = np.zeros(1 << 16, dtype=np.int64)
        kernel("merge_loop:count_byte_pairs")(
            record[records.TOKENS],
            size,
            record[records.WORD_OF],
            record[records.WORD_COUNTS],
            address_of(counts),
            address_of(numbers),
        )
        num_pairs, num_places = int(np.count_nonzero(numbers)), int(numbers.sum())
        self._set_table(zeros_at_cache_lines(_capacity(2 * num_pairs) * records.ENTRY, np.uint64))
        self._set(records.POOL, records.POOL_SIZE, np.empty(num_places + 16, dtype=np.int32))
        self._set_heap(num_pairs + 16)
        self._set(records.TOUCHED, records.TOUCHED_SIZE, np.empty(1 << 12, dtype=np.int64))
        record.attach(records.SUMS, np.zeros(max_tokens * _NUM_SUMS, dtype=np.int64))
        record.attach(records.NEIGHBOURS, np.zeros(2 * max_tokens, dtype=np.int32))
        record.attach(records.MERGES, np.zeros(2 * max(1, num_merges), dtype=np.int32))
        record[records.MAX_TOKENS] = max_tokens
        kernel("merge_loop:enter_byte_pairs")(
            record.address, size, address_of(counts), address_of(numbers)
        )

    def merge(self, num_merges: int) -> int:
        """Go on until there are ``num_merges``; return how many there are."""
        merge_pairs = kernel("merge_loop:merge_pairs")
        while (full := merge_pairs(self._record.address, num_merges)) != records.DONE:
            self._enlarge(full)
        return self._record[records.MERGES_DONE]

    def merges(self) -> list[tuple[bytes, bytes]]:
        """Return the merges so far."""
        record = self._record
        done = record[records.MERGES_DONE]
        starts = record.array(records.TOKEN_STARTS)[: _NUM_BYTES + done + 1].tolist()
        joined = record.array(records.TOKEN_BYTES).tobytes()
        tokens = [joined[start:end] for start, end in pairwise(starts)]
        pairs = record.array(records.MERGES)[: 2 * done].reshape(-1, 2).tolist()
        return [(tokens[left], tokens[right]) for left, right in pairs]

    def _set_tokens(self, max_tokens: int) -> None:
        """Begin the list of tokens with the single bytes."""
        token_bytes = np.zeros(16 * max_tokens, dtype=np.uint8)
        token_bytes[:_NUM_BYTES] = np.arange(_NUM_BYTES)
        starts = np.zeros(max_tokens + 1, dtype=np.int64)
        starts[: _NUM_BYTES + 1] = np.arange(_NUM_BYTES + 1)
        self._record.attach(records.TOKEN_STARTS, starts)
        self._set(records.TOKEN_BYTES, records.TOKEN_BYTES_SIZE, token_bytes)
        self._record[records.TOKEN_BYTES_USED] = _NUM_BYTES

    def _enlarge(self, full: int) -> None:
        """Make room for what the next merge may need."""
        record = self._record
        need = record[records.ROOM_NEEDED]
        if full == records.TABLE_FULL:
            self._move_pairs(need)
        elif full == records.HEAP_FULL:
            self._set_heap(max(2 * record[records.HEAP_SIZE], record[records.HEAP_USED] + need))
        elif full == records.POOL_FULL:
            wanted = max(record[records.POOL_SIZE] * 3 // 2, record[records.POOL_USED] + need)
            longer = _resized(record.array(records.POOL), wanted)
            self._set(records.POOL, records.POOL_SIZE, longer)
        elif full == records.NOTES_FULL:
            touched = np.empty(2 * need, dtype=np.int64)
            self._set(records.TOUCHED, records.TOUCHED_SIZE, touched)
        else:
            longer = _resized(
                record.array(records.TOKEN_BYTES), 2 * record[records.TOKEN_BYTES_SIZE]
            )
            self._set(records.TOKEN_BYTES, records.TOKEN_BYTES_SIZE, longer)

    def _move_pairs(self, need: int) -> None:
        """Enter the living pairs, perhaps far fewer than ever were, into a new table."""
        record = self._record
        capacity = _capacity(record[records.PAIRS_USED] + need)
        table = zeros_at_cache_lines(capacity * records.ENTRY, np.uint64)
        living = kernel("merge_loop:move_pairs")(record.address, address_of(table), capacity)
        self._set_table(table)
        record[records.PAIRS_USED] = living

    def _set_table(self, table: NDArray[np.uint64]) -> None:
        capacity = len(table) // records.ENTRY
        self._set(records.PAIRS, records.PAIRS_CAPACITY, table)
        self._record[records.PAIRS_CAPACITY] = capacity
        self._record[records.PAIRS_LIMIT] = int(capacity * records.MAX_LOAD)

    def _set_heap(self, size: int) -> None:
        record = self._record
        counts, keys = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.uint64)
        used = record[records.HEAP_USED]
        if used:
            counts[:used] = record.array(records.HEAP_COUNTS)[:used]
            keys[:used] = record.array(records.HEAP_KEYS)[:used]
        record.attach(records.HEAP_COUNTS, counts)
        record.attach(records.HEAP_KEYS, keys)
        record[records.HEAP_SIZE] = size

    def _set(self, field: int, size_field: int, array: NDArray[Any]) -> None:
        """Give the record an array and its length."""
        self._record.attach(field, array)
        self._record[size_field] = len(array)


def _capacity(num_pairs: int) -> int:
    """Return the entries, a power of two, of a table with room for that many pairs."""
    return 1 << max(10, int(num_pairs / records.MAX_LOAD)).bit_length()


def _resized(array: NDArray[Any], length: int) -> NDArray[Any]:
    """Return a longer array that begins with the old one."""
    longer = np.empty(length, dtype=array.dtype)
    longer[: len(array)] = array
    return longer
