"""The fast path of one tokenizer, made when it is worth it."""

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from itertools import chain, islice, pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lm_basics.tokenizer.fast.encoder import (
    MAX_ID,
    MAX_MERGES,
    EncodingTables,
    FastDecoder,
    FastEncoder,
    lay_out_tokens,
)
from lm_basics.tokenizer.fast.segments import KERNEL_PATTERNS, Segments, SpecialTokenFinder
from lm_basics.tokenizer.kernels import KERNELS, kernel
from lm_shared.machine_code import MachineCodeError
from lm_shared.processes import map_in_threads, num_available_cores

Implementation = Literal["auto", "fast", "reference"]
"""``auto`` takes the compiled path where there is enough work, if it works on this computer."""

Ids = NDArray[np.unsignedinteger]

logger = logging.getLogger(__name__)

# Characters or ids from which on loading the kernels pays for itself, and even compiling them.
_WORTH_LOADING = 1 << 17
_WORTH_COMPILING = 1 << 24
_FEW_IDS = 64
# The first merges are the words of every text; encoding all of a vocabulary takes 20 ms.
_TOKENS_REMEMBERED = 4096
_BETWEEN = b"\n"
_CHARACTERS_AT_ONCE = 1 << 18


class FastPath:
    """Counts what a tokenizer has encoded and takes over where the kernels pay for themselves.

    Args:
        vocab: bytes of every id.
        byte_ids: id of every byte, ``None`` where the vocabulary lacks it.
        pairs: for every merge, in order, the ids of its two tokens.
        merged_ids: the id of the token that it makes.
        pattern: regular expression of the pre-tokens; there are kernels for two of them.
        id_dtype: of the ids.
        special_token_ids: ids of the special tokens.
        implementation: ``"auto"``, ``"fast"`` or ``"reference"``.

    Raises:
        ValueError: ``implementation`` is ``"fast"`` and there are no kernels for this tokenizer.
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        byte_ids: Sequence[int | None],
        pairs: Sequence[tuple[int, int]],
        merged_ids: Sequence[int],
        *,
        pattern: str,
        id_dtype: np.dtype[np.unsignedinteger],
        special_token_ids: Mapping[str, int],
        implementation: Implementation,
    ) -> None:
        self._vocab = vocab
        self._byte_ids = byte_ids
        self._pairs = pairs
        self._merged_ids = merged_ids
        self._id_dtype = id_dtype
        self._pattern = pattern
        self._special_ids = {token.encode(): i for token, i in special_token_ids.items()}
        self._is_wanted = implementation == "fast"
        self._reason = _reason_against(pattern, byte_ids, vocab, len(pairs))
        if self._is_wanted and self._reason:
            raise ValueError(f"there is no fast path for this tokenizer: {self._reason}")
        self._may_encode = implementation != "reference" and self._reason is None
        # The decoder's tables are as long as the largest id.
        self._may_decode = implementation != "reference" and max(vocab, default=0) <= MAX_ID
        self._seen = 0
        self._lock = threading.Lock()
        self._encoder: FastEncoder | None = None
        self._decoder: FastDecoder | None = None

    def takes(self, num_characters: int) -> bool:
        """Return whether the fast path encodes the next text."""
        if self._encoder is not None:
            return True
        if not self._may_encode or not self._is_worth_it(num_characters):
            return False
        with self._lock:
            if self._encoder is None:
                token_bytes, spans = lay_out_tokens(self._vocab)
                pairs = np.fromiter(chain.from_iterable(self._pairs), np.uint32)
                tables = EncodingTables(
                    np.array(self._byte_ids, dtype=np.uint32),
                    np.ascontiguousarray(pairs[::2]),
                    np.ascontiguousarray(pairs[1::2]),
                    np.array(self._merged_ids, dtype=np.uint32),
                    token_bytes,
                    spans,
                    self._id_dtype,
                    KERNEL_PATTERNS[self._pattern],
                )
                self._encoder = FastEncoder(tables, self._words(), self._special_ids)
        return True

    def decodes(self, num_ids: int) -> bool:
        """Return whether the fast path decodes the next ids."""
        if num_ids < _FEW_IDS or not self._may_decode:
            return False
        if self._decoder is not None:
            return True
        if not self._is_worth_it(num_ids):
            return False
        with self._lock:
            if self._decoder is None:
                self._decoder = FastDecoder(self._vocab)
        return True

    def encode(self, text: str, finder: SpecialTokenFinder) -> Ids:
        """Return the ids of a text as an array."""
        return self._ready_encoder.encode(text.encode(), finder)

    def encode_batch(
        self, texts: Sequence[str], finder: SpecialTokenFinder, num_threads: int | None
    ) -> list[list[int]]:
        """Return the ids of many texts as lists."""
        lists: list[list[int]] = []
        for ids, ends in self._encode_groups(texts, finder, num_threads):
            joined = ids.tolist()
            lists += [joined[start:end] for start, end in pairwise([0, *ends.tolist()])]
        return lists

    def encode_batch_to_numpy(
        self, texts: Sequence[str], finder: SpecialTokenFinder, num_threads: int | None
    ) -> list[Ids]:
        """Return the ids of many texts as arrays."""
        arrays: list[Ids] = []
        for ids, ends in self._encode_groups(texts, finder, num_threads):
            arrays += [ids[start:end] for start, end in pairwise([0, *ends.tolist()])]
        return arrays

    def encode_utf8_documents(
        self, documents: Sequence[bytes], end_of_text: str
    ) -> "tuple[Ids, NDArray[np.int64]]":
        """Return the ids of documents, each with the end-of-text token, and where each ends."""
        # A byte between two documents, so that no character is made of the ends of both.
        data = _BETWEEN.join(documents)
        if kernel("primitives:find_invalid_utf8")(data, 0, len(data)) < len(data):
            for document in documents:
                document.decode()
        segments = Segments.of_texts(documents, between=len(_BETWEEN), special=end_of_text.encode())
        return self._ready_encoder.encode_segments(data, segments)

    def decode(self, ids: NDArray[np.integer] | list[int]) -> bytes:
        """Return the bytes of ids."""
        if self._decoder is None:
            raise RuntimeError("ask decodes() first")
        return self._decoder.decode(ids)

    @property
    def _ready_encoder(self) -> FastEncoder:
        if self._encoder is None:
            raise RuntimeError("ask takes() first")
        return self._encoder

    def _encode_groups(
        self, texts: Sequence[str], finder: SpecialTokenFinder, num_threads: int | None
    ) -> "list[tuple[Ids, NDArray[np.int64]]]":
        """Return, for groups of texts, all ids and where those of each text end."""
        encoder = self._ready_encoder
        groups = _group(texts)
        threads = min(num_threads or num_available_cores(), max(1, len(groups)))
        return list(
            map_in_threads(lambda group: encoder.encode_texts(group, finder), groups, threads)
        )

    def _words(self) -> list[bytes]:
        """Return the first tokens that are whole characters."""
        tokens = islice(self._vocab.values(), _TOKENS_REMEMBERED)
        return [token for token in tokens if token and _is_utf8(token)]

    def _is_worth_it(self, size: int) -> bool:
        """Count the work and load the kernels when there is enough of it."""
        self._seen += size
        if not self._is_wanted:
            if self._seen < _WORTH_LOADING:
                return False
            if self._seen < _WORTH_COMPILING and not KERNELS.is_compiled():
                return False
        try:
            KERNELS.load()
        except MachineCodeError as error:
            if self._is_wanted:
                raise
            logger.warning("Encoding in plain Python, which is slower: %s", error)
            self._may_encode = self._may_decode = False
            return False
        return True


def _reason_against(
    pattern: str,
    byte_ids: Sequence[int | None],
    vocab: Mapping[int, bytes],
    num_merges: int,
) -> str | None:
    """Return why there are no kernels for a tokenizer, ``None`` if there are."""
    if pattern not in KERNEL_PATTERNS:
        return "its pattern is neither GPT-2's nor GPT-4's"
    if None in byte_ids:
        return "its vocabulary lacks a byte"
    if max(vocab) > MAX_ID:
        return f"it has ids above {MAX_ID}"
    if num_merges > MAX_MERGES:
        return f"it has more than {MAX_MERGES} merges"
    if sys.byteorder != "little":
        return "this computer is big-endian"
    return None


def _is_utf8(token: bytes) -> bool:
    if token.isascii():
        return True
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _group(texts: Sequence[str]) -> list[Sequence[str]]:
    """Cut a sequence of texts into groups of about the same number of characters."""
    groups, start, size = [], 0, 0
    for index, text in enumerate(texts):
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE:
            groups.append(texts[start : index + 1])
            start, size = index + 1, 0
    if start < len(texts):
        groups.append(texts[start:])
    return groups
