import logging
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer, models, pre_tokenizers, trainers

from basics.tests.reference import train_bpe_by_recounting
from lm_basics.tokenizer.learning import TieBreaking
from lm_basics.tokenizer.training import train_bpe, train_bpe_from_texts

SPECIAL = "<|endoftext|>"
COURSE_TEXT = " ".join(["low"] * 5 + ["lower"] * 2 + ["widest"] * 3 + ["newest"] * 6)
PROSE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom...\n"
    "it was the age of foolishness; they're 1234 years late, isn't it?  Überall 日本語 🙂\n\n"
)
CORPORA = st.text(alphabet="aab  bc'sl\n<|>1é你", max_size=60)


def test_worked_example_of_the_course() -> None:
    # Handout of CS336's first assignment: words split at white space, six merges and more.
    _, merges = train_bpe_from_texts([COURSE_TEXT], 256 + 12, [], pattern=r"\p{L}+")
    spelled = [f"{left.decode()} {right.decode()}" for left, right in merges]
    expected = "s t,e st,o w,l ow,w est,n e,ne west,w i,wi d,wid est,low e,lowe r"
    assert spelled == expected.split(",")


@given(
    text=CORPORA,
    specials=st.sampled_from([[], ["<|>"], ["<", "<|>"]]),
    tie_breaking=st.sampled_from(["greater_bytes", "smaller_id"]),
)
@settings(max_examples=150, deadline=None)
def test_merges_equal_those_of_recounting(
    text: str, specials: list[str], tie_breaking: TieBreaking
) -> None:
    expected = train_bpe_by_recounting(text, 290, specials, tie_breaking)
    assert train_bpe_from_texts([text], 290, specials, tie_breaking=tie_breaking) == expected


def test_merges_equal_those_of_recounting_on_a_longer_text() -> None:
    # Real text has pairs whose count falls while they wait for their turn; this file will do.
    text = Path(__file__).read_text(encoding="utf-8")
    expected = train_bpe_by_recounting(text, 450, [], "greater_bytes")
    assert train_bpe_from_texts([text], 450, []) == expected


@given(st.lists(st.text(alphabet="abcde", min_size=1, max_size=12), max_size=8).map("\n".join))
@settings(max_examples=60, deadline=None)
def test_smaller_ids_win_as_in_hugging_face_tokenizers(text: str) -> None:
    # Only letters between newlines: their ids then have the same order in both vocabularies.
    trainer = trainers.BpeTrainer(
        vocab_size=275,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    peer = HuggingFaceTokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.train_from_iterator([text], trainer)
    vocab, _ = train_bpe_from_texts([text], 275, [], tie_breaking="smaller_id")
    learned = [token.decode() for token_id, token in vocab.items() if token_id >= 256]
    by_id = sorted(peer.get_vocab().items(), key=lambda item: item[1])
    assert [token for token, token_id in by_id if token_id >= 256] == learned


def test_greater_bytes_win_also_over_their_own_prefixes() -> None:
    text = ";".join(["abz"] * 5 + ["abza"] * 3 + ["abk"] * 3)
    _, merges = train_bpe_from_texts([text], 256 + 4, [])
    # The last two are equally frequent, and b"abz" is greater than its prefix b"ab".
    assert merges == [(b"a", b"b"), (b"ab", b"z"), (b"abz", b"a"), (b"ab", b"k")]


def test_special_tokens_come_first_and_count_towards_the_size() -> None:
    vocab, merges = train_bpe_from_texts(["aa aa aa"], 260, [SPECIAL, "<pad>"])
    assert [vocab[0], vocab[1], vocab[2]] == [SPECIAL.encode(), b"<pad>", b"\x00"]
    assert vocab[2 + 255] == b"\xff"
    assert vocab[258] == b"aa"
    assert len(vocab) == 260 == 256 + 2 + len(merges)


def test_special_tokens_neither_merge_nor_count() -> None:
    text = f"ab{SPECIAL}ab{SPECIAL}" * 10
    _, merges = train_bpe_from_texts([text], 300, [SPECIAL])
    assert merges == [(b"a", b"b")]


def test_vocabulary_is_smaller_and_says_so_when_pairs_run_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        vocab, merges = train_bpe_from_texts(["abc"], 1000, [])
    assert (len(vocab), merges) == (258, [(b"b", b"c"), (b"a", b"bc")])
    assert "after 2 of 744 merges" in caplog.text


def test_files_train_like_their_text(tmp_path: Path) -> None:
    # Larger than one block of counting, so cuts are inside of it; "\r\n" must survive.
    text = PROSE.replace("\n", "\r\n") * 40 + SPECIAL + "終わり。" * 90_000
    path = tmp_path / "corpus.txt"
    path.write_bytes(text.encode())
    expected = train_bpe_from_texts([text], 330, [SPECIAL])
    assert train_bpe(path, 330, [SPECIAL]) == expected
    halves = [tmp_path / "first.txt", tmp_path / "second.txt"]
    for half, content in zip(halves, text.split(SPECIAL), strict=True):
        half.write_bytes(content.encode())
    assert train_bpe(halves, 330, [SPECIAL]) == expected


@pytest.mark.parametrize(
    ("vocab_size", "special_tokens", "message"),
    [
        (256, [SPECIAL], "vocab_size=256 is too small: 256 bytes and 1 special tokens need"),
        (300, ["<a>", "<a>"], "must differ"),
        (300, [""], "must not be empty"),
    ],
)
def test_impossible_vocabulary_is_refused(
    vocab_size: int, special_tokens: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_bpe_from_texts(["text"], vocab_size, special_tokens)


def test_one_string_is_no_sequence_of_special_tokens() -> None:
    with pytest.raises(TypeError, match="expected a sequence of special tokens"):
        train_bpe_from_texts(["text"], 300, SPECIAL)


def test_bytes_that_are_not_utf8_are_refused_with_their_position(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"a" * ((1 << 20) - 1) + "é".encode() + b"caf\xe9 ole")
    with pytest.raises(ValueError, match=rf"latin.txt is not UTF-8: .* at byte {(1 << 20) + 4}"):
        train_bpe(path, 300, [])
    with pytest.raises(FileNotFoundError):
        train_bpe(tmp_path / "missing.txt", 300, [])
