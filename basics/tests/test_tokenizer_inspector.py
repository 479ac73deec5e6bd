"""A text token by token."""

import pytest
from hypothesis import example, given, settings, strategies as st

from lm_basics.tokenizer import (
    END_OF_TEXT,
    ByteTokenizer,
    CharacterTokenizer,
    TextTokenizer,
    Tokenizer,
    WordTokenizer,
    train_bpe_from_texts,
)
from lm_basics.tokenizer_views.inspector import Inspection, inspect_text

TRAINING_TEXT = "the cat sat on the mat\n    and the dog saß auf 你好世界 你们 🙂🙃 " * 3


def _train() -> Tokenizer:
    vocab, merges = train_bpe_from_texts([TRAINING_TEXT], 320, [END_OF_TEXT])
    return Tokenizer(vocab, merges, [END_OF_TEXT])


def _tokenizer_with(*merges: tuple[bytes, bytes]) -> Tokenizer:
    tokens = [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]
    return Tokenizer(dict(enumerate(tokens)), merges)


BYTE_PAIRS = _train()
TOKENIZERS: list[TextTokenizer] = [BYTE_PAIRS, ByteTokenizer(), CharacterTokenizer()]


def _shown(inspection: Inspection) -> list[str]:
    return [token.shown for token in inspection.tokens]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda one: type(one).__name__)
@given(text=st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from(TRAINING_TEXT)))
@settings(deadline=None)
@example(text=TRAINING_TEXT)
@example(text=f"a{END_OF_TEXT}b\r\n\t\u202eé")
def test_bytes_and_pieces_join_to_the_text(tokenizer: TextTokenizer, text: str) -> None:
    inspection = inspect_text(tokenizer, text)
    assert [token.token_id for token in inspection.tokens] == tokenizer.encode(text)
    assert b"".join(token.data for token in inspection.tokens) == text.encode()
    assert "".join(p.text for token in inspection.tokens for p in token.pieces) == text
    assert inspection.is_lossless


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda one: type(one).__name__)
@given(text=st.text())
@settings(deadline=None)
def test_every_token_knows_its_place(tokenizer: TextTokenizer, text: str) -> None:
    for token in inspect_text(tokenizer, text).tokens:
        assert text.encode()[token.start_byte :].startswith(token.data)


@given(text=st.text())
@settings(deadline=None)
def test_a_token_is_a_fragment_if_and_only_if_it_is_no_utf8(text: str) -> None:
    for token in inspect_text(BYTE_PAIRS, text).tokens:
        is_text = token.data.decode(errors="replace").encode() == token.data
        is_fragment = bool(token.cut_characters)
        assert is_fragment == (not is_text)
        assert is_fragment == any(piece.kind == "bytes" for piece in token.pieces)


def test_parts_of_a_character_are_shown_as_bytes() -> None:
    inspection = inspect_text(_tokenizer_with((b"\xe4", b"\xbd")), "你")
    assert _shown(inspection) == [r"\xe4\xbd", r"\xa0"]
    assert [token.cut_characters for token in inspection.tokens] == ["你", "你"]


def test_whole_characters_beside_a_part_of_one_stay_text() -> None:
    tokenizer = _tokenizer_with((b"a", b"\xc3"), (b"\xa9", b"b"))
    inspection = inspect_text(tokenizer, "aéb")
    assert _shown(inspection) == [r"a\xc3", r"\xa9b"]
    kinds = [[piece.kind for piece in token.pieces] for token in inspection.tokens]
    assert kinds == [["text", "bytes"], ["bytes", "text"]]


def test_a_token_may_hold_parts_of_two_characters() -> None:
    inspection = inspect_text(_tokenizer_with((b"\xa0", b"\xe5")), "你好")
    assert _shown(inspection) == [r"\xe4", r"\xbd", r"\xa0\xe5", r"\xa5", r"\xbd"]
    assert [token.cut_characters for token in inspection.tokens] == ["你", "你", "你好", "好", "好"]


def test_the_last_byte_of_a_character_carries_it() -> None:
    tokens = inspect_text(ByteTokenizer(), "🙂").tokens
    assert [[piece.text for piece in token.pieces] for token in tokens] == [
        [""],
        [""],
        [""],
        ["🙂"],
    ]


def test_text_that_looks_like_bytes_is_text() -> None:
    (piece,) = inspect_text(WordTokenizer([r"\xe4"], pattern=r"\S+"), r"\xe4").tokens[0].pieces
    assert (piece.kind, piece.shown) == ("text", r"\xe4")


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        (" ", "space", "·"),
        ("\t", "space", "→"),
        ("\n", "newline", "↵"),
        ("\r", "hidden", "U+000D"),
        ("\0", "hidden", "U+0000"),
        ("\u00a0", "hidden", "U+00A0"),
        ("\u202e", "hidden", "U+202E"),
        ("\u200d", "hidden", "U+200D"),
        ("\ufe0f", "hidden", "U+FE0F"),
        ("\u2028", "hidden", "U+2028"),
        ("\u3164", "hidden", "U+3164"),
        ("\U000e0041", "hidden", "U+E0041"),
        ("\u0301", "combining", "◌\u0301"),
        ("文", "text", "文"),
    ],
)
def test_characters_without_a_form_are_shown_by_another(text: str, kind: str, shown: str) -> None:
    (token,) = inspect_text(CharacterTokenizer(), text).tokens
    assert [(piece.kind, piece.text, piece.shown) for piece in token.pieces] == [
        (kind, text, shown)
    ]


def test_a_token_is_cut_where_what_is_shown_changes() -> None:
    text = "\n\n    ab\u200bcé "
    tokenizer = Tokenizer({byte: bytes([byte]) for byte in range(256)}, [], [text])
    (token,) = inspect_text(tokenizer, text).tokens
    assert [piece.shown for piece in token.pieces] == [
        *("↵", "↵", "····", "ab", "U+200B", "cé", "·")
    ]


def test_special_tokens_are_told_apart_from_text_of_the_same_spelling() -> None:
    read = inspect_text(BYTE_PAIRS, f"a{END_OF_TEXT}").tokens
    assert [token.is_special for token in read] == [False, True]
    assert read[1].shown == END_OF_TEXT
    unread = inspect_text(BYTE_PAIRS, f"a{END_OF_TEXT}", reads_special_tokens=False).tokens
    assert len(unread) > 2
    assert not any(token.is_special for token in unread)


def test_the_numbers_are_those_of_the_whole_text() -> None:
    for max_tokens in (None, 0, 2, 100):
        inspection = inspect_text(ByteTokenizer(), "né 🙂", max_tokens=max_tokens)
        assert len(inspection.tokens) == min(8, 8 if max_tokens is None else max_tokens)
        assert (inspection.num_tokens, inspection.num_bytes) == (8, 8)
        assert (inspection.num_characters, inspection.vocab_size) == (4, 256)
        assert inspection.bytes_per_token == 1.0
        assert inspection.is_lossless


def test_no_text_has_no_ratio() -> None:
    inspection = inspect_text(BYTE_PAIRS, "")
    assert (inspection.tokens, inspection.bytes_per_token) == ((), None)


def test_unknown_words_are_a_loss() -> None:
    inspection = inspect_text(WordTokenizer(["cat"], pattern=r"\w+"), "catdog")
    assert _shown(inspection) == ["<unk>"]
    assert not inspection.is_lossless


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda one: type(one).__name__)
def test_half_of_a_surrogate_pair_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ValueError, match=r"half of a surrogate pair, U\+DC00, at character 2"):
        inspect_text(tokenizer, "ab\udc00")
