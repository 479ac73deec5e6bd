"""From the bytes of a page to characters.

Real pages lie about their charset, and real bytes are cut and mixed. So, in this order: a byte
order mark; UTF-8 where most of what is not ASCII is UTF-8, since texts in other encodings
practically never look so by chance; the charset that the HTTP header or the page declares, unless
the outcome shows that it is another; and what is detected. ISO-2022-JP and UTF-16 without a byte
order mark can be valid UTF-8 too: escape sequences and zero bytes, which no other page holds, tell
them. Bytes that fit nowhere become U+FFFD, so that one of them costs one character.
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

UTF8 = "utf-8"
FALLBACK_ENCODING = "cp1252"
KOREAN = "cp949"
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# ISO-2022-JP switches to two-byte characters so.
JAPANESE_ESCAPES = (b"\x1b$@", b"\x1b$B")
MIN_ZERO_SHARE = 0.3
"""Least share of zero bytes in UTF-16; markup alone makes most second bytes of a page zero."""
SUPERSETS = {
    "big5": "big5hkscs",
    "euc_kr": KOREAN,
    "gbk": "gb18030",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
}
"""What browsers take these names for (WHATWG Encoding Standard)."""
DECLARATION_SIZE = 1 << 13
"""Beginning of a page in which a declaration is looked for; browsers go on beyond their 1,024 bytes
where a comment or script comes first."""
COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
DECLARATION = re.compile(
    rb"""(?:<meta\s[^>]*?\bcharset|<\?xml\s[^>]*?\bencoding)\s*=\s*["']?\s*([\w.:-]+)""",
    re.IGNORECASE,
)
REPLACEMENT = "\ufffd"
MAX_REPLACED_SHARE = 0.5
"""Largest share of broken characters among those that are not ASCII in a page of UTF-8. Of
sentences in other encodings 68% (Thai), 77% (Japanese) or more are."""
MAX_REPLACED_DENSITY = 0.01
"""Largest number of them per byte where UTF-8 is declared and nothing else speaks for it."""
# What texts in a wrong encoding are full of: control characters, rows of accented letters and
# signs, and letters of two scripts in one word.
MISFIT = re.compile(
    "[\ufffd\x80-\x9f]|[\u00a1-\u024f\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{4,}"
    "|(?<=[A-Za-z])[\u0370-\u06ff]|[\u0370-\u06ff](?=[A-Za-z])"
)
MAX_MISFIT_SHARE = 0.3


def decode_page(body: bytes, charset: str | None = None) -> str:
    """Return the characters of a page.

    Args:
        body: The page.
        charset: What the HTTP header declares.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, errors="replace")
    hidden = _find_ascii_encoding(body)
    if hidden is not None:
        return body.decode(hidden, errors="replace")
    try:
        return body.decode(UTF8)
    except UnicodeDecodeError:
        text = body.decode(UTF8, errors="replace")
    declared = _list_declared(body, charset)
    if _is_mostly_utf8(text, is_declared=UTF8 in declared):
        return text
    detected = _detect(body)
    # Where header and page contradict each other, the detection decides.
    for encoding in sorted(declared, key=lambda encoding: encoding != detected):
        text = body.decode(encoding, errors="replace")
        if encoding != UTF8 and _fits(text):
            return text
    return body.decode(detected, errors="replace")


def _find_ascii_encoding(body: bytes) -> str | None:
    """Return the encoding of a page whose bytes may pass for UTF-8 although it is not."""
    if any(escape in body for escape in JAPANESE_ESCAPES):
        return "iso2022_jp_ext" if body.isascii() else None
    if body.count(0) <= MIN_ZERO_SHARE * len(body):
        return None
    # Where the zero bytes stand tells which half of a character comes first.
    odd = body[1::2].count(0)
    return "utf-16-le" if 2 * odd > body.count(0) else "utf-16-be"


def _list_declared(body: bytes, charset: str | None) -> list[str]:
    """Return the encodings that the header and the page declare, without those they cannot have."""
    declaration = DECLARATION.search(COMMENT.sub(b"", body[:DECLARATION_SIZE]))
    labels = [charset, None if declaration is None else declaration[1].decode("ascii", "ignore")]
    names = [map_encoding_to_html5(label, fallback_utf8=False) for label in labels if label]
    # A page in which a declaration can be read is not in UTF-16.
    known = [_widen(name) for name in names if name is not None and "utf-16" not in name]
    return list(dict.fromkeys(known))


def _detect(body: bytes) -> str:
    """Return the most probable encoding of a page that is not UTF-8."""
    # Among the names of browsers the one for Korean is missing: it would be told as UTF-8.
    name = detect_encoding(body, html5_compatible=False)
    if name == KOREAN:
        return name
    known = None if name is None else map_encoding_to_html5(name, fallback_utf8=False)
    return FALLBACK_ENCODING if known in (None, UTF8) else _widen(known)


def _widen(encoding: str) -> str:
    return SUPERSETS.get(encoding, encoding)


def _is_mostly_utf8(text: str, *, is_declared: bool) -> bool:
    num_replaced = text.count(REPLACEMENT)
    if num_replaced <= MAX_REPLACED_SHARE * _count_not_ascii(text):
        return True
    return is_declared and num_replaced <= 1 + MAX_REPLACED_DENSITY * len(text)


def _fits(text: str) -> bool:
    """Return whether a text looks as if it had been decoded in its own encoding."""
    num_misfits = sum(map(len, MISFIT.findall(text)))
    return num_misfits <= MAX_MISFIT_SHARE * _count_not_ascii(text)


def _count_not_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))
