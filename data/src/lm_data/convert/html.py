"""HTML to text, with resiliparse.

Real pages lie about their charset, so the declared one is not asked: bytes that are valid UTF-8 are
UTF-8, since texts in other eight-bit encodings practically never look so by chance, and anything
else is detected. ISO-2022-JP and UTF-16 without a byte order mark can be valid UTF-8 too: escape
sequences and zero bytes, which no other page holds, tell them.
"""

import logging
import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import DOMContext, HTMLTree, traverse_dom

logger = logging.getLogger(__name__)

FALLBACK_ENCODING = "cp1252"
BYTE_ORDER_MARK = "\ufeff"
# ISO-2022-JP switches to two-byte characters so.
JAPANESE_ESCAPES = (b"\x1b$@", b"\x1b$B")
MIN_ZERO_SHARE = 0.3
"""Least share of zero bytes in UTF-16; markup alone makes most second bytes of a page zero."""
MAX_ANCESTOR_STEPS = 20_000_000
"""Depths of all nodes of a page together up to which its main content is looked for: about two
seconds. Of 246 real pages the deepest in this sense has 0.8 million."""
# Space characters that fastText and other tools which split at ASCII spaces take for letters.
UNUSUAL_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
INVISIBLE = re.compile(
    "[\u00ad\u200b-\u200f\u2060\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]"
)
# The extractor puts a tab between the cells of a table.
# Begins only where a run of blanks begins, and gives nothing back: a long run costs linear time.
TABS = re.compile(r"(?<![ \t]) *+\t[ \t]*+")
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


def decode_page(body: bytes) -> str:
    """Decode as UTF-8, else in the detected encoding; bytes that fit no encoding are left out."""
    hidden = _find_ascii_encoding(body)
    if hidden is not None:
        return bytes_to_str(body, hidden, errors="ignore")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return bytes_to_str(body, detect_encoding(body) or FALLBACK_ENCODING, errors="ignore")
    return text.removeprefix(BYTE_ORDER_MARK)


def extract_text(body: bytes, *, main_content: bool = False) -> str:
    """Return the visible text of an HTML page, one line per block element.

    For the main content resiliparse walks from every node up to the root, so a page of nested
    elements takes quadratic time. Where that would exceed ``MAX_ANCESTOR_STEPS``, all visible text
    is returned instead, and a warning logged.
    """
    text = decode_page(body)
    if not main_content:
        return extract_plain_text(text)
    tree = HTMLTree.parse(text)
    steps = _count_ancestor_steps(tree)
    if steps > MAX_ANCESTOR_STEPS:
        logger.warning("a page of %d bytes is nested too deeply for its main content", len(body))
    return extract_plain_text(tree, main_content=steps <= MAX_ANCESTOR_STEPS)


def normalize_whitespace(text: str) -> str:
    """Use plain spaces and newlines only, end no line in spaces, leave at most one blank line."""
    text = UNUSUAL_SPACES.sub(" ", INVISIBLE.sub("", text.replace("\r\n", "\n")))
    text = TABS.sub(" ", text)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", text).strip()


def _find_ascii_encoding(body: bytes) -> str | None:
    """Return the encoding of a page whose bytes may pass for UTF-8 although it is not."""
    if any(escape in body for escape in JAPANESE_ESCAPES):
        return "iso2022_jp" if body.isascii() else None
    if body.count(0) <= MIN_ZERO_SHARE * len(body) or body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    # Where the zero bytes stand tells which half of a character comes first.
    odd = body[1::2].count(0)
    return "utf-16-le" if 2 * odd > body.count(0) else "utf-16-be"


def _count_ancestor_steps(tree: HTMLTree) -> int:
    steps = 0

    def add_depth(context: DOMContext) -> None:
        nonlocal steps
        steps += context.depth

    if tree.body is not None:
        traverse_dom(tree.body, add_depth)
    return steps
