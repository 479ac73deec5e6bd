import pytest
from hypothesis import given, strategies as st

from lm_alignment.verifiers import (
    AFTER_HASHES,
    ANSWER_TAGS,
    BOXED,
    INTEGERS_ONLY,
    R1_ZERO,
    ExactAnswer,
    as_grader,
    extract_answer,
    parse_gsm8k_response,
    parse_mmlu_response,
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
        (r"\boxed 5 and so on", BOXED, "5"),
        (r"\boxed {5}", BOXED, "5"),
        (r"\fbox{7}", BOXED, "7"),
        (r"\boxed{1} or \fbox{2}", BOXED, "2"),
        ("<think>3</think> <answer> 5 < 6 </answer>", R1_ZERO, "5 < 6"),
        (r"</think> <answer>so \boxed{5}.</answer>", R1_ZERO, "5"),
        ("</think> <answer>1</answer> </think> <answer>2</answer>", R1_ZERO, "2"),
        ("</think><answer>5</answer>", R1_ZERO, None),
        ("</think> <answer>5", R1_ZERO, None),
        ("<think>3</think> <answer> 5 </answer>", ANSWER_TAGS, "5"),
        ("", ANSWER_TAGS, None),
    ],
)
def test_answers_are_found(completion, pattern, answer):
    assert extract_answer(completion, pattern) == answer


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


def test_pattern_needs_one_group():
    with pytest.raises(ValueError, match="one group"):
        ExactAnswer(pattern="[0-9]+")


def test_boxes_without_end_cost_linear_time():
    # Quadratic, this would take minutes.
    assert extract_answer("\\boxed{" * 200_000, BOXED) is None
    assert extract_answer("\\boxed{" * 100_000 + "}" * 100_000, BOXED) == ""


def test_graders_name_their_parts():
    grade = as_grader(ExactAnswer(pattern=R1_ZERO))
    names = ("reward", "format_reward", "answer_reward")
    expected = {"</think> <answer>7</answer>": (1, 1, 1), "</think> <answer>8</answer>": (0, 1, 0)}
    for completion, values in (expected | {"7": (0, 0, 0)}).items():
        assert grade(completion, "7") == dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        ("The correct answer is B. There is one.", "B"),
        ("The correct answer is (C)", "C"),
        ("Answer: **D**", "D"),
        ("B", "B"),
        ("(A) because B is wrong", "A"),
        ("C. ten", "C"),
        ("The answer is A. No, the answer is D.", "D"),
        ("The correct answer is 10000 polyomaviruses.", None),
        ("The answer is a virus", None),
        ("The answer is E", None),
        ("A virus is small", None),
        ("The answer is Dengue", None),
        ("", None),
    ],
)
def test_letters_of_options(completion, letter):
    assert parse_mmlu_response({"options": ["100", "1", "10", "unknown"]}, completion) == letter


@pytest.mark.parametrize(
    ("completion", "number"),
    [
        ("48+24 = 72 clips in May.", "72"),
        ("$1,072,000.50 in all", "1072000.50"),
        ("it fell to -5.", "-5"),
        ("10-5", "5"),
        ("about .5", ".5"),
        ("seventy-two clips", None),
    ],
)
def test_last_number(completion, number):
    assert parse_gsm8k_response(completion) == number
