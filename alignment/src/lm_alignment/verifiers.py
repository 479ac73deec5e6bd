"""Verdicts on completions: what a verifier is, and the one for answers that are right or wrong.

The latter finds the answer and compares it with the reference, see ``maths``: "1,072" is 1072,
"0.5" is 1/2.
"""

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from string import ascii_uppercase
from typing import Any, Literal

from lm_alignment.maths import answers_agree
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

R1_ZERO = r"</think> <answer>((?:(?!<answer>|</answer>)[\s\S])*)</answer>"
"""The answer stands between tags right behind the end of the thoughts."""

VerifierName = Literal["integers", "hashes", "boxed", "tags"]
PATTERNS: dict[VerifierName, str] = {
    "integers": INTEGERS_ONLY,
    "hashes": AFTER_HASHES,
    "boxed": BOXED,
    "tags": ANSWER_TAGS,
}
"""Where an answer stands, by the names of the command line."""

_BOXES_AND_BRACES = re.compile(
    r"\\(?:boxed|fbox)(?:(?P<box>\s*\{)|\s+(?P<bare>[^\s{}$]+))|\\[{}]|[{}]"
)
_ANSWER_IS_LETTER = r"(?i:answer(?:\s+is)?)\W*([{letters}])\b(?!')"
_STARTS_WITH_LETTER = r"\A\s*\(?([{letters}])(?:[).:,]|\s*\Z)"
_LAST_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:[0-9][0-9,]*)?\.?[0-9]+")


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
Grader = Callable[[str, str], Mapping[str, float]]
"""(completion, reference) -> ``reward`` and its parts, such as ``format_reward``."""


def as_grader(reward_function: RewardFunction) -> Grader:
    """Return the function as a grader, for rewards that do not depend on the prompt.

    Of ``ExactAnswer(pattern=R1_ZERO)`` and ``ExactAnswer(pattern=BOXED)`` these are the graders of
    R1-Zero's prompt and of a bare question.
    """

    def grade(completion: str, reference: str) -> dict[str, float]:
        reward = reward_function("", completion, reference)
        parts = {f"{name}_reward": value for name, value in reward.parts.items()}
        return {"reward": reward.value, **parts}

    return grade


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
    if not answers:
        return None
    # The tags of R1-Zero may hold a box.
    boxed = _last_boxed(answers[-1]) if pattern == R1_ZERO else None
    return answers[-1].strip() if boxed is None else boxed


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


def parse_mmlu_response(example: Mapping[str, Any], completion: str) -> str | None:
    """Return the letter of the option that is chosen, or None where none is named.

    Args:
        example: Its ``options`` say which letters there are.
        completion: ``The answer is B``, or begins with the letter: ``(B) …``, ``B.``, ``B``.
    """
    letters = ascii_uppercase[: len(example["options"])]
    for pattern in (_ANSWER_IS_LETTER, _STARTS_WITH_LETTER):
        chosen = re.findall(pattern.replace("{letters}", letters), completion)
        if chosen:
            return chosen[-1]
    return None


def parse_gsm8k_response(completion: str) -> str | None:
    """Return the last number, without commas, or None where there is none."""
    numbers = _LAST_NUMBER.findall(completion)
    return numbers[-1].replace(",", "") if numbers else None


def _last_boxed(completion: str) -> str | None:
    r"""Return the content of the closed box that begins last, in one pass."""
    starts: list[int | None] = []
    last: tuple[int, int] | None = None
    for token in _BOXES_AND_BRACES.finditer(completion):
        if token["bare"]:
            last = token.span("bare")
        elif token["box"]:
            starts.append(token.end())
        elif token[0] == "{":
            starts.append(None)
        elif token[0] == "}" and starts:
            start = starts.pop()
            if start is not None and (last is None or start > last[0]):
                last = start, token.start()
    return None if last is None else completion[slice(*last)].strip()
