"""The header of an HTTP response (RFC 9112), as servers and archives really write it.

Lines may end without a carriage return, fields may be folded or repeated, and interim answers may
stand before the response.
"""

import re
from dataclasses import dataclass

STATUS_LINE = re.compile(rb"\s*HTTP/[\d.]+[ \t]+(\d{3})(?!\d)")
HEADER_END = re.compile(rb"\n\r?\n")
FIELD = re.compile(
    rb"\n(Content-Type|Content-Encoding|Transfer-Encoding)[ \t]*:(.*(?:\n[ \t].*)*)", re.IGNORECASE
)
INTERIM = range(100, 200)
CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s"',;]+)""")
QUOTED = re.compile('"[^"]*"?')
MEDIA_TYPE = re.compile(r"(?:^|,)\s*([^\s/,;]+/[^\s,;]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpMessage:
    """A response as it was sent."""

    status: int | None
    """Status code, or ``None`` where there is no header."""
    content_type: str
    """Media type in lower case without parameters; empty when unknown."""
    charset: str | None
    """Charset that the header declares."""
    content_encoding: str
    """``Content-Encoding`` in lower case; several are separated by commas."""
    transfer_encoding: str
    """``Transfer-Encoding`` in the same form."""
    body: bytes
    """What follows the header, with all encodings."""


def parse_message(data: bytes) -> HttpMessage:
    """Split a response into what its header tells and its body."""
    start, end, status = 0, 0, None
    while match := STATUS_LINE.match(data, end):
        start, status = match.start(), int(match[1])
        ending = HEADER_END.search(data, match.end())
        end = len(data) if ending is None else ending.end()
        if status not in INTERIM:
            break
    fields: dict[str, str] = {}
    for name, value in FIELD.findall(data[start:end]):
        key, text = name.decode().lower(), " ".join(value.decode("latin-1").lower().split())
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    content_type, charset = parse_content_type(fields.get("content-type", ""))
    return HttpMessage(
        status=status,
        content_type=content_type,
        charset=charset,
        content_encoding=fields.get("content-encoding", ""),
        transfer_encoding=fields.get("transfer-encoding", ""),
        body=data[end:],
    )


def parse_content_type(value: str) -> tuple[str, str | None]:
    """Return media type and charset; of repeated ones the last counts, as in browsers."""
    value = value.lower()
    charsets = CHARSET.findall(value)
    types = [kind for kind in MEDIA_TYPE.findall(QUOTED.sub("", value)) if kind != "*/*"]
    return types[-1] if types else "", charsets[-1] if charsets else None
