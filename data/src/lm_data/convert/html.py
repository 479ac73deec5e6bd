"""HTML to text, with resiliparse.

Real pages lie about their charset, so the declared one is not asked: bytes that are valid UTF-8 are
UTF-8, since other encodings practically never look so by chance, and anything else is detected.
"""

import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

FALLBACK_ENCODING = "cp1252"
BYTE_ORDER_MARK = "\ufeff"
# Space characters that fastText and other tools which split at ASCII spaces take for letters.
UNUSUAL_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
INVISIBLE = re.compile(
    "[\u00ad\u200b-\u200f\u2060\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]"
)
# The extractor puts a tab between the cells of a table.
TABS = re.compile(r"[ \t]*\t[ \t]*")
BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class HtmlConfig:
    """How pages become text."""

    main_content: bool = True
    """Leave out navigation, banners, side bars and footers, as far as resiliparse recognizes
    them; ``False`` extracts all visible text."""
    max_characters: int = 10_000_000
    """Longer texts are cut off here."""

    def __post_init__(self) -> None:
        if self.max_characters < 1:
            raise ValueError(f"max_characters={self.max_characters} is not positive")


def decode_page(body: bytes) -> str:
    """Decode as UTF-8, else in the detected encoding; bytes that fit no encoding are left out."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return bytes_to_str(body, detect_encoding(body) or FALLBACK_ENCODING, errors="ignore")
    return text.removeprefix(BYTE_ORDER_MARK)


def extract_text(body: bytes, *, main_content: bool = False) -> str:
    """Return the visible text of an HTML page, one line per block element."""
    return extract_plain_text(decode_page(body), main_content=main_content)


def normalize_whitespace(text: str) -> str:
    """Use plain spaces and newlines only, end no line in spaces, leave at most one blank line."""
    text = UNUSUAL_SPACES.sub(" ", INVISIBLE.sub("", text.replace("\r\n", "\n")))
    text = TABS.sub(" ", text)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return BLANK_LINES.sub("\n\n", text).strip()
