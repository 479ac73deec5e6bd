import pytest

from lm_data.filters.text_parts import Rule, TextParts, find_broken_rule, has_spaced_words


@pytest.mark.parametrize(
    ("text", "has_words"),
    [
        ("Plain English.", True),
        ("Ein Satz mit Umlauten: \u00e4\u00f6\u00fc.", True),
        ("\ud55c\uad6d\uc5b4\ub294 \ub744\uc5b4 \uc4f4\ub2e4.", True),
        ("\u6b22\u8fce\u6765\u5230\u6211\u4eec\u7684\u7f51\u7ad9", False),
        ("\u3053\u308c\u306f\u65e5\u672c\u8a9e\u3067\u3059", False),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", False),
        ("An English sentence about \u5317\u4eac.", True),
        ("1 + 1 = 2 \u2026", True),
        ("", True),
    ],
)
def test_scripts_without_spaces_are_recognized(text, has_words):
    assert has_spaced_words(text) == has_words


def test_lines_and_paragraphs_have_text():
    parts = TextParts("one\ntwo \n\n \n three\n")
    assert parts.lines == ["one", "two", "three"]
    assert parts.paragraphs == ["one\ntwo", "three"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_equal_ngrams_and_no_others_have_equal_numbers(size):
    words = ["a", "b", "a", "b", "a", "c", "a", "b"]
    numbers = TextParts(" ".join(words)).number_ngrams(size)
    ngrams = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    assert len(numbers) == len(ngrams)
    for left, one in zip(numbers, ngrams, strict=True):
        assert [left == right for right in numbers] == [one == other for other in ngrams]


def test_ngrams_may_be_asked_for_in_any_order():
    parts = TextParts("a b a b c")
    assert parts.number_ngrams(4).tolist() == TextParts("a b a b c").number_ngrams(4).tolist()
    assert len(set(parts.number_ngrams(2).tolist())) == 3


@pytest.mark.parametrize(
    ("needs", "text", "is_english", "is_asked"),
    [
        ("lines", "\u4e2d\u6587", False, True),
        ("words", "\u4e2d\u6587", True, False),
        ("words", "ein Wort", False, True),
        ("english", "ein Wort", False, False),
        ("english", "a word", True, True),
    ],
)
def test_a_rule_passes_over_texts_that_it_is_not_about(needs, text, is_english, is_asked):
    rule = Rule("never", lambda parts: 1.0, "<", 1.0, needs)
    broken = find_broken_rule(text, [rule], is_english=is_english)
    assert broken == (("never", 1.0) if is_asked else None)
