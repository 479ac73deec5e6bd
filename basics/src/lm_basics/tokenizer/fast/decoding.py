"""The fast decoder."""

from array import array
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lm_basics.tokenizer.kernels import kernel
from lm_shared.machine_code import address_of

_SLACK = 16
# Arrays of this size stay in the processor's cache; fresh memory for all ids costs more than the
# decoding itself.
_IDS_AT_ONCE = 1 << 16
_LARGEST_ID = (1 << 32) - 1


class FastDecoder:
    """Ids to bytes.

    Args:
        vocab: bytes of every id.
    """

    def __init__(self, vocab: Mapping[int, bytes]) -> None:
        self._vocab_size = max(vocab, default=-1) + 1
        self._spans = np.full((self._vocab_size, 2), -1, dtype=np.int32)
        position = 0
        for token_id, token in vocab.items():
            self._spans[token_id] = position, len(token)
            position += len(token)
        self._token_bytes = b"".join([*vocab.values(), bytes(_SLACK)])

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
        size = kernel("decoder:measure_tokens")(
            address_of(numbers), len(numbers), spans, self._vocab_size
        )
        if size < 0:
            raise self._no_token(int(numbers[~size]))
        out = np.empty(size + _SLACK, dtype=np.uint8)
        kernel("decoder:copy_tokens")(
            address_of(numbers), len(numbers), spans, self._token_bytes, address_of(out)
        )
        return out[:size].tobytes()

    def _to_uint32(self, ids: NDArray[np.integer] | list[int]) -> NDArray[np.uint32]:
        if isinstance(ids, list):
            try:
                return np.frombuffer(array("I", ids), dtype=np.uint32)
            except OverflowError:
                raise self._no_token(_first_too_large(ids)) from None
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) <= _LARGEST_ID:
            raise self._no_token(_first_too_large(ids.tolist()))
        return np.ascontiguousarray(ids, dtype=np.uint32)

    def _no_token(self, token_id: int) -> ValueError:
        return ValueError(
            f"token id {token_id} is not in the vocabulary of {self._vocab_size} tokens"
        )


def _first_too_large(ids: Iterable[int]) -> int:
    """Return the first id that no 32 bits hold, be it negative."""
    return next(number for number in ids if not 0 <= number <= _LARGEST_ID)
