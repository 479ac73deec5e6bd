"""The fast encoder: tables that are made once, and caches that grow with the text."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_basics.tokenizer.fast.classes import character_classes
from lm_basics.tokenizer.fast.record import Record
from lm_basics.tokenizer.fast.segments import Segments, SpecialTokenFinder
from lm_basics.tokenizer.kernels import kernel, records
from lm_shared.machine_code import address_of, zeros_at_cache_lines

Ids = NDArray[np.unsignedinteger]

MAX_IDS = 1 << 21
"""Ids and merges have to fit the bits of a table entry; see ``kernels.word_merging``."""

_MAX_MERGES = (1 << 22) - 1
_NO_RANK = (1 << 22) - 1
_PADDING = bytes(records.PADDING)
_NOTES = 65 * records.ENTRY
_SMALLEST_CACHE, _LARGEST_CACHE = 1 << 12, 1 << 19
_BYTES_PER_ENTRY = 16
_SCRATCH_BYTES = 1 << 14
_SCRATCH_PER_BYTE = 40
_SHORT_TEXT_BYTES = 1 << 12


class EncodingTables:
    """What a tokenizer's vocabulary and merges are to the kernels; shared by all caches.

    Args:
        byte_ids: id of every byte.
        lefts: for every merge, in order, the id of its left token.
        rights: the id of its right token.
        merged_ids: the id of the token that it makes.
        id_dtype: uint16 or uint32.
    """

    def __init__(
        self,
        byte_ids: NDArray[np.uint32],
        lefts: NDArray[np.uint32],
        rights: NDArray[np.uint32],
        merged_ids: NDArray[np.uint32],
        id_dtype: np.dtype[np.unsignedinteger],
    ) -> None:
        if len(lefts) > _MAX_MERGES or max(byte_ids.max(), merged_ids.max(initial=0)) >= MAX_IDS:
            raise ValueError(f"the fast encoder takes ids below {MAX_IDS}")
        self.byte_ids = byte_ids
        self.merged_ids = merged_ids
        self.id_dtype = id_dtype
        self.byte_ranks = _rank_byte_pairs(byte_ids, lefts, rights)
        bits = max(8, int(np.ceil(np.log2(max(1, len(lefts)) / 0.45))))
        self.pair_ranks = zeros_at_cache_lines(1 << bits, np.uint64)
        self.pair_ranks[:] = np.iinfo(np.uint64).max
        self.pair_ranks_shift = 64 - bits
        record = Record(records.ENCODING_FIELDS)
        self.attach_to(record)
        kernel("word_merging:enter_ranks")(
            record.address, address_of(lefts), address_of(rights), len(lefts)
        )

    def attach_to(self, record: Record) -> None:
        """Give a record the addresses of the tables."""
        record.attach(records.CLASSES, character_classes())
        record.attach(records.BYTE_IDS, self.byte_ids)
        record.attach(records.BYTE_RANKS, self.byte_ranks)
        record.attach(records.PAIR_RANKS, self.pair_ranks)
        record.attach(records.MERGED_IDS, self.merged_ids)
        record[records.PAIR_RANKS_SHIFT] = self.pair_ranks_shift
        record[records.PAIR_RANKS_MASK] = len(self.pair_ranks) - 1


class FastEncoder:
    """Encodes UTF-8 text; may be called from several threads at once.

    Each call borrows a cache of words, so there are as many as calls at the same time. After an
    error a cache may stand in the middle of a text: it does not come back.

    Args:
        tables: vocabulary and merges.
        special_ids: id of every special token.
        vocab_size: all ids are below.
    """

    def __init__(
        self, tables: EncodingTables, special_ids: Mapping[bytes, int], vocab_size: int
    ) -> None:
        self._tables = tables
        self._special_ids = special_ids
        self._idle: deque[_WordCache] = deque()
        # Lists of ids share one object for each id, so that none has to be made.
        self._numbers = np.arange(vocab_size).astype(object)

    def encode(self, data: bytes, finder: SpecialTokenFinder) -> Ids:
        """Return the ids of valid UTF-8."""
        if finder.occur_in(data):
            return self._encode_segments(data, finder.split(data))[0]
        cache = self._borrow()
        ids = cache.encode(data)
        ids = ids.copy() if len(data) <= _SHORT_TEXT_BYTES else ids
        self._idle.append(cache)
        return ids

    def encode_to_list(self, data: bytes, finder: SpecialTokenFinder) -> list[int]:
        """Return the ids of valid UTF-8 as a list."""
        if finder.occur_in(data):
            return self.to_list(self._encode_segments(data, finder.split(data))[0])
        cache = self._borrow()
        ids = self.to_list(cache.encode(data))
        self._idle.append(cache)
        return ids

    def encode_texts(
        self, texts: Sequence[str], finder: SpecialTokenFinder
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the ids of all texts, one behind the other, and where those of each end."""
        documents = [text.encode() for text in texts]
        parts, last_segments, position = [], [], 0
        for document in documents:
            parts.append(finder.split(document).shifted(position))
            position += len(document)
            last_segments.append(len(parts[-1].starts))
        joined = Segments.join(parts)
        ids, ends = self._encode_segments(b"".join(documents), joined)
        return ids, ends[np.cumsum(last_segments, dtype=np.int64) - 1]

    def to_list(self, ids: Ids) -> list[int]:
        """Return an array of ids as a list."""
        return self._numbers.take(ids).tolist()

    def _encode_segments(self, data: bytes, segments: Segments) -> tuple[Ids, NDArray[np.int64]]:
        """Return the ids of segments and where those of each end."""
        special_ids = [
            records.NO_SPECIAL if special is None else self._special_ids[special]
            for special in segments.specials
        ]
        cache = self._borrow()
        result = cache.encode_segments(data, segments, np.array(special_ids, dtype=np.int64))
        self._idle.append(cache)
        return result

    def _borrow(self) -> "_WordCache":
        try:
            return self._idle.pop()
        except IndexError:
            return _WordCache(self._tables)


class _WordCache:
    """The words met so far and their ids."""

    def __init__(self, tables: EncodingTables) -> None:
        bits = 8 * tables.id_dtype.itemsize
        self._dtype = tables.id_dtype
        self._encode_text = kernel(f"encoder:encode_text_{bits}")
        self._encode_segments = kernel(f"encoder:encode_segments_{bits}")
        self._record = Record(records.ENCODING_FIELDS)
        tables.attach_to(self._record)
        self._record.attach(records.NOTES, np.zeros(_NOTES, dtype=np.uint64))
        self._set_scratch(_SCRATCH_BYTES)
        self._start_anew(_SMALLEST_CACHE)
        self._short_ids = np.empty(_SHORT_TEXT_BYTES + 8, dtype=self._dtype)
        self._short_address = address_of(self._short_ids)

    def encode(self, data: bytes) -> Ids:
        """Return the ids of one text; the array may be overwritten by the next short one."""
        size = len(data)
        if size <= _SHORT_TEXT_BYTES:
            ids, address = self._short_ids, self._short_address
        else:
            self._prepare(size)
            ids = np.empty(size + 8, dtype=self._dtype)
            address = address_of(ids)
        padded = data + _PADDING
        number = self._encode_text(self._record.address, padded, size, address)
        while number < 0:
            self._enlarge(~number, size)
            number = self._encode_text(self._record.address, padded, size, address)
        return ids[:number]

    def encode_segments(
        self, data: bytes, segments: Segments, special_ids: NDArray[np.int64]
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the ids of segments, each followed by its special token, and their ends."""
        size, num_segments = len(data), len(special_ids)
        self._prepare(size)
        id_ends = np.zeros(num_segments, dtype=np.int64)
        for field, array in (
            (records.SEGMENT_STARTS, segments.starts),
            (records.SEGMENT_ENDS, segments.ends),
            (records.SEGMENT_SPECIALS, special_ids),
            (records.SEGMENT_ID_ENDS, id_ends),
        ):
            self._record.attach(field, array)
        ids = np.empty(size + num_segments + 8, dtype=self._dtype)
        arguments = (self._record.address, data + _PADDING, num_segments, address_of(ids))
        number = self._encode_segments(*arguments)
        while number < 0:
            self._enlarge(~number, size)
            number = self._encode_segments(*arguments)
        return ids[:number], id_ends

    def _prepare(self, size: int) -> None:
        """Begin with a cache that suits the size of the text, as long as there is nothing in it."""
        capacity = 1 << max(1, size // _BYTES_PER_ENTRY).bit_length()
        capacity = min(_LARGEST_CACHE, capacity)
        if capacity > self._record[records.WORDS_CAPACITY]:
            self._move_to(capacity)

    def _enlarge(self, full: int, size: int) -> None:
        """Make room for what is full; when the cache is as large as it may be, begin anew."""
        capacity = self._record[records.WORDS_CAPACITY]
        if full == records.SCRATCH_FULL:
            self._set_scratch((size + 1) * _SCRATCH_PER_BYTE)
        elif capacity >= _LARGEST_CACHE:
            self._start_anew(capacity)
        else:
            self._move_to(4 * capacity if 4 * capacity < _LARGEST_CACHE else _LARGEST_CACHE)

    def _start_anew(self, capacity: int) -> None:
        """Begin with an empty cache; both arenas have room for one word of every fourth entry."""
        table = zeros_at_cache_lines(capacity * records.ENTRY, np.uint64)
        self._attach(table, np.zeros(capacity * 4, np.uint8), np.zeros(capacity * 2, np.uint32))
        for field in (records.WORDS_USED, records.ARENA_USED, records.LONG_CODES_USED):
            self._record[field] = 0

    def _move_to(self, capacity: int) -> None:
        """Go on with a larger cache of the same words."""
        record = self._record
        table = zeros_at_cache_lines(capacity * records.ENTRY, np.uint64)
        kernel("words:move_entries")(
            record[records.WORDS], record[records.WORDS_CAPACITY], address_of(table), capacity
        )
        arena = _grown(record.array(records.ARENA), capacity * 4)
        self._attach(table, arena, _grown(record.array(records.LONG_CODES), capacity * 2))

    def _attach(
        self,
        table: NDArray[np.uint64],
        arena: NDArray[np.uint8],
        long_codes: NDArray[np.uint32],
    ) -> None:
        record = self._record
        capacity = len(table) // records.ENTRY
        record.attach(records.WORDS, table)
        record[records.WORDS_CAPACITY] = capacity
        record[records.WORDS_LIMIT] = int(capacity * records.MAX_LOAD) - records.PADDING
        record.attach(records.ARENA, arena)
        record[records.ARENA_SIZE] = len(arena)
        record.attach(records.LONG_CODES, long_codes)
        record[records.LONG_CODES_SIZE] = len(long_codes)

    def _set_scratch(self, size: int) -> None:
        self._record.attach(records.SCRATCH, zeros_at_cache_lines(size // 8 + 8, np.uint64))
        self._record[records.SCRATCH_SIZE] = size


def _grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    """Return a longer array that begins with the old one."""
    longer = np.zeros(length, dtype=array.dtype)
    longer[: len(array)] = array
    return longer


def _rank_byte_pairs(
    byte_ids: NDArray[np.uint32], lefts: NDArray[np.uint32], rights: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Return the rank of the merge of every two bytes."""
    bytes_of: Mapping[int, int] = {
        token_id: byte for byte, token_id in enumerate(byte_ids.tolist())
    }
    ranks = np.full(1 << 16, _NO_RANK, dtype=np.uint32)
    pairs: Sequence[tuple[int, int]] = list(zip(lefts.tolist(), rights.tolist(), strict=True))
    for rank in range(len(pairs) - 1, -1, -1):
        left, right = pairs[rank]
        if left in bytes_of and right in bytes_of:
            ranks[bytes_of[left] << 8 | bytes_of[right]] = rank
    return ranks
