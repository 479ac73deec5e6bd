"""FineWeb's own rules (Penedo et al., 2024, section 3.6), and the rule sets that it combines.

The limits are those of the paper; a document that reaches one is dropped. For repeated lines its
program has 0.01 by default and not the paper's 0.1. Shares are of lines with text.
"""

from typing import Literal

from lm_data.filters.gopher import GOPHER, REPETITION, repeated_character_share
from lm_data.filters.text_parts import Rule, TextParts, share

SHORT_LINE_LENGTH = 30
# Also of Chinese and Japanese, Arabic and Urdu, Hindi, Armenian, Amharic.
END_MARKS = (".", "!", "?", '"', "'", "”", "’", "…", *"。！？」』؟۔।։።")  # noqa: RUF001


def punctuated_share(parts: TextParts) -> float:
    """Return the share of lines that end in a punctuation mark."""
    return share(sum(line.endswith(END_MARKS) for line in parts.lines), len(parts.lines))


def short_line_share(parts: TextParts) -> float:
    """Return the share of lines of at most 30 characters."""
    num_short = sum(len(line) <= SHORT_LINE_LENGTH for line in parts.lines)
    return share(num_short, len(parts.lines))


FINEWEB = (
    Rule("too_few_punctuated_lines", punctuated_share, ">", 0.12, "lines"),
    Rule(
        "too_many_repeated_lines",
        lambda parts: repeated_character_share(parts.lines),
        "<",
        0.1,
        "lines",
    ),
    # A line of Chinese says in 30 characters what English says in a hundred.
    Rule("too_many_short_lines", short_line_share, "<", 0.67),
)

RuleSet = Literal["repetition", "gopher", "c4", "fineweb"]
"""Published rules that may be added to the course's selection of Gopher's."""

RULE_SETS: dict[RuleSet, tuple[Rule, ...]] = {
    "repetition": REPETITION,
    "gopher": GOPHER,
    # These change the text as well, and are the function ``clean_page``.
    "c4": (),
    "fineweb": FINEWEB,
}
"""Their rules, in the order in which FineWeb applies them."""
