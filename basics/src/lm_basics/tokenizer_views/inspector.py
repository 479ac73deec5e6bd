"""What a tokenizer makes of a text, token by token, in a form that can be shown.

Tokens are stretches of bytes: one may hold the end of a character and the beginning of the next.
So a token is shown in pieces, of which whole characters are text and the others bytes. Two things
join again, whatever the tokenizer: the tokens' bytes to the UTF-8 of the text, and the pieces'
characters to the text itself, for which the last byte of a cut character carries all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, cast

import regex

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.simple import ByteTokenizer, TextTokenizer, encode_utf8

PieceKind = Literal["text", "space", "newline", "combining", "hidden", "bytes"]
"""``combining`` begins with a mark that would sit on the character before the token; ``hidden`` is
a character without a form of its own, or one that changes the order of the others."""

# Bidirectional overrides, joiners, control and private characters would vanish or reshape a page.
_PIECES = regex.compile(
    r"(?P<newline>\n)|(?P<space>\t|\ +)|(?P<hidden>[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}])"
    r"|(?P<combining>\p{M}[^\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]*)"
    r"|(?P<text>[^\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]+)"
)
_VISIBLE_SPACES = str.maketrans({" ": "·", "\t": "→", "\n": "↵"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPiece:
    """Characters or bytes of a token that are shown in the same way."""

    kind: PieceKind
    """How it is shown."""
    text: str
    """The characters behind it: empty for bytes, unless they are the last of a character."""
    shown: str
    r"""What a reader sees: ``·``, ``↵``, ``→``, ``U+200D`` or ``\xe4\xbd`` without a form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectedToken:
    """One token and its place in the text."""

    token_id: int
    """Its id."""
    data: bytes
    """Its bytes."""
    start_byte: int
    """Bytes of text before it."""
    is_special: bool
    """Whether it is a special token."""
    cut_characters: str
    """The characters of which it holds a part, at most two."""
    pieces: tuple[TokenPiece, ...]
    """All that it holds, in order."""

    @property
    def shown(self) -> str:
        """What a reader sees of the token."""
        return "".join(piece.shown for piece in self.pieces)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """A text as one tokenizer sees it; the numbers are those of the whole text."""

    tokens: tuple[InspectedToken, ...]
    """The tokens, or the first of them."""
    num_tokens: int
    """Tokens."""
    num_bytes: int
    """UTF-8 bytes of the text."""
    num_characters: int
    """Characters of the text."""
    vocab_size: int
    """Ids of the tokenizer."""
    is_lossless: bool
    """Whether the tokens are the whole text: a word tokenizer loses unknown words."""

    @property
    def bytes_per_token(self) -> float | None:
        """Compression ratio; ``None`` without tokens."""
        return self.num_bytes / self.num_tokens if self.num_tokens else None


def inspect_text(
    tokenizer: TextTokenizer,
    text: str,
    *,
    reads_special_tokens: bool = True,
    max_tokens: int | None = None,
) -> Inspection:
    """Encode ``text`` and return its tokens with their bytes.

    Args:
        tokenizer: any tokenizer.
        text: any text.
        reads_special_tokens: whether text may spell special tokens, or is encoded as it stands.
        max_tokens: most tokens to return, the first ones.

    Raises:
        ValueError: the text holds half of a surrogate pair, which is no character.
    """
    text_bytes = encode_utf8(text)
    special_ids: set[int] = set()
    if isinstance(tokenizer, Tokenizer):
        special_ids.update(tokenizer.special_token_ids.values())
        ids = tokenizer.encode(text, allowed_special="all" if reads_special_tokens else ())
    else:
        ids = tokenizer.encode(text)
    bytes_by_id = {token_id: _token_bytes(tokenizer, token_id) for token_id in set(ids)}
    data = b"".join([bytes_by_id[token_id] for token_id in ids])
    tokens = _locate_tokens(ids, bytes_by_id, special_ids, data)
    return Inspection(
        tokens=tuple(islice(tokens, max_tokens)),
        num_tokens=len(ids),
        num_bytes=len(text_bytes),
        num_characters=len(text),
        vocab_size=tokenizer.vocab_size,
        is_lossless=data == text_bytes,
    )


def _token_bytes(tokenizer: TextTokenizer, token_id: int) -> bytes:
    """Return the bytes of a token, which the text of ``decode`` may have lost."""
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.token_bytes(token_id)
    if isinstance(tokenizer, ByteTokenizer):
        return bytes([token_id])
    return tokenizer.decode([token_id]).encode()


def _locate_tokens(
    ids: list[int], bytes_by_id: dict[int, bytes], special_ids: set[int], data: bytes
) -> Iterator[InspectedToken]:
    """Yield the tokens, whose joined bytes are ``data``."""
    start = 0
    for token_id in ids:
        token = bytes_by_id[token_id]
        end = start + len(token)
        yield InspectedToken(
            token_id=token_id,
            data=token,
            start_byte=start,
            is_special=token_id in special_ids,
            cut_characters=_cut_characters(data, start, end),
            pieces=tuple(_cut_into_pieces(data, start, end)),
        )
        start = end


def _cut_characters(data: bytes, start: int, end: int) -> str:
    """Return the characters that the bounds of a token lie inside of."""
    bounds = (_character_around(data, position) for position in (start, end))
    cut = dict.fromkeys(bound for bound in bounds if bound is not None)
    return "".join(_decode(data[first:last]) for first, last in cut)


def _cut_into_pieces(data: bytes, start: int, end: int) -> Iterator[TokenPiece]:
    """Yield the end of a character, whole characters, and the beginning of a character."""
    head = _character_around(data, start)
    text_start = start if head is None else min(head[1], end)
    if head is not None:
        is_last = head[1] <= end
        carried = _decode(data[slice(*head)]) if is_last else ""
        yield _bytes_piece(data[start:text_start], carried)
    tail = _character_around(data, end)
    text_end = end if tail is None else max(tail[0], text_start)
    for match in _PIECES.finditer(_decode(data[text_start:text_end])):
        yield _text_piece(match)
    if text_end < end:
        yield _bytes_piece(data[text_end:end], "")


def _character_around(data: bytes, position: int) -> tuple[int, int] | None:
    """Return the bounds of the character that ``position`` is inside of, ``None`` between two."""
    if not _continues_character(data, position):
        return None
    first = last = position
    while _continues_character(data, first):
        first -= 1
    while _continues_character(data, last):
        last += 1
    return first, last


def _continues_character(data: bytes, position: int) -> bool:
    return 0 < position < len(data) and data[position] & 0b1100_0000 == 0b1000_0000


def _decode(data: bytes) -> str:
    return data.decode(errors="replace")


def _bytes_piece(data: bytes, text: str) -> TokenPiece:
    return TokenPiece(kind="bytes", text=text, shown="".join(rf"\x{byte:02x}" for byte in data))


def _text_piece(match: "regex.Match[str]") -> TokenPiece:
    text = match[0]
    kind = cast(PieceKind, match.lastgroup)
    if kind == "hidden":
        shown = f"U+{ord(text):04X}"
    elif kind == "combining":
        shown = f"◌{text}"
    else:
        shown = text.translate(_VISIBLE_SPACES)
    return TokenPiece(kind=kind, text=text, shown=shown)
