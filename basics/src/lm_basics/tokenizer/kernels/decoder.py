"""Ids to bytes: tokens copied 16 bytes at a time, and one byte more than needed never hurts."""

import numpy as np

from lm_basics.tokenizer.kernels.blocks import load_word, store_word


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
