import random
from typing import Any

import jaxtyping
import numpy as np
import pytest

from basics.tests.both_paths import VARIANTS, Pair, make_pair, trained
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.fast import path

DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.fixture
def unchecked() -> None:
    """Leave out the checks of types, which refuse lists of NumPy's numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: variant.__name__)
def any_pair(request: pytest.FixtureRequest) -> Pair:
    return request.param()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 5000])
def test_decoding_gives_the_plain_bytes(any_pair: Pair, length: int) -> None:
    fast, plain = any_pair
    rng = random.Random(length)
    ids = rng.choices(list(fast.vocab), k=length)
    expected = plain.decode_bytes(ids)
    assert expected == b"".join(fast.vocab[token_id] for token_id in ids)
    for dtype in DTYPES:
        small = [token_id for token_id in ids if token_id <= np.iinfo(dtype).max]
        for array in (np.array(small, dtype=dtype), np.array(small * 2, dtype=dtype)[::2]):
            wanted = plain.decode_bytes(array.tolist())
            assert fast.decode_bytes(array) == wanted
            assert plain.decode_bytes(array) == wanted
    for tokenizer in any_pair:
        for form in (ids, tuple(ids), list(np.array(ids, dtype=np.int64))):
            assert tokenizer.decode_bytes(form) == expected
        assert tokenizer.decode_bytes(iter(ids)) == expected
        assert tokenizer.decode(ids) == expected.decode(errors="replace")
        assert "".join(tokenizer.decode_stream(iter(ids))) == tokenizer.decode(ids)


def test_long_tokens_decode_to_their_last_byte() -> None:
    # Tokens are copied in steps of 8 and 16 bytes, and the last one ends the memory.
    lengths = range(60)
    vocab = {n: bytes([n]) for n in range(256)} | {256 + n: bytes(range(n)) for n in lengths}
    fast, plain = make_pair(vocab, [])
    for n in lengths:
        ids = [256 + n] * 70 + [*range(256)] + [256 + n]
        assert fast.decode_bytes(ids) == plain.decode_bytes(ids)


@pytest.mark.parametrize(
    "wrong", [-1, -5, 556, 65_535, 1 << 31, 1 << 32, 1 << 40, -1 << 40, (1 << 64) - 1]
)
@pytest.mark.parametrize("place", [0, 50, 99])
def test_ids_outside_of_the_vocabulary_are_named(wrong: int, place: int) -> None:
    vocab, merges = trained()
    ids = list(range(100))
    ids[place] = wrong
    message = f"token id {wrong} is not in the vocabulary of 556 tokens"
    for tokenizer in make_pair(vocab, merges):
        with pytest.raises(ValueError, match=message):
            tokenizer.decode(ids)
        for dtype in DTYPES:
            if np.iinfo(dtype).min <= wrong <= np.iinfo(dtype).max:
                with pytest.raises(ValueError, match=message):
                    tokenizer.decode(np.array(ids, dtype=dtype))
        assert tokenizer.decode_bytes(list(range(100))) == bytes(range(100))


def test_ids_that_the_vocabulary_passes_over_are_named() -> None:
    vocab, merges = trained()
    for tokenizer in make_pair({**vocab, 1000: b"far"}, merges):
        for ids in ([*range(99), 999], np.array([999, *range(99)])):
            with pytest.raises(ValueError, match="token id 999 is not in the vocabulary of 1001"):
                tokenizer.decode(ids)
        assert tokenizer.decode_bytes([1000] * 70) == b"far" * 70


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_list_of_integers_is_refused_by_both(any_pair: Pair) -> None:
    wrong = [
        np.full((100, 3), 98),
        np.full(100, 98.0),
        np.array([98.5] * 100, dtype=object),
        [98.0] * 100,
        [None] * 100,
        ["a"] * 100,
        np.array(98),
    ]
    for tokenizer in any_pair:
        for ids in wrong:
            with pytest.raises(TypeError):
                tokenizer.decode(ids)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("wrong", [-1, 1 << 32, 2.5])
def test_impossible_ids_of_a_vocabulary_are_refused(wrong: Any) -> None:
    vocab = {n: bytes([n]) for n in range(256)} | {wrong: b"new"}
    with pytest.raises(ValueError, match=f"ids must be integers from 0 to 4294967295, got {wrong}"):
        Tokenizer(vocab, [])


@pytest.mark.parametrize("limit", ["MAX_ID", "MAX_MERGES"])
def test_kernels_take_as_many_ids_and_merges_as_they_say(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocab, merges = trained()
    most = max(vocab) if limit == "MAX_ID" else len(merges)
    monkeypatch.setattr(path, limit, most)
    assert Tokenizer(vocab, merges, implementation="fast").encode("the cat")
    monkeypatch.setattr(path, limit, most - 1)
    with pytest.raises(ValueError, match=f"there is no fast path .* {most - 1}"):
        Tokenizer(vocab, merges, implementation="fast")
