"""Patterns of users: nothing is lost between matches, and texts are cut where that is safe."""

import random
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import PLACES_TO_CUT, compile_pattern, split_pretokens
from lm_basics.tokenizer.texts import read_blocks
from lm_basics.tokenizer.training import train_bpe, train_bpe_from_texts
from lm_basics.tokenizer_views.comparison import python_manual

END = "<|endoftext|>"
WITH_GAPS = [r"[a-z]+", r"\p{L}*", r"(\w)(\w*)", r"\d", r"(?<=a)b"]
GREEDY = [r"\w+\s?|\W", r"\S+\s*|\s+", r"[^\n]+\n?|\n", r"[\s\S]{1,16}"]
TEXT = python_manual()[:20_000] + "naïve 牛 12345\n\n\t end  "


@cache
def _trained(pattern: str) -> Tokenizer:
    vocab, merges = train_bpe_from_texts([TEXT], 400, [END], pattern=pattern)
    return Tokenizer(vocab, merges, [END], pattern=pattern)


@pytest.mark.parametrize("pattern", [*WITH_GAPS, *GREEDY])
def test_no_text_is_lost_and_hugging_face_gives_the_same_ids(pattern: str, tmp_path: Path) -> None:
    tokenizer = _trained(pattern)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    tokenizer.save(tmp_path)
    theirs = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.encode(TEXT, add_special_tokens=False).ids == ids
    assert Tokenizer.from_folder(tmp_path).encode(TEXT) == ids


@pytest.mark.parametrize("pattern", [*WITH_GAPS, *GREEDY])
def test_ids_do_not_depend_on_how_the_text_is_cut(pattern: str) -> None:
    tokenizer = _trained(pattern)
    text = (TEXT + END) * 2 + TEXT * 4
    ids = tokenizer.encode(text)
    assert tokenizer.encode_to_numpy(text).tolist() == ids
    rng = random.Random(0)
    places = sorted(rng.choices(range(len(text)), k=50))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert list(tokenizer.encode_iterable(pieces)) == ids


def test_a_file_is_trained_on_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT * 3)
    pattern = r"\S+\s*|\s+"
    blocks = list(read_blocks(path, pattern, [END], block_bytes=1000))
    assert [block.data.decode() for block in blocks] == [TEXT * 3]
    assert train_bpe(path, 300, [END], pattern=pattern) == train_bpe_from_texts(
        [TEXT * 3], 300, [END], pattern=pattern
    )


@pytest.mark.parametrize("pattern", sorted(PLACES_TO_CUT))
def test_known_patterns_cover_every_character(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000, 7)]))
    for text in (TEXT, everything, " \r\n\x1c\x85 a'S 'll\u3000"):
        assert "".join(split_pretokens(text, compiled)) == text


@pytest.mark.parametrize("pattern", sorted(PLACES_TO_CUT))
def test_known_patterns_stop_before_a_space_behind_a_letter(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    for text in ("ab cd", "ab  cd", "12 34", "a\n b", "文 字", "a's b", "é \n"):
        for pretoken in split_pretokens(text, compiled):
            assert not any(a.isalnum() and b.isspace() for a, b in pairwise(pretoken))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("gpt4", "the pattern 'gpt4' would cut at that word alone"),
        ("", "the pattern '' would cut"),
        ("(", r"the pattern '\(' is no regular expression"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_bpe_from_texts(["text"], 300, [], pattern=pattern)
    with pytest.raises(ValueError, match=message):
        Tokenizer({0: b"a"}, [], pattern=pattern)
