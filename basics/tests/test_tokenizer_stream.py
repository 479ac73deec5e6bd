import random
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings, strategies as st

from basics.benchmarks.text_classes import TEXT_CLASSES, write_class
from basics.tests.nasty_text import nasty_text
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN, PLACES_TO_CUT
from lm_basics.tokenizer.text_stream import Cutter, cut_safely
from lm_basics.tokenizer.texts import read_blocks, read_documents, read_text
from lm_basics.tokenizer.training import train_bpe, train_bpe_from_texts

PATTERN = regex.compile(GPT2_PATTERN)
SPECIALS = ["<|a|>", "<|a|><|b|>", "ll b"]
PIECES = st.lists(
    st.text(alphabet="ab'lsve  \n\r\t1<|>é你\u0085\x1c\xa0", max_size=12), max_size=12
)


@given(pieces=PIECES, pattern=st.sampled_from(sorted(PLACES_TO_CUT)))
@settings(max_examples=400, deadline=None)
def test_blocks_have_the_pretokens_of_the_whole(pieces: list[str], pattern: str) -> None:
    compiled = regex.compile(pattern)
    blocks = list(cut_safely(pieces, compiled, block_characters=4))
    assert "".join(blocks) == "".join(pieces)
    pretokens = [pretoken for block in blocks for pretoken in compiled.findall(block)]
    assert pretokens == compiled.findall("".join(pieces))


@pytest.mark.parametrize("pattern", sorted(PLACES_TO_CUT))
@pytest.mark.parametrize("block_characters", [1, 2, 3, 4, 5, 7])
def test_contractions_and_white_space_are_never_cut(pattern: str, block_characters: int) -> None:
    compiled = regex.compile(pattern)
    text = "文'll文!'ve\n'Ll文1234\n \n  x's  \u3000文''re"
    blocks = list(cut_safely(text, compiled, block_characters=block_characters))
    pretokens = [pretoken for block in blocks for pretoken in compiled.findall(block)]
    assert pretokens == compiled.findall(text)


@pytest.mark.parametrize("pattern", sorted(PLACES_TO_CUT))
def test_pretokens_end_at_every_place_to_cut_whatever_follows(pattern: str) -> None:
    compiled, places = regex.compile(pattern), regex.compile(PLACES_TO_CUT[pattern])
    for seed in range(300):
        rng = random.Random(seed)
        text = nasty_text(rng) + "".join(rng.choices("ab1'!/\n\r\t \u0301é文sll🙂", k=12))
        for match in places.finditer(text):
            before, behind = text[: match.start()], text[match.start() :] + rng.choice(text)
            pretokens = compiled.findall(before) + compiled.findall(behind)
            assert pretokens == compiled.findall(before + behind)


@pytest.mark.parametrize("name", TEXT_CLASSES)
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
def test_every_class_of_text_is_cut_near_its_end(name: str, pattern: str) -> None:
    text = write_class(name, 20_000)
    compiled = regex.compile(pattern)
    cutter = Cutter(compiled, ["<|endoftext|>"])
    place = cutter.find(text)
    assert len(text) - place < 300
    assert cutter.find_in_bytes(text.encode()) == len(text[:place].encode())
    pretokens = compiled.findall(text[:place]) + compiled.findall(text[place:])
    assert pretokens == compiled.findall(text)


@given(text=st.text(alphabet="a1 <|>é", min_size=1, max_size=30), data=st.data())
@settings(max_examples=300, deadline=None)
def test_bytes_are_cut_outside_of_special_tokens(text: str, data: st.DataObject) -> None:
    specials = [special for special in ("1 a", "<|a", "é1<") if data.draw(st.booleans())]
    text = data.draw(st.sampled_from(["", "x" * 1020, "1 a" * 700])) + text
    cutter = Cutter(PATTERN, specials)
    place = cutter.find_in_bytes(text.encode())
    split = regex.compile("|".join(map(regex.escape, specials)) or "0")
    parts = [text.encode()[:place].decode(), text.encode()[place:].decode()]
    found = [match for part in parts for match in split.findall(part)]
    assert found == split.findall(text)


@given(pieces=st.lists(st.sampled_from(["<|a|>", "<|b|>", "<|a", "|>", "l", "l b", " x", "'"])))
@settings(max_examples=300, deadline=None)
def test_special_tokens_are_never_cut(pieces: list[str]) -> None:
    split = regex.compile("|".join(regex.escape(s) for s in sorted(SPECIALS, key=len)[::-1]))
    blocks = list(cut_safely(pieces, PATTERN, SPECIALS, block_characters=3))
    found = [special for block in blocks for special in split.findall(block)]
    assert found == split.findall("".join(pieces))


@pytest.mark.parametrize(
    "unit", ["word ", "文。", "a,", "a1", "1.5,", "ไทย ", "🙂 ", "x\n", "<|a|>"]
)
def test_blocks_stay_small(unit: str) -> None:
    blocks = list(cut_safely([unit] * 5000, PATTERN, SPECIALS, block_characters=64))
    assert max(map(len, blocks)) <= 2 * 64


def test_one_endless_pretoken_is_scanned_a_few_times_only() -> None:
    # A scan for each of the 40,000 pieces would read ten thousand million letters, for minutes.
    letters = ["x" * 16] * 40_000
    assert list(cut_safely(letters, PATTERN, block_characters=16)) == ["x" * 640_000]


def test_text_is_read_as_it_is(tmp_path: Path) -> None:
    text = "é" * (1 << 20) + "\r\nend\r"
    path = tmp_path / "text.txt"
    path.write_bytes(b"x" + text.encode())
    blocks = list(read_text(path))
    assert len(blocks) > 1
    assert "".join(blocks) == "x" + text


def test_truncated_character_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("né".encode()[:-1])
    with pytest.raises(ValueError, match="unexpected end of data at byte 1"):
        list(read_text(path))


def test_documents_are_split_wherever_blocks_end(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    first, second = "a" * ((1 << 20) - 2), "b" * (3 << 20)
    path.write_text(f"{first}<sep>{second}<sep><sep>c<se", encoding="utf-8")
    assert list(read_documents(path, "<sep>")) == [first, second, "c<se"]


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 64])
def test_a_byte_order_mark_is_no_text_and_only_at_the_beginning(
    tmp_path: Path, block_bytes: int
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\ufeffone two\ufeff 3", encoding="utf-8")
    assert "".join(read_text(path)) == "one two\ufeff 3"
    assert list(read_documents(path, " ")) == ["one", "two\ufeff", "3"]
    blocks = list(read_blocks(path, GPT2_PATTERN, block_bytes=block_bytes))
    assert b"".join(block.data for block in blocks) == "one two\ufeff 3".encode()
    assert [blocks[0].position, blocks[-1].position + len(blocks[-1].data)] == [3, 15]
    behind = read_blocks(path, GPT2_PATTERN, block_bytes=block_bytes, start=blocks[-1].position)
    assert b"".join(block.data for block in behind) == blocks[-1].data
    (cut,) = read_blocks(path, GPT2_PATTERN, max_bytes=6)
    assert cut.data == b"one"


def test_every_file_of_a_training_loses_its_mark(tmp_path: Path) -> None:
    paths = [tmp_path / "first.txt", tmp_path / "second.txt"]
    for path in paths:
        path.write_text("\ufeff" + "the cat " * 9, encoding="utf-8")
    plain = train_bpe_from_texts(["the cat " * 9] * 2, 262, [])
    assert train_bpe(paths, 262, []) == plain


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_by_their_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\ufeffhello" if encoding.endswith("be") else "hello", encoding=encoding)
    for read in (read_text, lambda path: read_blocks(path, GPT2_PATTERN)):
        with pytest.raises(ValueError, match=r"text\.txt begins with the byte-order"):
            list(read(path))
    with pytest.raises(ValueError, match="expected UTF-8: convert it first"):
        train_bpe(path, 262, [], on_invalid="replace")
