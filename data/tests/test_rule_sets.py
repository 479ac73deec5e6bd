import pytest

from lm_data.filters.c4 import C4Config, clean_page, count_sentences
from lm_data.filters.fineweb import FINEWEB, short_line_share
from lm_data.filters.gopher import (
    GOPHER,
    REPETITION,
    repeated_ngram_share,
    top_ngram_share,
)
from lm_data.filters.text_parts import TextParts, find_broken_rule

RULES = {rule.name: rule for rule in (*GOPHER, *REPETITION, *FINEWEB)}
CHINESE = "\u6b22\u8fce\u6765\u5230\u6211\u4eec\u7684\u7f51\u7ad9\u3002\n" * 20


def numbered(count, start=0):
    return [f"w{number:04d}" for number in range(start, start + count)]


def repeat_words(size, num_repeated):
    """A thousand words of five characters, of which so many repeat n-grams that stood before."""
    ngram = numbered(size)
    assert num_repeated % size == 0
    blocks = [ngram, *([[f"x{n:04d}", *ngram] for n in range(num_repeated // size)])]
    words = [word for block in blocks for word in block]
    return " ".join(words + numbered(1000 - len(words), start=2000))


LONG_LINE = "a line of more than thirty characters, number "
BORDERS = [
    ("too_many_hashes", "# word" + " word" * 8, "# # word" + " word" * 8),
    ("too_many_inner_ellipses", "on... word" + " word" * 8, "on\u2026 on... word" + " word" * 8),
    ("too_many_bullets", "\u2022 one\n" * 9 + "two", "- one\n" * 10 + "\u2022 two"),
    ("too_few_stop_words", "The word of", "the the the word"),
    (
        "repeated_lines",
        "one\n" * 4 + "\n".join(numbered(6)),
        "one\n" * 5 + "\n".join(numbered(6)),
    ),
    (
        "repeated_paragraphs",
        "one\n\n" * 4 + "\n\n".join(numbered(6)),
        "one\n\n" * 5 + "\n\n".join(numbered(6)),
    ),
    (
        "repeated_line_characters",
        "w9999\n" * 3 + "\n".join(numbered(7)),
        "w9999\n" * 4 + "\n".join(numbered(7)),
    ),
    (
        "repeated_paragraph_characters",
        "w9999\n\n" * 3 + "\n\n".join(numbered(7)),
        "w9999\n\n" * 4 + "\n\n".join(numbered(7)),
    ),
    ("top_2_gram", repeat_words(2, 198), repeat_words(2, 200)),
    ("top_3_gram", repeat_words(3, 177), repeat_words(3, 180)),
    ("top_4_gram", repeat_words(4, 156), repeat_words(4, 160)),
    ("repeated_5_grams", repeat_words(5, 150), repeat_words(5, 155)),
    ("repeated_6_grams", repeat_words(6, 138), repeat_words(6, 144)),
    ("repeated_7_grams", repeat_words(7, 126), repeat_words(7, 133)),
    ("repeated_8_grams", repeat_words(8, 120), repeat_words(8, 128)),
    ("repeated_9_grams", repeat_words(9, 108), repeat_words(9, 117)),
    ("repeated_10_grams", repeat_words(10, 100), repeat_words(10, 110)),
    ("too_few_punctuated_lines", "Yes.\n" * 13 + "no\n" * 87, "Yes.\n" * 12 + "no\n" * 88),
    (
        "too_many_repeated_lines",
        "w9999\n" * 2 + "\n".join(numbered(9)),
        "w9999\n" * 2 + "\n".join(numbered(8)),
    ),
    (
        "too_many_short_lines",
        "short\n" * 66 + f"{LONG_LINE}\n" * 34,
        "short\n" * 67 + f"{LONG_LINE}\n" * 33,
    ),
]


@pytest.mark.parametrize(("name", "inside", "beyond"), BORDERS, ids=[one[0] for one in BORDERS])
def test_each_rule_holds_at_its_border_and_not_beyond(name, inside, beyond):
    rule = RULES[name]
    assert find_broken_rule(inside, [rule]) is None
    assert find_broken_rule(beyond, [rule]) == (name, rule.measure(TextParts(beyond)))


def test_every_rule_has_a_border():
    assert sorted(RULES) == sorted(one[0] for one in BORDERS)


def test_overlapping_ngrams_count_each_character_once():
    assert top_ngram_share(TextParts("a a a a"), size=2) == 1.0
    # The n-grams that stand again cover all but the last word.
    assert repeated_ngram_share(TextParts("a " * 10), size=5) == pytest.approx(0.9)


def test_an_ngram_that_stands_once_is_no_repetition():
    assert top_ngram_share(TextParts("two words"), size=2) == 0.0
    assert top_ngram_share(TextParts("one"), size=2) == 0.0
    assert repeated_ngram_share(TextParts(""), size=5) == 0.0


@pytest.mark.parametrize("length", [30, 31])
def test_a_short_line_has_thirty_characters_at_most(length):
    assert short_line_share(TextParts("x" * length)) == (length == 30)


def test_prose_passes_all_rules_and_chinese_none_of_those_about_words():
    prose = "\n".join(
        f"The house of number {n} has a door that people have opened {n} times." for n in range(9)
    )
    for rules in (GOPHER, FINEWEB):
        assert find_broken_rule(prose, rules) is None
    assert find_broken_rule(CHINESE, [rule for rule in RULES.values() if rule.needs != "lines"]) \
        is None  # fmt: skip
    assert find_broken_rule(CHINESE, REPETITION)[0] == "repeated_lines"  # type: ignore[index]


SENTENCE = "The people have read this page with care.\n"


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("It has just five words.", True),
        ("It has four words.", False),
        ("This line does not end a sentence", False),
        ("This line trails off into nothing...", False),
        ('He said that it was "enough for today"', True),
        ("Please enable JavaScript to read this page.", False),
        ("Read our Privacy Policy before you go on.", False),
        (f"The longest of all these words: {'x' * 999}.", True),
        (f"The longest of all these words: {'x' * 1000}.", False),
    ],
)
def test_c4_keeps_lines_of_prose(line, stays):
    text, reason = clean_page(SENTENCE * 3 + line, C4Config())
    assert reason is None
    assert (line in text.splitlines()) == stays


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (SENTENCE * 3, None),
        (SENTENCE * 2, "too_few_sentences"),
        (SENTENCE.strip() + " It was good! Was it not?", None),
        (SENTENCE * 3 + "Lorem ipsum dolor sit amet.", "lorem_ipsum"),
        (SENTENCE * 3 + "function() {", "curly_bracket"),
        (CHINESE, None),
    ],
)
def test_c4_drops_pages_with_their_reason(page, reason):
    assert clean_page(page, C4Config())[1] == reason


def test_c4_removes_citation_marks_before_it_looks_at_the_end():
    text, _ = clean_page(
        SENTENCE * 3 + "Snow is white and it is cold.[12][citation needed]", C4Config()
    )
    assert text.splitlines()[-1] == "Snow is white and it is cold."


def test_without_terminal_punctuation_open_lines_stay():
    lines = "a line of five words\n" * 3
    assert clean_page(lines, C4Config(terminal_punctuation=False)) == (lines.strip(), None)


def test_bad_words_are_whole_words_and_phrases(tmp_path):
    (tmp_path / "words.txt").write_text("Cucumber\nred onion\n\n")
    config = C4Config(bad_words_path=tmp_path / "words.txt")
    assert clean_page(SENTENCE * 3 + "No CUCUMBER is in here today.", config)[1] == "bad_words"
    assert clean_page(SENTENCE * 3 + "A red, onion is in here today.", config)[1] == "bad_words"
    assert clean_page(SENTENCE * 3 + "Cucumbers and red peppers are here.", config)[1] is None


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two? Three!", 3),
        ("Version 2.5 is here.", 1),
        ('"One." Two.', 2),
    ],
)
def test_sentences_end_before_white_space(line, count):
    assert count_sentences(line) == count


def test_c4_settings_cannot_be_negative():
    with pytest.raises(ValueError, match="min_sentences=-1"):
        C4Config(min_sentences=-1)


@pytest.mark.parametrize(
    "piece", ["x", "x ", " ", "\n", "\n \n", "# ", "...", "[", "a.\n", "[1] ", "\u6b22"]
)
def test_huge_uniform_texts_do_not_take_forever(piece):
    text = piece * (300_000 // len(piece))
    for rule in RULES.values():
        assert rule.measure(TextParts(text)) >= 0.0
    clean_page(text, C4Config())
