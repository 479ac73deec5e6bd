"""The vocabulary files of GPT-2: ``vocab.json`` (token text to id) next to ``merges.txt``.

JSON and lines of text cannot hold arbitrary bytes, so GPT-2 writes each byte as a visible
character: printable Latin-1 characters stand for themselves, the others for U+0100 and following in
their order. A space becomes ``Ġ`` and a newline ``Ċ``.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_shared.files import read_json, write_text

_MERGES_HEADER = "#version: 0.2"


def _visible_characters() -> list[str]:
    """Return the character that stands for each byte."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)}
    visible |= set(range(ord("®"), ord("ÿ") + 1))
    substitutes = iter(range(256, 512))
    return [chr(byte if byte in visible else next(substitutes)) for byte in range(256)]


_CHARACTERS = _visible_characters()
_BYTES = {character: byte for byte, character in enumerate(_CHARACTERS)}


_LARGEST_ID = (1 << 32) - 1


def check_ids(vocab: Mapping[int, Any]) -> None:
    """Raise ``ValueError`` unless all ids fit into 32 bits."""
    for token_id in vocab:
        if not isinstance(token_id, int) or not 0 <= token_id <= _LARGEST_ID:
            raise ValueError(f"ids must be integers from 0 to {_LARGEST_ID}, got {token_id!r}")


def no_such_id(token_id: int, vocab_size: int) -> ValueError:
    """Return the error to raise for an id that stands for no token."""
    return ValueError(f"token id {token_id} is not in the vocabulary of {vocab_size} tokens")


def number_merges(
    merges: Sequence[tuple[bytes, bytes]], ids: Mapping[bytes, int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return, for each merge, the ids of its two tokens and the id of the token that it makes."""
    pairs, merged_ids = [], []
    for rank, (left, right) in enumerate(merges):
        for token in (left, right, left + right):
            if token not in ids:
                raise ValueError(f"merge {rank} needs the token {token!r}, which vocab lacks")
        pairs.append((ids[left], ids[right]))
        merged_ids.append(ids[left + right])
    return pairs, merged_ids


def to_visible(token: bytes) -> str:
    """Return ``token`` as GPT-2 writes it in its files."""
    return "".join(_CHARACTERS[byte] for byte in token)


def from_visible(text: str) -> bytes:
    """Return the token that ``text`` stands for.

    Raises:
        ValueError: a character stands for no byte.
    """
    try:
        return bytes(_BYTES[character] for character in text)
    except KeyError as error:
        raise ValueError(f"{text!r} holds {error.args[0]!r}, which stands for no byte") from error


def to_named_vocabulary(vocab: Mapping[int, bytes], special_ids: Collection[int]) -> dict[str, int]:
    """Return text to id, special tokens as they are and the others in visible characters.

    Raises:
        ValueError: two tokens would get the same name.
    """
    names: dict[str, int] = {}
    for token_id, token in sorted(vocab.items()):
        name = token.decode() if token_id in special_ids else to_visible(token)
        if name in names:
            raise ValueError(f"tokens {names[name]} and {token_id} are both written as {name!r}")
        names[name] = token_id
    return names


def from_named_vocabulary(
    names: Mapping[str, int], special_tokens: Collection[str]
) -> dict[int, bytes]:
    """Return id to bytes, the inverse of ``to_named_vocabulary``."""
    vocab = {
        token_id: name.encode() if name in special_tokens else from_visible(name)
        for name, token_id in names.items()
    }
    if len(vocab) != len(names):
        raise ValueError(f"{len(names)} tokens share {len(vocab)} ids")
    return dict(sorted(vocab.items()))


def save_vocabulary(
    vocab: Mapping[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    vocab_path: Path,
    merges_path: Path,
    *,
    special_tokens: Sequence[str] = (),
) -> None:
    """Write what ``train_bpe`` returns in the two files of GPT-2."""
    encoded_specials = {token.encode() for token in special_tokens}
    special_ids = {token_id for token_id, token in vocab.items() if token in encoded_specials}
    names = to_named_vocabulary(vocab, special_ids)
    lines = [f"{to_visible(left)} {to_visible(right)}" for left, right in merges]
    write_text(vocab_path, json.dumps(names, ensure_ascii=False))
    write_text(merges_path, "\n".join([_MERGES_HEADER, *lines, ""]))


def load_vocabulary(
    vocab_path: Path, merges_path: Path, *, special_tokens: Sequence[str] = ()
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Read the two files of GPT-2.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    names = read_json(vocab_path)
    if not isinstance(names, dict) or not all(isinstance(i, int) for i in names.values()):
        raise ValueError(f"{vocab_path}: expected an object of token texts and ids")
    # A special token may also be a key of characters that stand for no byte ("<|é|>").
    specials = {*special_tokens, *(name for name in names if not set(name) <= _BYTES.keys())}
    try:
        vocab = from_named_vocabulary(names, specials)
    except ValueError as error:
        raise ValueError(f"{vocab_path}: {error}") from error
    return vocab, _read_merges(merges_path)


def _read_merges(path: Path) -> list[tuple[bytes, bytes]]:
    """Read one merge per line; only the first line can be a comment, ``# #`` is a merge."""
    merges = []
    try:
        # Some editors put a byte order mark first.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not set("".join(parts)) <= _BYTES.keys():
            raise ValueError(f"{path}, line {number}: expected two tokens, got {line!r}")
        merges.append((from_visible(parts[0]), from_visible(parts[1])))
    return merges
