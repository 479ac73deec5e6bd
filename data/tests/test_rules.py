import pytest

from lm_data.filters.rules import (
    GopherConfig,
    find_failed_rule,
    measure_gopher,
    passes_gopher_rules,
)


def failed(text):
    return find_failed_rule(measure_gopher(text), GopherConfig())


@pytest.mark.parametrize(
    ("text", "rule", "value"),
    [
        ("should " * 49, "too_few_words", 49),
        ("should " * 100_001, "too_many_words", 100_001),
        ("be " * 100, "words_too_short", 2.0),
        ("abcdefghijk " * 100, "words_too_long", 11.0),
        (
            "words of a line that ends...\n" * 31 + "words of a line\n" * 69,
            "too_many_ellipses",
            0.31,
        ),
        ("word " * 79 + "1234 " * 21, "too_few_letters", 0.79),
    ],
)
def test_each_rule_fails_just_beyond_its_limit(text, rule, value):
    assert failed(text) == (rule, pytest.approx(value))
    assert not passes_gopher_rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "should " * 50,
        "should " * 100_000,
        "the " * 100,
        "abcdefghij " * 100,
        "words of a line that ends...\n" * 30 + "words of a line\n" * 70,
        "word " * 80 + "1234 " * 20,
    ],
)
def test_each_limit_itself_passes(text):
    assert failed(text) is None
    assert passes_gopher_rules(text)


def test_the_unicode_ellipsis_counts_and_blank_lines_do_not():
    measured = measure_gopher("one\u2026\n\n\ntwo \n three...  \n")
    assert measured.ellipsis_share == pytest.approx(2 / 3)


def test_empty_text_is_measured_as_zero():
    measured = measure_gopher(" \n ")
    assert (measured.num_words, measured.mean_word_length, measured.alphabetic_share) == (0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_words": 10, "max_words": 5}, "min_words=10 exceeds max_words=5"),
        ({"min_mean_word_length": 11.0}, "exceeds"),
        ({"max_ellipsis_share": 1.1}, r"max_ellipsis_share=1\.1"),
        ({"min_alphabetic_share": -0.1}, r"min_alphabetic_share=-0\.1"),
    ],
)
def test_impossible_limits_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        GopherConfig(**fields)
