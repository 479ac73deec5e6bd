import csv
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from lm_alignment.maths import answers_agree, parse_number

with (Path(__file__).parent / "math_answers.tsv").open(encoding="utf-8") as file:
    _, *PAIRS = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
# Right, but not read.
REFUSED = {
    (r"3\text{ million}", "3000000"),
    (r"\pi 2", r"2\pi"),
    ("xy", r"x \cdot y"),
    (r"\begin{pmatrix} \frac12 \\ 2 \end{pmatrix}", r"\begin{pmatrix}0.5\\2\end{pmatrix}"),
    (r"0.\overline{3}", r"\frac{1}{3}"),
}


@pytest.mark.parametrize(("answer", "reference", "right"), PAIRS)
def test_no_wrong_answer_is_accepted_and_few_right_ones_are_refused(answer, reference, right):
    expected = right == "1" and (answer, reference) not in REFUSED
    assert answers_agree(answer, reference) is expected
    assert answers_agree(reference, answer) is expected


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


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("1/2x", r"\frac{x}{2}"),
        ("1/2x", r"\frac{1}{2x}"),
        (r"2\frac{3}{2}", "3"),
        (r"2\frac{3}{2}", "7/2"),
        ("x2", "2x"),
        ("a b", "b a"),
        ("to be", "be to"),
    ],
)
def test_what_could_mean_two_things_is_not_read(text, reading):
    assert not answers_agree(text, reading)
    assert answers_agree(text, text)


@st.composite
def expressions(draw, depth=3) -> tuple[str, float]:
    """Return an expression and its value at x = 1.7."""
    kind = draw(st.sampled_from(["number", "x", "pi", "root"] + depth * ["sum", "times", "frac"]))
    if kind == "number":
        number = draw(st.integers(1, 6))
        return str(number), number
    if kind in ("x", "pi"):
        return ("x", 1.7) if kind == "x" else (r"\pi", math.pi)
    if kind == "root":
        number = draw(st.integers(1, 12))
        return rf"\sqrt{{{number}}}", math.sqrt(number)
    (a, value), (b, other) = (draw(expressions(depth=depth - 1)) for _ in range(2))
    if kind == "sum":
        return f"({a} - {b})", value - other
    if kind == "times":
        return rf"{a} \cdot {b}", value * other
    return (rf"\frac{{{a}}}{{{b}}}", value / other) if other else (a, value)


@given(expressions(), expressions())
def test_expressions_agree_where_their_values_do(first, second):
    (text, value), (other_text, other) = first, second
    assert answers_agree(text, f"{other_text} + ({text}) - {other_text}")
    if not math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-9):
        assert not answers_agree(text, other_text)


@given(st.text(alphabet=r"0123.,+-*/^()[]{}x\\ $%=_", max_size=40))
def test_any_two_texts_are_compared(text):
    assert answers_agree(text, text)
    answers_agree(text, f"({text})")
    parse_number(text)


@pytest.mark.parametrize(
    "text",
    ["(" * 150, "1+(" * 60 + "1" + ")" * 60, "x=" * 150, r"\frac" * 50, "((x+1)^{40})^{40}"],
)
def test_deep_and_large_texts_are_no_numbers(text):
    assert parse_number(text) is None
    assert not answers_agree(text, "1")


def test_a_huge_number_is_no_number_and_costs_nothing():
    assert parse_number("9" * 100_000) is None
