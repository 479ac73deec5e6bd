import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings, strategies as st

from basics.tests.reference import GPT2_PATTERN, encode_merge_by_merge
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.kernels import compile_kernels
from lm_basics.tokenizer.patterns import GPT4_PATTERN
from lm_basics.tokenizer.plain import merge_tokens
from lm_basics.tokenizer.training import train_bpe_from_texts
from lm_basics.tokenizer.vocabulary import save_vocabulary

END = "<|endoftext|>"
GPT2_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "tokenizer"
CORPUS = "the cat's hat, the bat's that; aaaa aaaaaa don't they'll 1234 12 \n\n  é你好 🙂🙂 " * 3
SPECIALS = [END, "<|a|>", "<|a|><|b|>"]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from([*SPECIALS, "<|b|>", "<|end", "the", " that", "'ll", "  ", "\n", "aaaaa"]),
        st.text(max_size=8),
        st.text(alphabet="ab' \n\u0085\u001c\xa0٣Ⅷ\u200d🙂\0", max_size=8),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    vocab, merges = train_bpe_from_texts([CORPUS], 300, SPECIALS)
    return Tokenizer(vocab, merges, SPECIALS)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if not GPT2_FOLDER.exists():
        pytest.skip(f"needs GPT-2's vocabulary in {GPT2_FOLDER}")
    return Tokenizer.from_files(
        GPT2_FOLDER / "gpt2_vocab.json", GPT2_FOLDER / "gpt2_merges.txt", [END]
    )


@pytest.fixture(scope="module")
def tiktoken_gpt2(gpt2: Tokenizer) -> tiktoken.Encoding:
    ranks = {token: i for i, token in gpt2.vocab.items() if token != END.encode()}
    return tiktoken.Encoding(
        "gpt2",
        pat_str=GPT2_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={END: gpt2.special_token_ids[END]},
    )


@given(pieces=TEXTS)
@settings(max_examples=100, deadline=None)
def test_ids_equal_those_of_merging_one_by_one(tokenizer: Tokenizer, pieces: list[str]) -> None:
    text = "".join(pieces)
    expected = encode_merge_by_merge(text, tokenizer.vocab, tokenizer.merges, SPECIALS)
    assert tokenizer.encode(text) == expected


@given(pieces=TEXTS)
@settings(max_examples=100, deadline=None)
def test_every_way_of_encoding_gives_the_same_ids(tokenizer: Tokenizer, pieces: list[str]) -> None:
    text = "".join(pieces)
    ids = tokenizer.encode(text)
    assert list(tokenizer.encode_iterable(pieces)) == ids
    assert list(tokenizer.encode_iterable(text)) == ids
    assert tokenizer.encode_to_numpy(text).tolist() == ids
    assert tokenizer.decode(ids) == text


@given(pieces=TEXTS)
@settings(max_examples=150, deadline=None)
def test_gpt2_ids_equal_tiktokens(
    gpt2: Tokenizer, tiktoken_gpt2: tiktoken.Encoding, pieces: list[str]
) -> None:
    text = "".join(pieces)
    ids = tiktoken_gpt2.encode(text, allowed_special="all")
    assert gpt2.encode(text) == ids
    assert gpt2.decode(ids) == text
    ordinary = tiktoken_gpt2.encode(text, disallowed_special=())
    assert gpt2.encode(text, allowed_special=()) == ordinary


@pytest.mark.parametrize("name", ["wiki_demo.txt", "tinystories_197k.txt", "c4_demo.jsonl"])
def test_gpt2_ids_equal_tiktokens_on_real_text(
    gpt2: Tokenizer, tiktoken_gpt2: tiktoken.Encoding, name: str
) -> None:
    text = (GPT2_FOLDER.parent / "text" / name).read_text(encoding="utf-8")[:200_000]
    assert gpt2.encode_to_numpy(text).tolist() == tiktoken_gpt2.encode_ordinary(text)


@given(ids=st.lists(st.integers(0, 299), max_size=30))
@settings(max_examples=50, deadline=None)
def test_decoding_replaces_bytes_that_are_not_utf8(tokenizer: Tokenizer, ids: list[int]) -> None:
    expected = b"".join(tokenizer.vocab[token_id] for token_id in ids)
    assert tokenizer.decode_bytes(ids) == expected
    assert tokenizer.decode(np.array(ids, dtype=np.int64)) == expected.decode(errors="replace")


def test_training_text_is_encoded_as_training_left_it(tokenizer: Tokenizer) -> None:
    # Each merge shortens the text; the last one must still be in use.
    assert tokenizer.vocab_size - 1 in tokenizer.encode(CORPUS)


def test_longest_special_token_wins(tokenizer: Tokenizer) -> None:
    ids = tokenizer.special_token_ids
    assert tokenizer.encode("<|a|><|b|><|a|>") == [ids["<|a|><|b|>"], ids["<|a|>"]]


def test_untrusted_text_cannot_spell_special_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(f"x{END}", allowed_special=())
    assert not set(ids) & set(tokenizer.special_token_ids.values())
    assert tokenizer.decode(ids) == f"x{END}"
    allowed = tokenizer.encode(f"<|a|>{END}", allowed_special=["<|a|>"])
    assert allowed[0] == tokenizer.special_token_ids["<|a|>"]
    assert tokenizer.special_token_ids[END] not in allowed


def test_special_tokens_missing_from_the_vocabulary_are_appended() -> None:
    vocab, merges = train_bpe_from_texts([CORPUS], 290, [])
    tokenizer = Tokenizer(vocab, merges, ["<a>", "<b>"])
    assert tokenizer.encode("<b>x<a>") == [291, ord("x"), 290]
    assert (tokenizer.vocab_size, tokenizer.token_bytes(291)) == (292, b"<b>")


def test_encode_iterable_is_lazy(tokenizer: Tokenizer) -> None:
    consumed = []

    def pieces() -> Iterator[str]:
        for index in range(100_000):
            consumed.append(index)
            yield "the cat "

    ids = tokenizer.encode_iterable(pieces())
    assert next(ids) == tokenizer.encode("the")[0]
    assert len(consumed) < 5000


@pytest.mark.parametrize("length", [2, 127, 128, 129, 1000])
def test_long_pretokens_merge_like_short_ones(tokenizer: Tokenizer, length: int) -> None:
    word = ("athatthe" * length)[:length]
    expected = encode_merge_by_merge(word, tokenizer.vocab, tokenizer.merges)
    assert tokenizer.encode(word) == expected


def test_endless_words_take_no_quadratic_time(tokenizer: Tokenizer) -> None:
    # With n^2 steps each word would take minutes.
    for word in ("a" * 50_000, "that" * 12_500):
        assert tokenizer.decode(tokenizer.encode(word)) == word


@given(
    ids=st.lists(st.integers(0, 3), min_size=128, max_size=160),
    pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), unique=True, max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_both_merge_loops_agree(ids: list[int], pairs: list[tuple[int, int]]) -> None:
    # Like real merges, each one makes a new id and joins only ids that exist before it.
    possible = [pair for rank, pair in enumerate(pairs) if max(pair) < 4 + rank]
    pairs = [pair for rank, pair in enumerate(possible) if max(pair) < 4 + rank]
    ranks = {pair: rank for rank, pair in enumerate(pairs)}
    merged_ids = [4 + rank for rank in range(len(pairs))]
    expected = list(ids)
    for rank, (left, right) in enumerate(pairs):
        position = 0
        while position < len(expected) - 1:
            if (expected[position], expected[position + 1]) == (left, right):
                expected[position : position + 2] = [merged_ids[rank]]
            position += 1
    assert merge_tokens(ids, ranks, merged_ids) == expected


def test_cache_is_bounded_and_changes_nothing(tokenizer: Tokenizer) -> None:
    small = Tokenizer(tokenizer.vocab, tokenizer.merges, SPECIALS, cache_size=8)
    text = " ".join(f"that{number}the" for number in range(500)) + CORPUS
    assert small.encode(text) == tokenizer.encode(text)
    assert len(small._plain.cache) + len(small._plain.cache._older) <= 8


def test_dtype_is_the_smallest_that_holds_the_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_to_numpy("").dtype == np.uint16
    large = Tokenizer({**tokenizer.vocab, 1 << 16: b"unused"}, tokenizer.merges)
    assert large.encode_to_numpy("the").dtype == np.uint32


def test_token_bytes_add_up_to_the_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_to_numpy(CORPUS + END)
    assert tokenizer.token_num_bytes[ids].sum() == len(CORPUS.encode())


def test_hash_tells_tokenizers_apart(tokenizer: Tokenizer) -> None:
    same = Tokenizer(tokenizer.vocab, tokenizer.merges, SPECIALS, cache_size=1)
    assert same.vocab_hash == tokenizer.vocab_hash
    swapped = [tokenizer.merges[1], tokenizer.merges[0], *tokenizer.merges[2:]]
    others = [
        Tokenizer(tokenizer.vocab, swapped, SPECIALS),
        Tokenizer(tokenizer.vocab, tokenizer.merges, [END]),
        Tokenizer(tokenizer.vocab, tokenizer.merges, SPECIALS, pattern=r"\S+|\s+"),
    ]
    assert len({tokenizer.vocab_hash, *(other.vocab_hash for other in others)}) == 4


def test_impossible_requests_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="token id 300 is not in the vocabulary of 300 tokens"):
        tokenizer.decode([1, 300])
    with pytest.raises(ValueError, match="are no special tokens"):
        tokenizer.encode("x", allowed_special=["<|c|>"])
    with pytest.raises(ValueError, match="surrogates not allowed"):
        tokenizer.encode("a\ud800b")
    with pytest.raises(ValueError, match="merge 0 needs the token b'ab'"):
        Tokenizer({0: b"a", 1: b"b"}, [(b"a", b"b")])
    with pytest.raises(ValueError, match="lacks a byte of 'c'"):
        Tokenizer({0: b"a", 1: b"b"}, []).encode("c")
    with pytest.raises(ValueError, match="must differ"):
        Tokenizer({}, [], ["<a>", "<a>"])


def test_course_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "Ġ": 1, "Ġa": 2, "<|é|>": 3}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nĠ a\n", encoding="utf-8")
    tokenizer = Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", ["<|é|>"])
    assert tokenizer.encode("a a<|é|> ") == [0, 2, 3, 1]


def test_compiled_kernels_are_used_from_then_on() -> None:
    assert compile_kernels()
    text = CORPUS * 3000
    vocab, merges = train_bpe_from_texts([text], 300, SPECIALS)
    tokenizer = Tokenizer(vocab, merges, SPECIALS)
    assert tokenizer.prepare(len(text))
    plain = Tokenizer(vocab, merges, SPECIALS, implementation="reference")
    assert not plain.prepare(len(text))
    assert tokenizer.encode(text) == plain.encode(text)


def test_documents_of_bytes_become_one_array(tokenizer: Tokenizer) -> None:
    fast = Tokenizer(tokenizer.vocab, tokenizer.merges, SPECIALS, implementation="fast")
    texts = ["the cat", "", f"spelled {END} out", "é", " 'll"]
    documents = [text.encode() for text in texts]
    expected = [
        [*tokenizer.encode(one, allowed_special=()), tokenizer.special_token_ids[END]]
        for one in texts
    ]
    for encoder in (fast, tokenizer):
        ids, ends = encoder.encode_utf8_documents(documents)
        assert ids.tolist() == [i for document in expected for i in document]
        assert ends.tolist() == np.cumsum([len(document) for document in expected]).tolist()
        # Two halves of a character, each at the edge of a document, are no character.
        with pytest.raises(UnicodeDecodeError):
            encoder.encode_utf8_documents(["é".encode()[:1], "é".encode()[1:]])
        nothing, no_ends = encoder.encode_utf8_documents([])
        assert (nothing.tolist(), no_ends.tolist()) == ([], [])


@pytest.fixture
def unchecked() -> None:
    """Leave out the checks of types, which would be first to refuse what users may give."""
    jaxtyping.config.update("jaxtyping_disable", True)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_text_or_no_choice_is_named() -> None:
    tokenizer = Tokenizer({n: bytes([n]) for n in range(256)}, [], [END])
    wrong: Any = b"bytes"
    for encode in (tokenizer.encode, tokenizer.encode_to_numpy):
        with pytest.raises(TypeError, match="expected a str to encode, got bytes"):
            encode(wrong)
    for allowed in ("none", END, iter([END]), None):
        not_allowed: Any = allowed
        with pytest.raises(TypeError, match="allowed_special must be 'all' or a collection"):
            tokenizer.encode("a", allowed_special=not_allowed)
        with pytest.raises(TypeError, match="allowed_special must be 'all' or a collection"):
            tokenizer.encode_iterable([], allowed_special=not_allowed)
    choice: Any = "quick"
    not_whole: Any = 300.5
    with pytest.raises(ValueError, match="implementation must be one of auto, fast, reference"):
        Tokenizer({}, [], implementation=choice)
    for name in ("tie_breaking", "implementation"):
        with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'quick'"):
            train_bpe_from_texts(["a"], 300, [], **{name: choice})
    with pytest.raises(TypeError, match="expected an iterable of texts, got the string 'hello'"):
        train_bpe_from_texts("hello", 300, [])
    with pytest.raises(TypeError, match=r"vocab_size must be an integer, got 300\.5"):
        train_bpe_from_texts(["a"], not_whole, [])


def test_files_of_another_pattern_are_read_with_it(tmp_path: Path) -> None:
    text = "It's 12345 O'CLOCK, they'LL say\n\n" * 20
    vocab, merges = train_bpe_from_texts([text], 320, [END], pattern=GPT4_PATTERN)
    tokenizer = Tokenizer(vocab, merges, [END], pattern=GPT4_PATTERN)
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    save_vocabulary(vocab, merges, *paths, special_tokens=[END])
    again = Tokenizer.from_files(*paths, [END], pattern=GPT4_PATTERN)
    assert again.encode(text) == tokenizer.encode(text)
    paths[1].write_bytes(b"\xef\xbb\xbf" + paths[1].read_bytes())
    assert Tokenizer.from_files(*paths, [END]).merges == tokenizer.merges
    paths[1].write_bytes(b"#version: 0.2\n\xff x\n")
    with pytest.raises(ValueError, match=r"merges\.txt is not UTF-8"):
        Tokenizer.from_files(*paths)
    paths[1].write_text("#version: 0.2\nq z\n")
    with pytest.raises(ValueError, match=r"vocab\.json and .*merges\.txt: merge 0 needs"):
        Tokenizer.from_files(*paths)
