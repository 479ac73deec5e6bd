"""The fast encoder and decoder: tables that are made once, and caches that grow with the text."""

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_basics.tokenizer.fast.segments import Segments, SpecialTokenFinder, character_classes
from lm_basics.tokenizer.kernels import kernel, records
from lm_basics.tokenizer.kernels.records import Record
from lm_basics.tokenizer.vocabulary import no_such_id
from lm_shared.machine_code import Function, address_of, zeros_at_cache_lines

Ids = NDArray[np.unsignedinteger]

MAX_ID = records.NO_ID - 1
MAX_MERGES = (1 << records.RANK_BITS) - 1
"""What fits the bits of the table of merges."""

_NO_RANK = MAX_MERGES
_FREE = np.iinfo(np.uint64).max
_MERGES_PER_BUCKET = 4
# The smallest has room in both arenas for all that one round of words may need.
_SMALLEST_CACHE, _LARGEST_CACHE = 1 << 13, 1 << 19
_ARENA_BYTES_PER_ENTRY = 4
_LONG_CODES_PER_ENTRY = 2
_BYTES_PER_ENTRY = 16
_BYTES_FORESEEN = 1 << 18
# Ids are handed over in parts of that many, which the processor's cache can hold.
_ROOM_FOR_IDS = 1 << 17
_SLACK = 16
# Arrays of this size stay in the processor's cache; fresh memory for all ids costs more than the
# decoding itself.
_IDS_AT_ONCE = 1 << 16
_LARGEST_ID = (1 << 32) - 1


class EncodingTables:
    """What a tokenizer's vocabulary and merges are to the kernels; shared by all caches.

    Args:
        byte_ids: id of every byte.
        lefts: for every merge, in order, the id of its left token.
        rights: the id of its right token.
        merged_ids: the id of the token that it makes.
        token_bytes: the bytes of all tokens, one behind the other.
        spans: for every id where its bytes begin and how many they are.
        id_dtype: uint16 or uint32.
        kernel_pattern: ``records.GPT2`` or ``records.GPT4``.
    """

    def __init__(
        self,
        byte_ids: NDArray[np.uint32],
        lefts: NDArray[np.uint32],
        rights: NDArray[np.uint32],
        merged_ids: NDArray[np.uint32],
        token_bytes: bytes,
        spans: NDArray[np.int32],
        id_dtype: np.dtype[np.unsignedinteger],
        kernel_pattern: int,
    ) -> None:
        self.byte_ids = byte_ids
        self.merged_ids = merged_ids
        self.id_dtype = id_dtype
        self.kernel_pattern = kernel_pattern
        self.byte_ranks = _rank_byte_pairs(byte_ids, lefts, rights)
        bits = max(1, (len(lefts) // _MERGES_PER_BUCKET).bit_length())
        self.pair_ranks = zeros_at_cache_lines(records.BUCKET << bits, np.uint64)
        self.pair_ranks[:] = _FREE
        self.pair_ranks_shift = 64 - bits
        self.units = np.zeros(records.UNIT_CODES, dtype=np.uint32)
        record = Record(records.ENCODING_FIELDS)
        self.attach_to(record)
        merges = (address_of(lefts), address_of(rights), len(lefts))
        kernel("merge_tables:enter_ranks")(record.address, *merges)
        into, out_of = np.full((2, len(spans)), _NO_RANK, dtype=np.uint32)
        # As many as a character has bytes. Kept here, for the kernel knows its address alone.
        tokens = np.zeros(4, dtype=np.int64)
        kernel("merge_tables:enter_units")(
            record.address,
            token_bytes,
            address_of(spans),
            *merges,
            address_of(into),
            address_of(out_of),
            address_of(tokens),
        )

    def attach_to(self, record: Record) -> None:
        """Give a record the addresses of the tables."""
        record.attach(records.CLASSES, character_classes())
        record.attach(records.BYTE_IDS, self.byte_ids)
        record.attach(records.BYTE_RANKS, self.byte_ranks)
        record.attach(records.PAIR_RANKS, self.pair_ranks)
        record.attach(records.MERGED_IDS, self.merged_ids)
        record.attach(records.UNITS, self.units)
        record[records.PATTERN] = self.kernel_pattern
        record[records.PAIR_RANKS_SHIFT] = self.pair_ranks_shift
        record[records.PAIR_RANKS_MASK] = len(self.pair_ranks) // records.BUCKET - 1


class FastEncoder:
    """Encodes UTF-8 text; may be called from several threads at once.

    Each call borrows a cache of words, so there are as many as calls at the same time. After an
    error a cache may stand in the middle of a text: it does not come back.

    Args:
        tables: vocabulary and merges.
        words: valid UTF-8 that caches begin with: the vocabulary, which is met in every text.
        special_ids: id of every special token.
    """

    def __init__(
        self, tables: EncodingTables, words: Sequence[bytes], special_ids: Mapping[bytes, int]
    ) -> None:
        self._tables = tables
        self._words = words
        self._special_ids = special_ids
        self._idle: deque[_WordCache] = deque()

    def encode(self, data: bytes, finder: SpecialTokenFinder) -> Ids:
        """Return the ids of valid UTF-8."""
        if finder.may_occur_in(data):
            return self.encode_segments(data, finder.split([data]))[0]
        cache = self._borrow()
        ids = cache.encode(data)
        self._idle.append(cache)
        return ids

    def encode_texts(
        self, texts: Sequence[str], finder: SpecialTokenFinder
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the ids of all texts, one behind the other, and where those of each end."""
        documents = [text.encode() for text in texts]
        segments = finder.split(documents)
        ids, ends = self.encode_segments(b"".join(documents), segments)
        # A special token parts two segments of one text.
        is_last = np.ones(len(ends), dtype=bool)
        is_last[[index for index, _ in segments.specials]] = False
        return ids, ends[is_last]

    def encode_segments(self, data: bytes, segments: Segments) -> tuple[Ids, NDArray[np.int64]]:
        """Return the ids of segments and where those of each end."""
        special_ids = np.full(len(segments.starts), records.NO_SPECIAL, dtype=np.int64)
        for index, special in segments.specials:
            special_ids[index] = self._special_ids[special]
        cache = self._borrow()
        ids, ends = cache.encode_segments(data, segments, special_ids)
        self._idle.append(cache)
        return ids, ends

    def _borrow(self) -> "_WordCache":
        try:
            return self._idle.pop()
        except IndexError:
            return _WordCache(self._tables, self._words)


class _WordCache:
    """The words met so far and their ids."""

    def __init__(self, tables: EncodingTables, words: Sequence[bytes]) -> None:
        bits = 8 * tables.id_dtype.itemsize
        self._encode_text = kernel(f"encoding:encode_text_{bits}")
        self._encode_segments = kernel(f"encoding:encode_segments_{bits}")
        self._record = Record(records.ENCODING_FIELDS)
        self._capacity = 0
        tables.attach_to(self._record)
        self._record.attach(records.NOTES, records.new_notes())
        self._record.attach(records.QUEUE, np.zeros(records.MOST_WORDS, dtype=np.int64))
        seen = np.zeros(records.SEEN_LONG_WORDS, dtype=np.uint64)
        self._record.attach(records.SEEN, seen)
        new_codes = np.empty(records.MOST_WORDS * records.MAX_NOTED_BYTES, dtype=np.uint32)
        self._record.attach(records.NEW_CODES, new_codes)
        self._record.attach(records.TAIL, np.zeros(2 * records.PADDED_BYTES, dtype=np.uint8))
        self._set_scratch(records.TRACKS_BYTES)
        self._start_anew(_capacity_for(4 * len(words)))
        self._id_dtype = tables.id_dtype
        self._set_room(_ROOM_FOR_IDS)
        self._remember(words)

    def encode(self, data: bytes) -> Ids:
        """Return the ids of one text."""
        return self._run(self._encode_text, data, len(data))

    def encode_segments(
        self, data: bytes, segments: Segments, special_ids: NDArray[np.int64]
    ) -> tuple[Ids, NDArray[np.int64]]:
        """Return the ids of segments, each followed by its special token, and their ends."""
        num_segments = len(special_ids)
        id_ends = np.zeros(num_segments, dtype=np.int64)
        for field, numbers in (
            (records.SEGMENT_STARTS, segments.starts),
            (records.SEGMENT_ENDS, segments.ends),
            (records.SEGMENT_SPECIALS, special_ids),
            (records.SEGMENT_ID_ENDS, id_ends),
        ):
            self._record.attach(field, numbers)
        return self._run(self._encode_segments, data, num_segments), id_ends

    def _remember(self, words: Sequence[bytes]) -> None:
        """Encode words, each for itself, and keep nothing but what the cache remembers of them."""
        nothing = np.full(len(words), records.NO_SPECIAL, dtype=np.int64)
        self.encode_segments(b"".join(words), Segments.of_texts(words), nothing)

    def _run(self, function: Function, data: bytes, number: int) -> Ids:
        """Call a kernel until it is done, and return the ids."""
        size = min(len(data), _BYTES_FORESEEN)
        if size > _BYTES_PER_ENTRY * self._capacity and self._capacity < _LARGEST_CACHE:
            self._move_to(_capacity_for(size // _BYTES_PER_ENTRY))
        record, parts = self._record, []
        record[records.IDS_BEFORE] = 0
        while (result := function(record.address, data, number, self._ids_address)) < 0:
            used = record[records.IDS_USED]
            if ~result == records.IDS_FULL and used:
                parts.append(self._ids[:used].copy())
                record[records.IDS_BEFORE] += used
                record[records.IDS_USED] = 0
            else:
                self._enlarge(~result)
        ids = self._ids[:result].copy()
        return np.concatenate([*parts, ids]) if parts else ids

    def _enlarge(self, full: int) -> None:
        """Make room for what is full; when the cache is as large as it may be, begin anew."""
        capacity = self._capacity
        if full == records.IDS_FULL:
            # Not even one word has room.
            self._set_room(2 * self._record[records.IDS_ROOM])
        elif full == records.SCRATCH_FULL:
            self._set_scratch(self._record[records.SCRATCH_NEEDED])
        elif capacity >= _LARGEST_CACHE:
            self._start_anew(capacity)
        else:
            self._move_to(min(4 * capacity, _LARGEST_CACHE))

    def _start_anew(self, capacity: int) -> None:
        """Begin with an empty cache."""
        table = zeros_at_cache_lines(capacity * records.ENTRY, np.uint64)
        arena = np.zeros(capacity * _ARENA_BYTES_PER_ENTRY, dtype=np.uint8)
        codes = np.zeros(capacity * _LONG_CODES_PER_ENTRY, dtype=np.uint32)
        self._attach(table, arena, codes)
        for field in (records.WORDS_USED, records.ARENA_USED, records.LONG_CODES_USED):
            self._record[field] = 0

    def _move_to(self, capacity: int) -> None:
        """Go on with a larger cache of the same words."""
        record = self._record
        table = zeros_at_cache_lines(capacity * records.ENTRY, np.uint64)
        kernel("words:move_entries")(
            record[records.WORDS], record[records.WORDS_CAPACITY], address_of(table), capacity
        )
        arena = _grown(record.array(records.ARENA), capacity * _ARENA_BYTES_PER_ENTRY)
        codes = _grown(record.array(records.LONG_CODES), capacity * _LONG_CODES_PER_ENTRY)
        self._attach(table, arena, codes)

    def _attach(
        self,
        table: NDArray[np.uint64],
        arena: NDArray[np.uint8],
        long_codes: NDArray[np.uint32],
    ) -> None:
        record = self._record
        capacity = len(table) // records.ENTRY
        self._capacity = capacity
        record.attach(records.WORDS, table)
        record[records.WORDS_CAPACITY] = capacity
        record[records.WORDS_LIMIT] = int(capacity * records.MAX_LOAD) - records.MOST_WORDS
        record.attach(records.ARENA, arena)
        record[records.ARENA_SIZE] = len(arena)
        record.attach(records.LONG_CODES, long_codes)
        record[records.LONG_CODES_SIZE] = len(long_codes)

    def _set_room(self, num_ids: int) -> None:
        self._ids = np.empty(num_ids + _SLACK, dtype=self._id_dtype)
        self._ids_address = address_of(self._ids)
        self._record[records.IDS_ROOM] = num_ids

    def _set_scratch(self, size: int) -> None:
        self._record.attach(records.SCRATCH, zeros_at_cache_lines(size // 8 + 8, np.uint64))
        self._record[records.SCRATCH_SIZE] = size


def lay_out_tokens(vocab: Mapping[int, bytes]) -> tuple[bytes, NDArray[np.int32]]:
    """Return the bytes of all tokens, and for every id where its own begin and how many they are.

    An id that stands for no token has a negative number of bytes.
    """
    ids = np.fromiter(vocab, np.int64, len(vocab))
    lengths = np.fromiter(map(len, vocab.values()), np.int32, len(vocab))
    spans = np.full((max(vocab, default=-1) + 1, 2), -1, dtype=np.int32)
    spans[ids, 0] = np.cumsum(lengths) - lengths
    spans[ids, 1] = lengths
    return b"".join([*vocab.values(), bytes(_SLACK)]), spans


def _capacity_for(num_words: int) -> int:
    """Return the entries of a cache, a power of two, that suits a number of words."""
    return min(_LARGEST_CACHE, max(_SMALLEST_CACHE, 1 << num_words.bit_length()))


def _grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    """Return a longer array that begins with the old one."""
    longer = np.zeros(length, dtype=array.dtype)
    longer[: len(array)] = array
    return longer


def _rank_byte_pairs(
    byte_ids: NDArray[np.uint32], lefts: NDArray[np.uint32], rights: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Return the rank of the merge of every two bytes."""
    byte_of = np.full(int(max(byte_ids.max(), lefts.max(initial=0), rights.max(initial=0))) + 1, -1)
    byte_of[byte_ids] = np.arange(len(byte_ids))
    left_bytes, right_bytes = byte_of[lefts], byte_of[rights]
    ranks = np.full(1 << 16, _NO_RANK, dtype=np.uint32)
    found = np.flatnonzero((left_bytes >= 0) & (right_bytes >= 0))[::-1]
    # Of equal pairs the first one counts, which is written last.
    ranks[left_bytes[found] << 8 | right_bytes[found]] = found
    return ranks


class FastDecoder:
    """Ids to bytes.

    Args:
        vocab: bytes of every id.
    """

    def __init__(self, vocab: Mapping[int, bytes]) -> None:
        self._vocab_size = max(vocab, default=-1) + 1
        self._token_bytes, self._spans = lay_out_tokens(vocab)

    def decode(self, ids: NDArray[np.integer] | list[int]) -> bytes:
        """Return the bytes of ids.

        Raises:
            ValueError: an id is outside of the vocabulary.
        """
        parts = [
            self._decode_part(ids[start : start + _IDS_AT_ONCE])
            for start in range(0, len(ids), _IDS_AT_ONCE)
        ]
        return b"".join(parts)

    def _decode_part(self, ids: NDArray[np.integer] | list[int]) -> bytes:
        numbers = self._to_uint32(ids)
        spans = address_of(self._spans)
        size = kernel("encoding:measure_tokens")(
            address_of(numbers), len(numbers), spans, self._vocab_size
        )
        if size < 0:
            raise no_such_id(int(numbers[~size]), self._vocab_size)
        out = np.empty(size + _SLACK, dtype=np.uint8)
        kernel("encoding:copy_tokens")(
            address_of(numbers), len(numbers), spans, self._token_bytes, address_of(out)
        )
        return out[:size].tobytes()

    def _to_uint32(self, ids: NDArray[np.integer] | list[int]) -> NDArray[np.uint32]:
        if isinstance(ids, list):
            try:
                return np.frombuffer(array("I", ids), dtype=np.uint32)
            except OverflowError:
                raise no_such_id(_first_too_large(ids), self._vocab_size) from None
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) <= _LARGEST_ID:
            raise no_such_id(_first_too_large(ids.tolist()), self._vocab_size)
        return np.ascontiguousarray(ids, dtype=np.uint32)


def _first_too_large(ids: Iterable[int]) -> int:
    """Return the first id that no 32 bits hold, be it negative."""
    return next(number for number in ids if not 0 <= number <= _LARGEST_ID)
