from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from lm_alignment.verifiers import (
    AFTER_HASHES,
    ANSWER_TAGS,
    BOXED,
    INTEGERS_ONLY,
    ExactAnswer,
    answers_agree,
    extract_answer,
    parse_number,
)


@pytest.mark.parametrize(
    ("completion", "pattern", "answer"),
    [
        (" 42\n", INTEGERS_ONLY, "42"),
        ("3 5 8", INTEGERS_ONLY, "3 5 8"),
        ("3  5", INTEGERS_ONLY, None),
        ("so 42", INTEGERS_ONLY, None),
        ("3 + 4\n#### 7 \n", AFTER_HASHES, "7"),
        ("#### 1\n#### 2", AFTER_HASHES, "2"),
        (r"thus \boxed{\frac} and \boxed{12}", BOXED, "12"),
        (r"\boxed{\frac{1}{2}}", BOXED, r"\frac{1}{2}"),
        (r"\boxed{x^{2}} and { more", BOXED, "x^{2}"),
        (r"\boxed{1} \boxed{ 2 } \boxed{3", BOXED, "2"),
        (r"\boxed{\{1, 2\}}", BOXED, r"\{1, 2\}"),
        (r"\boxed{y = \boxed{3}}", BOXED, "3"),
        (r"} \boxed{4}", BOXED, "4"),
        (r"\boxed{", BOXED, None),
        ("<think>3</think> <answer> 5 </answer>", ANSWER_TAGS, "5"),
        ("", ANSWER_TAGS, None),
    ],
)
def test_answers_are_found(completion, pattern, answer):
    assert extract_answer(completion, pattern) == answer


@pytest.mark.parametrize(
    ("answer", "reference", "agree"),
    [
        ("1,072", "1072", True),
        ("$72", "72", True),
        ("0.5", "1/2", True),
        ("007", "7", True),
        ("72 clips", "72", False),
        ("1,07", "107", False),
        ("1/0", "1", False),
        ("Paris ", " Paris", True),
        ("paris", "Paris", False),
        ("7", "seven", False),
        ("-$5", "-5", True),
        ("$-5", "-5", True),
        ("72.", "72", True),
        (".5", "0.5", True),
        ("-.5", "-1/2", True),
        ("1,234,567", "1234567", True),
        ("1234,567", "1234567", False),
        (".", "0", False),
        ("9{,}500", "9500", True),
        (r"\$9,500", "9500", True),
        ("$9{,}500", "9500", True),
        ("+5", "5", True),
        ("\N{MINUS SIGN}5", "-5", True),
        ("-5", "5", False),
        (r"50\%", "50", True),
        ("x = 7", "7", True),
        ("x = 7", "8", False),
        ("xy = 7", "7", False),
        ("+-5", "5", False),
        ("1...", "1", False),
        ("1..", "1", False),
        ("--5", "5", False),
    ],
)
def test_agreement(answer, reference, agree):
    assert answers_agree(answer, reference) is agree


@given(st.fractions())
def test_parse_number_reads_every_fraction(value):
    expected = value if len(str(value.numerator).strip("-")) <= 40 else None
    assert parse_number(f"{value.numerator}/{value.denominator}") == expected


@given(st.decimals(-1000, 1000, places=3))
def test_parse_number_reads_decimals_exactly(value):
    assert parse_number(str(value)) == Fraction(value)


@given(st.text(max_size=60))
def test_verdict_never_raises_and_is_zero_or_one(completion):
    reward = ExactAnswer()("question", completion, "7")
    assert reward.value in (0.0, 1.0)
    assert reward.value == reward.parts["answer"] <= reward.parts["format"]


def test_reward_says_why():
    judge = ExactAnswer()
    assert judge("", "7", "7").reason == "right"
    assert judge("", "8", "7").reason == "expected '7', got '8'"
    assert judge("", "eight", "7").reason == "no answer found"


def test_a_huge_number_is_no_number_and_costs_nothing():
    assert parse_number("9" * 100_000) is None


def test_pattern_needs_one_group():
    with pytest.raises(ValueError, match="one group"):
        ExactAnswer(pattern="[0-9]+")


def test_boxes_without_end_cost_linear_time():
    # Quadratic, this would take minutes.
    assert extract_answer("\\boxed{" * 200_000, BOXED) is None
    assert extract_answer("\\boxed{" * 100_000 + "}" * 100_000, BOXED) == ""
