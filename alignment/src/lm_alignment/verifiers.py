"""Verdicts on completions: what a verifier is, and the one for answers that are right or wrong.

The latter finds the answer and compares it with the reference. Two answers are equal when they
spell the same number ("1,072" and "1072", "0.5" and "1/2") or are the same text after trimming.
"""

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from fractions import Fraction
from typing import Literal

from lm_shared.config import to_dict

INTEGERS_ONLY = r"\A\s*(-?[0-9]+(?: -?[0-9]+)*)\s*\Z"
"""The completion is one integer, or several with single spaces between, and nothing else."""
AFTER_HASHES = r"####[ \t]*([^\n]+)"
"""The answer follows ``####``, as in GSM8K."""
BOXED = r"\\boxed\{(.*)\}"
r"""The answer stands in ``\boxed{}``, as in MATH.

Of this pattern the braces are matched, which no regular expression can do: of ``\boxed{x^{2}}`` the
answer is ``x^{2}``.
"""
ANSWER_TAGS = r"<answer>([^<]*)</answer>"
"""The answer stands between tags, as in R1-Zero."""

VerifierName = Literal["integers", "hashes", "boxed", "tags"]
PATTERNS: dict[VerifierName, str] = {
    "integers": INTEGERS_ONLY,
    "hashes": AFTER_HASHES,
    "boxed": BOXED,
    "tags": ANSWER_TAGS,
}
"""Where an answer stands, by the names of the command line."""

# Bounded repetitions: int() refuses thousands of digits, and a fraction of them would be slow.
_DIGITS = r"[0-9]{1,40}"
# Commas only between groups of three: "1234,567" is no number.
_INTEGER = rf"(?:{_DIGITS}|[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,12}})"
_NUMBER = re.compile(
    rf"(?:-\$?|\$-?|\+)?(?P<value>(?:{_INTEGER})?\.{_DIGITS}|{_INTEGER}(?:/(?P<denominator>{_INTEGER}))?)"
)
# How LaTeX and typesetters write what stands in a number, and what may stand around it.
_SPELLINGS = {
    r"\$": "$",
    "{,}": ",",
    r"\!": "",
    r"\,": "",
    r"\%": "",
    "%": "",
    "\N{MINUS SIGN}": "-",
}
_UNKNOWN = re.compile(r"\A[a-zA-Z]\s*=\s*")
_BOXES_AND_BRACES = re.compile(r"\\boxed\{|\\[{}]|[{}]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """A verdict on one completion."""

    value: float
    """What reinforcement learning maximizes."""
    parts: Mapping[str, float]
    """What the value is made of, by name; ``format`` says whether an answer could be read."""
    reason: str
    """Why, for people."""


RewardFunction = Callable[[str, str, str], Reward]
"""(prompt, completion, reference) -> reward; must be pure, and never raise on a completion."""


def describe_verifier(reward_function: RewardFunction) -> str:
    """Return what tells one verifier from another, for a run's record.

    A dataclass object is described by its class and its fields, a function by its name, any other
    object by its class alone.

    Raises:
        TypeError: a field of the dataclass has no JSON form.
    """
    if is_dataclass(reward_function) and not isinstance(reward_function, type):
        return f"{_name(type(reward_function))} {json.dumps(to_dict(reward_function))}"
    named = hasattr(reward_function, "__qualname__")
    return _name(reward_function if named else type(reward_function))


def _name(thing: Callable[..., object]) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactAnswer:
    """A ``RewardFunction``: 1 for the reference's answer, 0 for anything else.

    The part ``format`` is 1 when an answer could be read at all; it earns nothing by itself.
    """

    pattern: str = INTEGERS_ONLY
    """Regular expression whose only group is the answer; of several matches the last one counts."""

    def __post_init__(self) -> None:
        num_groups = re.compile(self.pattern).groups
        if num_groups != 1:
            raise ValueError(f"expected a pattern with one group, got {self.pattern!r}")

    def __call__(self, prompt: str, completion: str, reference: str) -> Reward:
        """Judge ``completion``; the prompt plays no part."""
        answer = extract_answer(completion, self.pattern)
        if answer is None:
            return Reward(value=0.0, parts={"format": 0.0, "answer": 0.0}, reason="no answer found")
        is_right = answers_agree(answer, reference)
        value = float(is_right)
        return Reward(
            value=value,
            parts={"format": 1.0, "answer": value},
            reason="right" if is_right else f"expected {reference!r}, got {answer!r}",
        )


def extract_answer(completion: str, pattern: str = INTEGERS_ONLY) -> str | None:
    """Return the last match's group, trimmed, or None where there is no match."""
    if pattern == BOXED:
        return _last_boxed(completion)
    answers = re.findall(pattern, completion)
    return answers[-1].strip() if answers else None


def find_reference(solution: str, pattern: str = INTEGERS_ONLY) -> str:
    """Return the answer of a worked solution: by the pattern, after ``####``, or all of it.

    Raises:
        ValueError: it is text, and the pattern reads integers: no completion could agree.
    """
    found = (extract_answer(solution, one) for one in (pattern, AFTER_HASHES))
    reference = next((one for one in found if one), solution.strip())
    if pattern == INTEGERS_ONLY and extract_answer(reference, pattern) is None:
        # Not one that only digits can spell, such as 1,072 or $5.
        digits = re.sub(r"[^0-9-]", "", reference)
        if extract_answer(digits) is None or not answers_agree(digits, reference):
            raise ValueError(
                f"{reprlib.repr(reference)} is no integer, and the verifier accepts nothing else"
            )
    return reference


def answers_agree(answer: str, reference: str) -> bool:
    """Say whether both spell the same number, or failing that the same text."""
    # Exact fractions: floats would call some different numbers equal.
    numbers = parse_number(answer), parse_number(reference)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return answer.strip() == reference.strip()


def parse_number(text: str) -> Fraction | None:
    """Return the exact value of an integer, decimal or fraction; None for anything else.

    A sign or a dollar sign before it, commas between thousands, a percent sign behind it, which
    changes nothing, the unknown that it is the value of (``x = 7``), the period of a sentence, and
    LaTeX's spellings of these are allowed.
    """
    text = text.strip().removesuffix(".")
    for spelling, plain in _SPELLINGS.items():
        text = text.replace(spelling, plain)
    match = _NUMBER.fullmatch(_UNKNOWN.sub("", text.strip()))
    if match is None:
        return None
    denominator = match["denominator"]
    if denominator is not None and int(denominator.replace(",", "")) == 0:
        return None
    value = Fraction(match["value"].replace(",", ""))
    return -value if "-" in match[0] else value


def _last_boxed(completion: str) -> str | None:
    r"""Return the content of the closed ``\boxed{}`` that begins last, in one pass."""
    starts: list[int | None] = []
    last: tuple[int, int] | None = None
    for token in _BOXES_AND_BRACES.finditer(completion):
        if token[0] == r"\boxed{":
            starts.append(token.end())
        elif token[0] == "{":
            starts.append(None)
        elif token[0] == "}" and starts:
            start = starts.pop()
            if start is not None and (last is None or start > last[0]):
                last = start, token.start()
    return None if last is None else completion[slice(*last)].strip()
