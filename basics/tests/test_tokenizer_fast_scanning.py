import random
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from basics.tests.nasty_text import characters_of_all_categories, nasty_text
from lm_basics.tokenizer.fast.segments import character_classes, find_last_end
from lm_basics.tokenizer.kernels import kernel, records
from lm_basics.tokenizer.patterns import GPT2_PATTERN, GPT4_PATTERN
from lm_shared.machine_code import address_of

PATTERNS = {
    records.GPT2: regex.compile(GPT2_PATTERN),
    records.GPT4: regex.compile(GPT4_PATTERN),
}
# What stands behind the text, or before it, must not count: letters, contractions, spaces, halves.
GARBAGE = [bytes(64), b"s" * 64, b"'s" * 32, b" " * 64, b"ll\n1" * 16, b"\xa0" * 64, b"\xff" * 64]
TEXTS = st.lists(
    st.one_of(
        st.text(alphabet="aS'sdmtlvre \n1.", max_size=40),
        st.text(alphabet="a'sl \xa0\u0085\x1c\u2003\u3000é٣Ⅷ\u200d🙂\u0301\0", max_size=30),
        st.text(max_size=10),
        st.builds(str.__mul__, st.sampled_from("a1. \n'é\xa0"), st.integers(50, 70)),
    ),
    max_size=8,
).map("".join)
# The bytes at which the rules of UTF-8 change.
BORDERS = bytes.fromhex(
    "00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff"
)


@pytest.fixture(params=PATTERNS, ids=["gpt2", "gpt4"])
def scanner(request: pytest.FixtureRequest) -> int:
    return request.param


def ends_by_kernel(
    scanner: int, text: str, before: bytes = b"", behind: bytes = GARBAGE[0]
) -> NDArray[np.int64]:
    data = text.encode()
    ends = np.full(len(data) + 1, -1, dtype=np.int64)
    count = kernel("scanner:find_ends")(
        scanner,
        before + data + behind,
        len(before),
        len(before) + len(data),
        address_of(character_classes()),
        address_of(ends),
    )
    assert (ends[count:] == -1).all()
    return ends[:count] - len(before)


def ends_by_regex(scanner: int, text: str) -> NDArray[np.int64]:
    # The byte 255, which occurs in no UTF-8, marks the ends.
    pretokens = PATTERNS[scanner].findall(text)
    marked = "\udcff".join([*pretokens, ""]).encode(errors="surrogateescape")
    marks = np.flatnonzero(np.frombuffer(marked, dtype=np.uint8) == 255)
    return marks - np.arange(len(marks))


def assert_same_pretokens(
    scanner: int, text: str, before: bytes = b"", behind: bytes = GARBAGE[0]
) -> None:
    found = ends_by_kernel(scanner, text, before, behind)
    expected = ends_by_regex(scanner, text)
    assert np.array_equal(found, expected), f"{text!r}: {found.tolist()}, not {expected.tolist()}"


@given(text=TEXTS, before=st.sampled_from(GARBAGE), behind=st.sampled_from(GARBAGE))
@settings(max_examples=250, deadline=None)
def test_pretokens_are_those_of_regex(text: str, before: bytes, behind: bytes) -> None:
    for scanner in PATTERNS:
        assert_same_pretokens(scanner, text, before, behind)


@pytest.mark.parametrize("num_texts", [1_500, pytest.param(40_000, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
def test_pretokens_of_nasty_text_are_those_of_regex(num_texts: int) -> None:
    rng = random.Random(0)
    for _ in range(num_texts):
        text, before = nasty_text(rng), rng.choice(GARBAGE)[: rng.randint(0, 64)]
        for scanner in PATTERNS:
            assert_same_pretokens(scanner, text, before, rng.choice(GARBAGE))


@pytest.mark.parametrize(
    "filler", ["a", "1", ".", " ", "\n", "a ", " a", "a.", "é", "\u3000", "'s"]
)
@pytest.mark.usefixtures("unchecked")
def test_contractions_are_found_wherever_blocks_end(scanner: int, filler: str) -> None:
    tails = [
        "'s",
        "'ll",
        "'ve",
        "'re",
        "'l",
        "'r",
        "'",
        "''s",
        "'s's",
        " 's",
        "'sx",
        "'ll.",
        "'ll é",
    ]
    for tail, length in product(tails, range(66)):
        text = (filler * length)[:length] + tail
        for behind in (b"s" * 64, b"ll" * 32, b"e" * 64):
            assert_same_pretokens(scanner, text, behind=behind)
        assert_same_pretokens(scanner, text + " end")


def test_every_character_is_cut_from_letters_digits_and_spaces() -> None:
    size = 1 << 17
    for first in range(0, sys.maxunicode + 1, size):
        # Few characters are assigned above the third plane: of those, one in seventeen.
        template, step = ("a{0}1 {0}\n", 1) if first < 0x40000 else ("1{0}", 17)
        codes = range(first, min(first + size, sys.maxunicode + 1), step)
        text = "".join(template.format(chr(c)) for c in codes if not 0xD800 <= c <= 0xDFFF)
        for scanner in PATTERNS:
            found, expected = ends_by_kernel(scanner, text), ends_by_regex(scanner, text)
            assert np.array_equal(found, expected), hex(first)


@pytest.mark.usefixtures("unchecked")
def test_characters_of_all_categories_are_cut_from_each_other(scanner: int) -> None:
    characters = characters_of_all_categories(4)
    for first, second in product(characters, characters):
        assert_same_pretokens(scanner, f"{first}{second}{second} {first}'{second}")


@pytest.mark.parametrize(
    "unit", ["a", "1", ".", " ", "\n", "'", "é", "日", "🙂", "\xa0", "\u0301", "a1", "'s"]
)
def test_long_runs_end_where_regex_ends_them(scanner: int, unit: str) -> None:
    run = unit * 50_001
    for text in (run, f"x {run}", f"{run}x", f"{run} ", f" {run} x", f"{run}'ll"):
        assert_same_pretokens(scanner, text)


def test_class_table_is_that_of_regex() -> None:
    expected = np.full(sys.maxunicode + 1, records.OTHER, dtype=np.uint8)
    classes = {1: records.LETTER, 2: records.NUMBER, 3: records.WHITESPACE}
    match = regex.compile(r"(\p{L})|(\p{N})|(\s)").match
    for code_point in range(sys.maxunicode + 1):
        found = match(chr(code_point))
        if found and found.lastindex:
            expected[code_point] = classes[found.lastindex]
    assert np.array_equal(character_classes(), expected)


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_damaged_class_table_is_made_anew(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_basics.tokenizer.fast.segments.user_cache_folder", lambda: tmp_path)
    make = character_classes.__wrapped__
    expected = make()
    (path,) = tmp_path.iterdir()
    intact = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(intact[:-1] if damage == "short" else bytes(1000) + intact[1000:])
    assert np.array_equal(make(), expected)
    assert path.read_bytes() == intact


def find_by_kernel(data: bytes, before: bytes = b"", behind: bytes = GARBAGE[0]) -> int:
    first, last = len(before), len(before) + len(data)
    return kernel("primitives:find_invalid_utf8")(before + data + behind, first, last) - first


def find_by_python(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(data)


@given(data=st.lists(st.one_of(st.binary(max_size=9), st.text(max_size=9).map(str.encode))))
@settings(max_examples=250, deadline=None)
def test_invalid_utf8_is_found_where_python_finds_it(data: list[bytes]) -> None:
    joined = b"".join(data)
    assert find_by_kernel(joined) == find_by_python(joined)


@pytest.mark.usefixtures("unchecked")
def test_every_start_of_a_character_is_judged_like_python() -> None:
    for lead, second in product(range(0x7F, 0x100), range(0x100)):
        for rest in (b"", b"\x80", b"\xbf\x80", b"\x80A", b"\x7f\x80"):
            data = bytes([lead, second]) + rest
            # What is behind could complete the character, but is not part of the text.
            assert find_by_kernel(data, behind=b"\x80" * 8) == find_by_python(data), data


@pytest.mark.parametrize("num_texts", [1_500, pytest.param(40_000, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
def test_mutated_text_is_judged_like_python(num_texts: int) -> None:
    rng = random.Random(0)
    for _ in range(num_texts):
        data = bytearray(nasty_text(rng, 12).encode())
        for _ in range(rng.randint(0, 2)):
            place = rng.randint(0, len(data))
            data[place : place + rng.randint(0, 2)] = bytes(
                rng.choices(BORDERS, k=rng.randint(0, 3))
            )
        before, behind = rng.choice(GARBAGE)[: rng.randint(0, 9)], rng.choice(GARBAGE)
        assert find_by_kernel(bytes(data), before, behind) == find_by_python(bytes(data)), data


@given(scanner=st.sampled_from(sorted(PATTERNS)), text=TEXTS, behind=TEXTS)
@settings(max_examples=500, deadline=None)
def test_the_last_certain_end_is_one_whatever_follows(scanner: int, text: str, behind: str) -> None:
    place, pattern = find_last_end(text, scanner), PATTERNS[scanner]
    pretokens = pattern.findall(text[:place]) + pattern.findall(text[place:] + behind)
    assert pretokens == pattern.findall(text + behind)
