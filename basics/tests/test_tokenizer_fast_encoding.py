import copy
import pickle
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import regex
import tiktoken
from hypothesis import given, settings, strategies as st

from basics.benchmarks.text_classes import TEXT_CLASSES, write_class
from basics.tests.both_paths import (
    CORPUS,
    END,
    SPECIALS,
    VARIANTS,
    Pair,
    as_trained,
    make_pair,
    trained,
    with_pattern_of_gpt4,
    with_sparse_ids_of_32_bits,
)
from basics.tests.nasty_text import nasty_text
from lm_basics.tokenizer import Tokenizer
from lm_basics.tokenizer.fast import encoder, path
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN
from lm_basics.tokenizer.text_stream import BLOCK_CHARACTERS, Cutter, cut_safely
from lm_basics.tokenizer.training import train_bpe_from_texts

GPT2_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "tokenizer"
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [*SPECIALS, *(special[:-1] for special in SPECIALS), "the", " that", "'ll"]
        ),
        st.sampled_from(["  ", "\n", "aaaaa", "1234", " 日本日本", "🙂🙂", "that" * 20, "é" * 40]),
        st.text(alphabet="ab' \n\u0085\u001c\xa0٣Ⅷ\u200d🙂\0", max_size=8),
        st.text(max_size=8),
    ),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return as_trained()


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: variant.__name__)
def any_pair(request: pytest.FixtureRequest) -> Pair:
    return request.param()


@pytest.mark.usefixtures("unchecked")
@given(text=TEXTS, others=st.lists(TEXTS, max_size=3))
@settings(max_examples=20, deadline=None)
def test_every_way_of_encoding_gives_the_plain_ids(
    any_pair: Pair, text: str, others: list[str]
) -> None:
    fast, plain = any_pair
    ids = plain.encode(text)
    assert fast.encode(text) == ids
    assert list(fast.encode_iterable(text)) == ids
    assert list(fast.encode_byte_stream([text.encode()])) == ids
    array = fast.encode_to_numpy(text)
    assert (array.tolist(), array.dtype) == (ids, plain.id_dtype)
    texts = [text, *others, text]
    batch = [plain.encode(one) for one in texts]
    assert fast.encode_batch(texts) == batch
    arrays = fast.encode_batch_to_numpy(texts, num_threads=2)
    assert [one.tolist() for one in arrays] == batch
    assert {one.dtype for one in arrays} == {plain.id_dtype}
    assert fast.decode(ids) == text


@given(text=TEXTS, allowed=st.lists(st.sampled_from(SPECIALS), unique=True))
@settings(max_examples=50, deadline=None)
def test_only_allowed_special_tokens_are_seen(pair: Pair, text: str, allowed: list[str]) -> None:
    fast, plain = pair
    for chosen in (allowed, tuple(allowed), set(allowed), "all"):
        ids = plain.encode(text, allowed_special=chosen)
        assert fast.encode(text, allowed_special=chosen) == ids
        assert fast.encode_to_numpy(text, allowed_special=chosen).tolist() == ids
        assert fast.encode_batch([text, text], allowed_special=chosen) == [ids, ids]
        assert list(fast.encode_iterable(text, allowed_special=chosen)) == ids
    with pytest.raises(ValueError, match=r"\['<\|c\|>'\] are no special tokens"):
        fast.encode(text, allowed_special=[*allowed, "<|c|>"])


@pytest.mark.usefixtures("unchecked")
def test_nasty_text_gives_the_plain_ids(any_pair: Pair) -> None:
    fast, plain = any_pair
    rng = random.Random(1)
    for _ in range(150):
        text = nasty_text(rng) + rng.choice(["", *SPECIALS]) + nasty_text(rng, 5)
        ids = plain.encode(text)
        assert fast.encode(text) == ids, text
        assert fast.encode_to_numpy(text).tolist() == ids, text


@pytest.mark.parametrize("variant", [as_trained, with_pattern_of_gpt4])
@pytest.mark.parametrize("name", TEXT_CLASSES)
def test_every_class_of_text_has_the_ids_of_plain_python(
    variant: Callable[[], Pair], name: str
) -> None:
    fast, plain = variant()
    text = write_class(name, 6000)
    assert fast.encode(text) == plain.encode(text)


def _with_all_pairs_of_letters(letters: str, shift: int) -> Pair:
    """Return tokenizers that merge any two of the letters, so that words have few ids."""
    text = "".join(random.Random(3).choices(letters, k=5000))
    vocab, merges = train_bpe_from_texts([text], 400, [])
    ids = range(len(vocab)) if shift else random.Random(0).sample(range(1 << 20), len(vocab))
    return make_pair(dict(zip(ids, vocab.values(), strict=True)), merges, [END])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("variant", "shift"), [(as_trained, 1), (with_sparse_ids_of_32_bits, 0)])
@pytest.mark.parametrize("lengths", [[1, 2, 3], [9, 14, 15, 16, 17, 33, 39, 40, 41, 256]])
def test_full_caches_grow_or_begin_anew_without_a_trace(
    variant: Callable[[], Pair], shift: int, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = encoder._SMALLEST_CACHE << shift
    monkeypatch.setattr(encoder, "_LARGEST_CACHE", largest)
    beginnings: list[int] = []
    start_anew = encoder._WordCache._start_anew

    def note_beginning(cache: Any, capacity: int) -> None:
        beginnings.append(capacity)
        start_anew(cache, capacity)

    monkeypatch.setattr(encoder._WordCache, "_start_anew", note_beginning)
    rng = random.Random(4)
    fast, plain = variant() if max(lengths) < 9 else _with_all_pairs_of_letters("hatqz", shift)
    # Many short words fill the table, long ones the arenas of bytes and of ids.
    letters = [chr(letter) for letter in range(0x4E00, 0x4E40)] if max(lengths) < 9 else "hatqz"
    num_words = 9000 if max(lengths) < 9 else 2700
    for _ in range(3):
        words = ["".join(rng.choices(letters, k=rng.choice(lengths))) for _ in range(num_words)]
        text = " ".join(words) + END + " ".join(words[:100])
        ids = plain.encode(text)
        assert fast.encode(text) == ids
        assert fast.encode_to_numpy(text).tolist() == ids
        some = words[:200]
        assert fast.encode_batch(some, num_threads=1) == [plain.encode(word) for word in some]
    assert max(beginnings) <= largest
    assert len(beginnings) > 2


@pytest.fixture(scope="module")
def long_text() -> str:
    """More characters than a stream joins, with something to cut wrongly everywhere."""
    rng = random.Random(5)
    pieces = [nasty_text(rng, 12) + rng.choice(["", " ", *SPECIALS]) for _ in range(300)]
    return "".join(pieces) + "日本語" * 6000 + "that'll " * 3000 + " " * 17_000 + "'l"


@pytest.mark.parametrize("variant", [as_trained, with_pattern_of_gpt4])
@pytest.mark.parametrize("size", [2, 9, 500, 1 << 16])
def test_streams_give_the_ids_of_the_whole_text(
    variant: Callable[[], Pair], size: int, long_text: str
) -> None:
    fast, plain = variant()
    text = long_text if size > 2 else long_text[:20_000]
    ids = plain.encode(text)
    rng = random.Random(size)
    assert list(fast.encode_iterable(random_pieces(text, size, rng))) == ids
    # Pieces of bytes end inside of characters, too.
    assert list(fast.encode_byte_stream(random_pieces(text.encode(), size, rng))) == ids
    assert fast.encode_to_numpy(text).tolist() == ids


def random_pieces(text: Any, size: int, rng: random.Random) -> Iterator[Any]:
    position = 0
    while position < len(text):
        end = position + rng.randint(0, 2 * size)
        yield text[position:end]
        position = end


@pytest.mark.parametrize("num_threads", [None, 1, 2, 5])
def test_batches_keep_their_order(
    pair: Pair, num_threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "_CHARACTERS_AT_ONCE", 200)
    fast, plain = pair
    rng = random.Random(6)
    texts = [nasty_text(rng, 9) * rng.choice([0, 1, 1, 30]) for _ in range(300)]
    expected = [plain.encode(text) for text in texts]
    assert fast.encode_batch(texts, num_threads=num_threads) == expected
    arrays = fast.encode_batch_to_numpy(tuple(texts), num_threads=num_threads)
    assert [array.tolist() for array in arrays] == expected
    for empty in ([], [""], ["", ""]):
        assert fast.encode_batch(empty, num_threads=num_threads) == [[] for _ in empty]
        assert [len(ids) for ids in fast.encode_batch_to_numpy(empty)] == [0 for _ in empty]


def test_results_are_the_callers_own(pair: Pair) -> None:
    fast, plain = pair
    texts = [CORPUS[:length] for length in (5, 50, 200)] + [CORPUS * 600]
    arrays = [fast.encode_to_numpy(text) for text in texts]
    batch = fast.encode_batch_to_numpy(texts)
    for array in (*arrays, *batch):
        kept = array.tolist()
        fast.encode("other words in the same buffers" * len(array))
        fast.encode_batch_to_numpy(["other words" * len(array)])
        assert array.tolist() == kept
        array[:] = 0
    assert fast.encode(texts[2]) == plain.encode(texts[2])


def test_half_characters_are_refused_and_nothing_is_left_behind(pair: Pair) -> None:
    fast, plain = pair
    texts = ["the cat", "a\ud800b", "that's"]
    ways: list[Callable[[], object]] = [
        lambda: fast.encode(texts[1]),
        lambda: fast.encode_to_numpy(texts[1]),
        lambda: fast.encode_to_numpy("the " * 200_000 + texts[1]),
        lambda: fast.encode_batch(texts),
        lambda: fast.encode_batch_to_numpy(texts, num_threads=2),
        lambda: list(fast.encode_iterable(texts)),
        lambda: fast.encode(END + texts[1]),
    ]
    for way in ways:
        with pytest.raises(ValueError, match="surrogates not allowed"):
            way()
        assert fast.encode(CORPUS) == plain.encode(CORPUS)
    with pytest.raises(ValueError, match="invalid start byte"):
        list(fast.encode_byte_stream([b"the \xff"]))


def test_threads_share_a_tokenizer() -> None:
    # A new one: its caches are made while all threads wait for them.
    fast, plain = as_trained()
    rng = random.Random(7)
    texts = ["".join(nasty_text(rng) for _ in range(20)) + CORPUS * 50 for _ in range(24)]
    expected = [plain.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(fast.encode, texts)) == expected
            arrays = pool.map(fast.encode_to_numpy, texts)
            assert [array.tolist() for array in arrays] == expected
            assert list(pool.map(fast.decode, expected)) == texts


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_give_the_same_ids(pair: Pair, duplicate: Callable[[Tokenizer], Tokenizer]) -> None:
    fast, plain = pair
    fast.encode(CORPUS)
    again = duplicate(fast)
    text = CORPUS + END + "".join(SPECIALS)
    assert again.encode(text) == plain.encode(text)
    # Much text: now the copy takes its own fast path.
    assert again.encode(text * 1000) == fast.encode(text * 1000)
    assert again.vocab_hash == fast.vocab_hash


def test_ids_stay_the_same_when_the_fast_path_takes_over(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path, "_WORTH_LOADING", 1000)
    monkeypatch.setattr(path, "_WORTH_COMPILING", 2000)
    plain = pair[1]
    tokenizer = Tokenizer(plain.vocab, plain.merges, SPECIALS)
    for number in range(60):
        text = CORPUS[number : 2 * number] + SPECIALS[number % len(SPECIALS)]
        ids = plain.encode(text)
        assert tokenizer.encode(text) == ids
        assert tokenizer.encode_to_numpy(text).tolist() == ids
        assert tokenizer.decode(ids * 20) == text * 20
    assert tokenizer._fast._encoder is not None


def test_tokenizers_without_a_fast_path_say_why() -> None:
    vocab, merges = trained()
    for changes, reason in (
        ({"pattern": r"\S+|\s+"}, "its pattern is "),
        ({"vocab": {**vocab, 1 << 21: b"far"}}, "it has ids "),
        (
            {"vocab": {i: token for i, token in vocab.items() if i != 7}},
            "its vocabulary lacks a byte",
        ),
    ):
        arguments: dict[str, Any] = {"vocab": vocab, "merges": merges, **changes}
        with pytest.raises(ValueError, match=f"there is no fast path for this tokenizer: {reason}"):
            Tokenizer(**arguments, implementation="fast")
        assert Tokenizer(**arguments).encode("the") == Tokenizer(
            **arguments, implementation="reference"
        ).encode("the")


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if not GPT2_FOLDER.exists():
        pytest.skip(f"needs GPT-2's vocabulary in {GPT2_FOLDER}")
    read = Tokenizer.from_files(
        GPT2_FOLDER / "gpt2_vocab.json", GPT2_FOLDER / "gpt2_merges.txt", [END]
    )
    return Tokenizer(read.vocab, read.merges, [END], implementation="fast")


@pytest.fixture(scope="module")
def peer(gpt2: Tokenizer) -> tiktoken.Encoding:
    ranks = {token: i for i, token in gpt2.vocab.items() if token != END.encode()}
    specials = {END: gpt2.special_token_ids[END]}
    return tiktoken.Encoding(
        "gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=specials
    )


@pytest.mark.parametrize("name", ["wiki_demo.txt", "c4_demo.jsonl"])
def test_gpt2_ids_of_real_text_equal_tiktokens(
    gpt2: Tokenizer, peer: tiktoken.Encoding, name: str
) -> None:
    text = (GPT2_FOLDER.parent / "text" / name).read_text(encoding="utf-8")
    ids = peer.encode_ordinary(text)
    assert gpt2.encode(text) == ids
    assert gpt2.encode_to_numpy(text).tolist() == ids
    assert gpt2.decode(ids) == text


def test_gpt2_ids_of_nasty_text_equal_tiktokens(gpt2: Tokenizer, peer: tiktoken.Encoding) -> None:
    rng = random.Random(8)
    texts = [nasty_text(rng) + rng.choice(["", END]) + nasty_text(rng, 3) for _ in range(2000)]
    assert gpt2.encode_batch(texts) == peer.encode_batch(texts, allowed_special="all")


def test_batches_may_be_iterators_but_not_one_string(any_pair: Pair) -> None:
    texts = ["hello there", "", "world " * 100]
    for tokenizer in any_pair:
        expected = [tokenizer.encode(text) for text in texts]
        assert tokenizer.encode_batch(iter(texts)) == expected
        arrays = tokenizer.encode_batch_to_numpy(text for text in texts)
        assert [ids.tolist() for ids in arrays] == expected
        with pytest.raises(TypeError, match="expected several texts, got the string 'hello'"):
            tokenizer.encode_batch("hello")
        with pytest.raises(ValueError, match="num_threads=0 leaves nobody"):
            tokenizer.encode_batch(texts, num_threads=0)


@pytest.fixture
def without_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing go through a text match by match in Python."""

    def fail(*arguments: object) -> int:
        raise AssertionError("a text was gone through match by match")

    monkeypatch.setattr(Cutter, "_find_by_pattern", fail)


UNCUT = {
    "digits": "0123456789",
    "letters": "abab",
    "marks": "ที่นี่",
    "signs at line ends": "!?\n",
    "signs and letters": "'a!",
    "white space": " \n\t ",
}
"""Texts in which two characters tell no place to cut, with one pattern or the other."""


@pytest.mark.usefixtures("without_walk")
@pytest.mark.parametrize("unit", UNCUT.values(), ids=UNCUT.keys())
@pytest.mark.parametrize("variant", [as_trained, with_pattern_of_gpt4])
def test_large_texts_without_a_place_to_cut_stay_on_the_fast_path(
    unit: str, variant: Callable[[], Pair]
) -> None:
    fast, plain = variant()
    text = unit * (300_000 // len(unit))
    for size in (16_383, 16_384, 16_385, 131_071, 131_072, 131_073, 300_000):
        part = text[:size]
        ids = plain.encode(part)
        assert fast.encode(part) == ids
        assert fast.encode_to_numpy(part).tolist() == ids
        assert fast.encode_batch([part, unit], num_threads=1)[0] == ids
        assert list(fast.encode_iterable([part])) == ids


@pytest.mark.parametrize("unit", ["0123456789", "ที่นี่", "!?\n", "abc!", "'a!"])
def test_streams_without_a_place_to_cut_stay_small(unit: str) -> None:
    compiled = regex.compile(GPT4_PATTERN)
    pieces = [unit] * (100_000 // len(unit))
    blocks = list(cut_safely(pieces, compiled, [END], is_compiled=lambda: True))
    assert "".join(blocks) == "".join(pieces)
    assert max(map(len, blocks)) <= 2 * BLOCK_CHARACTERS


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("room", [1, 7, 64, 1000])
@pytest.mark.parametrize("variant", [as_trained, with_sparse_ids_of_32_bits])
def test_ids_are_handed_over_in_parts_without_a_trace(
    variant: Callable[[], Pair], room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "_ROOM_FOR_IDS", room)
    rng = random.Random(6)
    fast, plain = variant()
    for _ in range(20):
        texts = [nasty_text(rng, 20) + rng.choice(["", END * 3, "x" * 700]) for _ in range(5)]
        expected = [plain.encode(text) for text in texts]
        assert [fast.encode(text) for text in texts] == expected
        assert fast.encode_batch(["", *texts, ""], num_threads=1) == [[], *expected, []]
        documents = [text.encode() for text in texts]
        for found, wanted in zip(
            fast.encode_utf8_documents(documents),
            plain.encode_utf8_documents(documents),
            strict=True,
        ):
            assert found.tolist() == wanted.tolist()
