"""HTML to text, with resiliparse, and text to plain white space."""

import logging
import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import DOMContext, HTMLTree, traverse_dom

from lm_data.convert.charset import decode_page

logger = logging.getLogger(__name__)

MAX_ANCESTOR_STEPS = 20_000_000
"""Depths of all nodes of a page together up to which its main content is looked for: about two
seconds. Of 246 real pages the deepest in this sense has 0.8 million."""
# Space characters that fastText and other tools which split at ASCII spaces take for letters, and
# the breaks of pages and lines of a terminal.
SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\x0b\x0c\x1c-\x1f]")
LINE_BREAKS = re.compile("\r\n|[\r\u2028\u2029]")
# Control characters, soft hyphens, byte order marks, and marks that steer only the direction of
# display. Joiners stay: with them words are other words, and emoji others. So does the space of no
# width in the scripts of Thailand, Laos, Myanmar and Cambodia, which write no other between words.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\x81\x8d\x8f\x90\x9d\u00ad\u061c\u200e\u200f\u202a-\u202e\u2060"
    "\u2066-\u2069\ufeff]|(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b"
)
# Bytes of Windows-1252 that were taken for ISO-8859-1 (WHATWG HTML, numeric character references).
C1_CONTROLS = re.compile("[\x80-\x9f]")
# The extractor puts tabs between the cells of a table; at the beginning of a line they are depth.
# Begins only where a run of blanks begins, and gives nothing back: a long run costs linear time.
TABS = re.compile(r"(?<=[^ \t\n]) *+\t[ \t]*+")
BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class HtmlConfig:
    """How pages become text."""

    main_content: bool = True
    """Leave out navigation, banners, side bars and footers, as far as resiliparse recognizes
    them; False extracts all visible text, which is also what happens to pages whose elements
    are nested beyond all sense."""
    max_characters: int = 10_000_000
    """Longer texts are cut off here."""

    def __post_init__(self) -> None:
        if self.max_characters < 1:
            raise ValueError(f"max_characters={self.max_characters} is not positive")


def extract_text(body: bytes, *, charset: str | None = None, main_content: bool = False) -> str:
    """Return the visible text of an HTML page, one line per block element.

    Args:
        body: The page.
        charset: What the HTTP header declares.
        main_content: Leave out what is no main content.

    For the main content resiliparse walks from every node up to the root, so a page of nested
    elements takes quadratic time. Where that would exceed ``MAX_ANCESTOR_STEPS``, all visible text
    is returned instead, and a warning logged.
    """
    text = decode_page(body, charset)
    if not main_content:
        return extract_plain_text(text)
    tree = HTMLTree.parse(text)
    steps = _count_ancestor_steps(tree)
    if steps > MAX_ANCESTOR_STEPS:
        logger.warning("a page of %d bytes is nested too deeply for its main content", len(body))
    return extract_plain_text(tree, main_content=steps <= MAX_ANCESTOR_STEPS)


def normalize_whitespace(text: str) -> str:
    """Use plain spaces and newlines only, end no line in spaces, leave at most one blank line.

    The blanks and tabs with which a line begins stay: they are the depth of code.
    """
    text = INVISIBLE.sub("", LINE_BREAKS.sub("\n", text))
    text = C1_CONTROLS.sub(lambda match: match[0].encode("latin-1").decode("cp1252"), text)
    text = TABS.sub(" ", SPACES.sub(" ", text))
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", text).strip("\n")


def _count_ancestor_steps(tree: HTMLTree) -> int:
    steps = 0

    def add_depth(context: DOMContext) -> None:
        nonlocal steps
        steps += context.depth

    if tree.body is not None:
        traverse_dom(tree.body, add_depth)
    return steps
