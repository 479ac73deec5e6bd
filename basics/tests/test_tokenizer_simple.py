from collections.abc import Iterator

import numpy as np
import pytest
import regex
from hypothesis import given, settings, strategies as st

from basics.tests.reference import GPT2_PATTERN
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.simple import (
    ByteTokenizer,
    CharacterTokenizer,
    TextTokenizer,
    WordTokenizer,
    compression_ratio,
)

WORDS_AND_MARKS = r"\w+|[^\w\s]"
"""A user's pattern; white space is in none of its matches."""
LETTERS_OR_NOTHING = r"[a-z]+|(\p{N})(\p{N})?"
"""A user's pattern with groups, which leaves most characters uncovered."""
PATTERNS = [GPT2_PATTERN, WORDS_AND_MARKS, LETTERS_OR_NOTHING]
PIECES = st.lists(
    st.one_of(
        st.sampled_from(["the", " cat", "'ll", "  ", "\n", "aaaa", " é", "你好", "🙂", "<unk>"]),
        st.text(max_size=8),
        st.text(alphabet="ab' \n\u0085\u001c\xa0٣Ⅷ\u200d🙂\0", max_size=8),
    ),
    max_size=12,
)
TOKENIZERS: dict[str, TextTokenizer] = {
    "character": CharacterTokenizer(),
    "byte": ByteTokenizer(),
    "word": WordTokenizer.from_texts(["the cat's hat, the bat's that"]),
    "bpe": Tokenizer({byte: bytes([byte]) for byte in range(256)}, []),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_tokenizer_has_the_interface(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    assert isinstance(tokenizer, TextTokenizer)
    ids = tokenizer.encode("the cat's hat")
    assert all(0 <= token_id < tokenizer.vocab_size for token_id in ids)
    assert tokenizer.decode(ids) == "the cat's hat"
    assert tokenizer.decode(iter(ids)) == "the cat's hat"
    assert tokenizer.encode("") == list(tokenizer.encode_iterable([])) == []
    assert tokenizer.decode([]) == ""


def test_what_only_encodes_is_no_tokenizer() -> None:
    class Encoder:
        vocab_size = 1

        def encode(self, text: str) -> list[int]:
            return [0] * len(text)

    assert not isinstance(Encoder(), TextTokenizer)


@given(text=st.text())
@settings(deadline=None)
def test_characters_and_bytes_lose_nothing(text: str) -> None:
    characters, in_bytes = CharacterTokenizer(), ByteTokenizer()
    assert characters.encode(text) == [ord(character) for character in text]
    assert characters.decode(characters.encode(text)) == text
    assert bytes(in_bytes.encode(text)) == text.encode()
    assert in_bytes.decode(in_bytes.encode(text)) == text


@given(pieces=PIECES, pattern=st.sampled_from(PATTERNS))
@settings(max_examples=100, deadline=None)
def test_known_words_lose_nothing(pieces: list[str], pattern: str) -> None:
    text = "".join(pieces)
    tokenizer = WordTokenizer.from_texts([text], pattern=pattern)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unknown_id not in ids


@given(text=st.text(alphabet="ab' 1\n,é", max_size=40))
@settings(max_examples=100, deadline=None)
def test_words_are_the_matches_of_a_pattern_that_covers_all(text: str) -> None:
    tokenizer = WordTokenizer.from_texts([text])
    words = [tokenizer.decode([token_id]) for token_id in tokenizer.encode(text)]
    assert words == regex.findall(GPT2_PATTERN, text)


@given(pieces=PIECES)
@settings(max_examples=100, deadline=None)
def test_the_ids_do_not_depend_on_the_pieces(pieces: list[str]) -> None:
    text = "".join(pieces)
    for tokenizer in TOKENIZERS.values():
        ids = tokenizer.encode(text)
        assert list(tokenizer.encode_iterable(pieces)) == ids
        assert list(tokenizer.encode_iterable(text)) == ids


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("text", ["the cat's  12, ", "文文。文", "aÉ!\n ", "1234é "])
def test_words_of_long_streams_are_those_of_the_whole(pattern: str, text: str) -> None:
    # Long enough for the stream to be cut several times, at other places of the text each time.
    long = text * (100_000 // len(text))
    tokenizer = WordTokenizer.from_texts([long], pattern=pattern)
    pieces = [long[start : start + 997] for start in range(0, len(long), 997)]
    assert list(tokenizer.encode_iterable(pieces)) == tokenizer.encode(long)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_encode_iterable_is_lazy(name: str) -> None:
    consumed = []

    def pieces() -> Iterator[str]:
        for index in range(100_000):
            consumed.append(index)
            yield "the cat "

    next(TOKENIZERS[name].encode_iterable(pieces()))
    assert len(consumed) < 5000


def test_the_most_frequent_words_are_learned_and_ties_go_by_the_alphabet() -> None:
    tokenizer = WordTokenizer.from_texts(["b a c", "c b"], 4, pattern=r"\w")
    # Counts: " " 3, b 2, c 2, a 1; of the ids one is for unknown words.
    assert tokenizer.words == ["<unk>", " ", "b", "c"]
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("a b") == [0, 1, 2]


def test_unknown_words_become_unk() -> None:
    tokenizer = WordTokenizer.from_texts(["the cat sat"])
    ids = tokenizer.encode("the dog sat!")
    assert ids == [tokenizer.encode("the")[0], 0, tokenizer.encode(" sat")[0], 0]
    assert tokenizer.decode(ids) == "the<unk> sat<unk>"


def test_the_text_of_unk_is_unknown_itself() -> None:
    tokenizer = WordTokenizer.from_texts(["a [?] a"], pattern=r"\S+", unknown="[?]")
    assert tokenizer.words == ["[?]", " ", "a"]
    assert tokenizer.encode("[?]") == [0]
    assert tokenizer.decode([0, 1, 2]) == "[?] a"


def test_no_word_crosses_documents() -> None:
    assert WordTokenizer.from_texts(["ab", "cd"]).words == ["<unk>", "ab", "cd"]


def test_broken_utf8_is_replaced() -> None:
    assert ByteTokenizer().decode([0x61, 0xE4, 0xBD, 0x62]) == "a\ufffdb"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_arrays_are_decoded_like_lists(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    assert tokenizer.decode(np.array(tokenizer.encode("the hat"), dtype=np.int64)) == "the hat"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_outside_of_the_vocabulary_are_refused(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    for wrong in (-1, tokenizer.vocab_size):
        expected = f"token id {wrong} is not in the vocabulary of {tokenizer.vocab_size} tokens"
        with pytest.raises(ValueError, match=expected):
            tokenizer.decode([0, wrong])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_lone_surrogates_are_refused(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    with pytest.raises(ValueError, match="surrogates not allowed"):
        tokenizer.encode("a\ud800b")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        list(tokenizer.encode_iterable(["a", "\ud800"]))


def test_surrogates_are_neither_decoded_nor_learned() -> None:
    with pytest.raises(ValueError, match="token id 57343 is a surrogate"):
        CharacterTokenizer().decode([0x61, 0xDFFF])
    with pytest.raises(ValueError, match=r"surrogates not allowed: .* U\+D800, at character 1"):
        WordTokenizer.from_texts(["a\ud800"])


@pytest.mark.parametrize("pattern", [r"\S+\s*", ".+", r"\w+ ?"])
def test_patterns_that_run_over_a_cut_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="runs on from a letter into a space"):
        WordTokenizer(["a"], pattern=pattern)


def test_impossible_words_are_refused() -> None:
    with pytest.raises(TypeError, match="expected a sequence of words, got the string 'abc'"):
        WordTokenizer("abc")
    with pytest.raises(ValueError, match="'a' repeats"):
        WordTokenizer(["a", "b", "a"])
    with pytest.raises(ValueError, match="words must differ, also from '<unk>'"):
        WordTokenizer(["<unk>"])
    with pytest.raises(ValueError, match="must not be empty"):
        WordTokenizer([""])
    with pytest.raises(ValueError, match=r"the pattern '\\\\w\*' matches the empty string"):
        WordTokenizer(["a"], pattern=r"\w*")
    with pytest.raises(TypeError, match="expected an iterable of texts, got one string"):
        WordTokenizer.from_texts("the cat")
    with pytest.raises(ValueError, match="vocab_size=0 has no room for the unknown word"):
        WordTokenizer.from_texts(["a"], 0)


def test_compression_ratio_is_bytes_per_token() -> None:
    assert compression_ratio(ByteTokenizer(), "é 🙂") == 1
    assert compression_ratio(CharacterTokenizer(), "é 🙂") == 7 / 3
    assert compression_ratio(WordTokenizer(["ab", " ab"]), "ab ab ab") == 8 / 3
    with pytest.raises(ValueError, match="got an empty string"):
        compression_ratio(ByteTokenizer(), "")
