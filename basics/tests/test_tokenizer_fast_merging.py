import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from basics.tests.both_paths import (
    Pair,
    as_trained,
    make_pair,
    with_sparse_ids_of_32_bits,
)
from lm_basics.tokenizer.fast import encoder
from lm_basics.tokenizer.kernels import kernel, records
from lm_basics.tokenizer.training import train_bpe_from_texts

CHARACTERS = [
    "のうえび",
    "日本語a",
    "кот é",
    "กขี่ ",
    "👩👨\u200d🏽",
    "❤️🙂1",
    "\U00020000\U000200ff日",
]
"""Few characters of several bytes, so that merges across their borders come early."""


@pytest.fixture(scope="module")
def pair() -> Pair:
    return as_trained()


@pytest.mark.usefixtures("unchecked")
def test_random_tokenizers_give_the_plain_ids() -> None:
    rng = random.Random(2)
    for _ in range(100):
        letters = rng.choice(["ab", "abc ", "aé日", "a '", "abcdefgh"]).encode()
        tokens = [bytes([byte]) for byte in range(256)]
        merges = []
        for _ in range(rng.randint(0, 60)):
            # Mostly what can occur, and again parts of what was made.
            known = [*{bytes([letter]) for letter in letters}, *tokens[256:]]
            merges.append((rng.choice(known), rng.choice(known)))
            tokens.append(b"".join(merges[-1]))
        tokens = list(dict.fromkeys(tokens))
        ids = rng.sample(range(rng.choice([len(tokens), 1000, 1 << 17])), len(tokens))
        vocab = dict(zip(ids, tokens, strict=True))
        fast, plain = make_pair(vocab, merges, rng.choice([[], ["ab"], ["a", "ba"]]))
        for _ in range(8):
            data = bytes(rng.choices(letters, k=rng.choice([3, 14, 33, 66, 130, 300])))
            text = data.decode(errors="replace")
            assert fast.encode(text) == plain.encode(text), (vocab, merges, text)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("variant", [as_trained, with_sparse_ids_of_32_bits])
def test_words_of_every_length_give_the_plain_ids(variant: Callable[[], Pair]) -> None:
    # Keys hold 15 bytes, lanes 30 units, entries 2 or 4 ids; words of 40 bytes are kept at once.
    fast, plain = variant()
    rng = random.Random(3)
    for length in range(1, 301):
        start = "".join(rng.choices("hat", k=length))
        # Words that begin alike, with few ids and with one for every byte.
        words = [start, start[:-1] + "x", start[:-3] + "qvz", "qxzj" * length, "é" * length]
        text = " ".join([*(word[:length] for word in words), " ", *words[:3], "1" * length])
        ids = plain.encode(text)
        assert fast.encode(text) == ids, length
        # Now from the cache.
        assert fast.encode(text) == ids, length


def _assert_same_ids(
    rng: random.Random, characters: str, merges: Sequence[tuple[bytes, bytes]]
) -> None:
    """Compare both paths on words of a few characters and of many."""
    merges = list(dict.fromkeys(merges))
    tokens = dict.fromkeys([bytes([byte]) for byte in range(256)] + [a + b for a, b in merges])
    fast, plain = make_pair(dict(enumerate(tokens)), merges)
    for length in (1, 2, 3, 5, 9, 14, 30, 31, 90, 400):
        text = " ".join("".join(rng.choices(characters, k=length)) for _ in range(3))
        assert fast.encode(text) == plain.encode(text), (merges, text)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("characters", CHARACTERS)
def test_merges_may_come_between_the_bytes_of_a_character(characters: str) -> None:
    rng = random.Random(7)
    text = "".join(rng.choices(characters, weights=range(1, len(characters) + 1), k=400))
    for num_merges in (3, 12, 60):
        _, merges = train_bpe_from_texts([text], 256 + num_merges, [])
        _assert_same_ids(rng, characters, merges)
        # In an order that no training gives, other merges come first.
        for _ in range(5):
            _assert_same_ids(rng, characters, rng.sample(merges, len(merges)))


NO, U = "の".encode(), "う".encode()


@pytest.mark.parametrize(
    ("merges", "text", "tokens"),
    [
        # What follows \N{HIRAGANA LETTER NO} keeps its first bytes no longer.
        ([(NO[:2], NO[2:]), (NO, U[:2]), (U[:2], U[2:])], "のうう", [NO + U[:2], U[2:], U]),
        ([(U[2:], b"a"), (U[:2], U[2:])], "うaう", [U[:2], U[2:] + b"a", U]),
        # A merge of whole characters comes first, but only where there are any.
        ([(NO[:2], NO[2:]), (U, b"a"), (b"a", NO), (U[:2], U[2:])], "うaの", [U, b"a" + NO]),
    ],
    ids=["before", "behind", "too soon"],
)
def test_a_merge_across_a_border_comes_before_a_character(
    merges: list[tuple[bytes, bytes]], text: str, tokens: list[bytes]
) -> None:
    merges = [(NO[:1], NO[1:2]), *merges]
    known = [bytes([byte]) for byte in range(256)] + [a + b for a, b in merges]
    fast, plain = make_pair(dict(enumerate(dict.fromkeys(known))), merges)
    assert [plain.vocab[token] for token in plain.encode(text)] == tokens
    assert fast.encode(text) == plain.encode(text)


@pytest.mark.parametrize(
    ("merges", "text"),
    [
        ([(b"\xc3", b")")], "é"),
        ([(b"\xc3", b"\xa9"), (b"\xc3", b")")], "é café"),
        ([(b"\xe0", b"\x82"), (b"\xe0\x82", b"\x80")], "\x80"),
        (
            [(b"\xf8", b"\x90"), (b"\xf8\x90", b"\x80"), (b"\xf8\x90\x80", b"\x80")],
            "\U00010000",
        ),
    ],
    ids=["no end", "no end, and the character", "overlong", "five bytes"],
)
def test_tokens_that_only_look_like_a_character_are_none(
    merges: list[tuple[bytes, bytes]], text: str
) -> None:
    known = [bytes([byte]) for byte in range(256)] + [a + b for a, b in merges]
    fast, plain = make_pair(dict(enumerate(known)), merges)
    assert fast.encode(text) == plain.encode(text)


def _kept(texts: Sequence[str]) -> int:
    """Return how many words a cache remembers of texts."""
    fast, _ = make_pair({byte: bytes([byte]) for byte in range(256)}, [])
    fast.encode("x")
    assert fast._fast._encoder is not None
    (cache,) = fast._fast._encoder._idle
    before = cache._record[records.WORDS_USED]
    for text in texts:
        fast.encode(text)
    return cache._record[records.WORDS_USED] - before


def test_new_words_are_kept_once_and_long_ones_when_they_come_again() -> None:
    assert _kept([" qxz" * 40]) == 1
    assert _kept(["q" * 40]) == 1
    assert _kept(["q" * 41, "z" * 255]) == 0
    assert _kept(["q" * 41, "z" * 255, "q" * 41, "z" * 255]) == 2
    assert _kept([" ".join(["q" * 41] * 9)]) == 1
    assert _kept(["q" * 256] * 3) == 0


def test_kernels_write_to_no_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    vocab, merges = train_bpe_from_texts(["日本語のテキスト"] * 9, 290, [])
    others: list[np.ndarray] = []

    def watched(name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            # What was collected before the call comes back here, as it would in another thread.
            new = [np.full(number, 77, dtype=np.int64) for number in range(1, 40) for _ in "ab"]
            others.extend(new)
            return kernel(name)(*arguments)

        return call

    monkeypatch.setattr(encoder, "kernel", watched)
    fast, plain = make_pair(vocab, merges)
    assert fast.encode("日本語のテキスト") == plain.encode("日本語のテキスト")
    assert others
    assert all((other == 77).all() for other in others)


@pytest.mark.usefixtures("unchecked")
def test_words_merged_side_by_side_keep_their_own_ids(pair: Pair) -> None:
    fast, plain = pair
    rng = random.Random(8)
    for _ in range(20):
        # More and fewer than there are tracks, of all lengths, with the same word twice.
        words = ["".join(rng.choices("hatqz é日", k=rng.randint(1, 90))) for _ in range(12)]
        text = "".join(word + rng.choice([" ", "\n", ", "]) for word in [*words, words[0]])
        assert fast.encode(text) == plain.encode(text)


@pytest.mark.parametrize("unit", ["a", "that", "é", "日本", "1", ".", " ", "q"])
def test_endless_words_give_the_plain_ids(pair: Pair, unit: str) -> None:
    fast, plain = pair
    text = f"the {'x' * 400} {unit * (50_001 // len(unit))} the"
    assert fast.encode(text) == plain.encode(text)


@pytest.mark.parametrize("letters", ["a", "ah", "thaes", " \n", "é日", "日本語a", "🙂\u200d👩"])
def test_long_words_have_the_ids_of_plain_python_around_every_border(
    pair: Pair, letters: str
) -> None:
    fast, plain = pair
    rng = random.Random(6)
    for length in (15, 16, 30, 31, 255, 256, 1021, 1022, 1023, 3000):
        word = "".join(rng.choices(letters, k=length))
        assert fast.encode(word) == plain.encode(word)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("length", [1_500, 2_047, 5_000, 8_193])
def test_tokens_longer_than_a_window_give_the_plain_ids(length: int) -> None:
    doubled = [b"a" * (1 << power) for power in range(12)]
    tokens = [*(bytes([byte]) for byte in range(256)), *doubled[1:], b"ba"]
    merges = [*((half, half) for half in doubled[:-1]), (b"b", b"a")]
    fast, plain = make_pair(dict(enumerate(tokens)), merges)
    for word in ("a" * length, f"{'a' * 700}b{'a' * length}bb"):
        assert fast.encode(word) == plain.encode(word)


def test_million_letters_are_one_word(pair: Pair) -> None:
    # With n^2 steps this would take hours.
    fast, _ = pair
    for unit in ("that", "xq"):
        text = unit * (1_000_000 // len(unit))
        ids = fast.encode_to_numpy(text)
        assert fast.decode(ids) == text
        assert np.array_equal(fast.encode_to_numpy(text), ids)
