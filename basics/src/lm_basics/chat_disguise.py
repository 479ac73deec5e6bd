"""Nobody's words as special tokens: what is said in a conversation is rendered in disguise.

What is said must not open or close turns, so a special token spelled there has to become plain
text, while the same token written by the template stays special. The template is therefore shown
the conversation with the characters of such tokens in disguise, exchanged for others of the same
length, and the disguise is taken off when the tokens are made. A template that looks for some of
these characters is shown them, as long as every special token has another one that is hidden.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from jinja2.filters import FILTERS

from lm_basics.tokenizer.patterns import compile_special_tokens, split_special_tokens

Turns = Sequence[Mapping[str, Any]]
"""Messages, each with ``role`` and ``content``, and with what else the template knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Characters that no text has, from those that Unicode keeps free for private use."""

    opening: str
    """Before what ``{% generation %}`` encloses."""
    closing: str
    """Behind it."""
    disguises: tuple[tuple[str, str], ...]
    """Characters of special tokens, and what stands for each."""

    @classmethod
    def of(cls, special_tokens: Collection[str], texts: Sequence[str]) -> "Marks":
        """Choose the characters.

        Raises:
            ValueError: None is left.
        """
        joined = "\0".join(texts)
        used = set(joined)
        hidden = sorted(_characters(special_tokens))
        # Nor may a text have them as JSON writes them in ASCII.
        free = (
            one
            for one in map(chr, chain(range(0x100000, 0x10FFFE), range(0xF0000, 0xFFFFE)))
            if one not in used and json.dumps(one)[1:-1] not in joined
        )
        chosen = list(islice(free, 2 + len(hidden)))
        if len(chosen) < 2 + len(hidden):
            raise ValueError("the conversation holds every character that Unicode keeps free")
        opening, closing, *disguises = chosen
        return cls(
            opening=opening, closing=closing, disguises=tuple(zip(hidden, disguises, strict=True))
        )

    def take_off(self, text: str) -> str:
        """Return the text as it was said."""
        is_escaped = "\\ud" in text
        for character, disguise in self.disguises:
            text = text.replace(disguise, character)
            if is_escaped:
                text = text.replace(json.dumps(disguise)[1:-1], character)
        return text

    def escape(self, value: object) -> str:
        """Do what Jinja's filter ``e`` does; nothing that it changes needs a disguise."""
        text = FILTERS["escape"](value)
        for character, disguise in self.disguises:
            escaped = FILTERS["escape"](character)
            text = text.replace(disguise, escaped) if escaped != character else text
        return text

    def without_blocks(self, text: str) -> str:
        """Return the text without the marks of blocks."""
        return text.replace(self.opening, "").replace(self.closing, "")

    def bytes_in_blocks(self, text: str) -> bytes:
        """Return for each byte of the text, all marks taken off, whether it is inside a block."""
        inside = bytearray()
        for part in text.split(self.opening):
            block, is_closed, rest = part.rpartition(self.closing)
            inside += (b"\1" if is_closed else b"\0") * len(self.take_off(block).encode())
            inside += bytes(len(self.take_off(rest).encode()))
        return bytes(inside)


def render_disguised(
    render: Callable[[Turns], str],
    messages: Turns,
    special_tokens: Collection[str],
    sources: Sequence[str],
    marks: Marks,
) -> str:
    """Return a conversation rendered with what is said in disguise.

    Args:
        render: Renders turns, with blocks marked.
        messages: The turns.
        special_tokens: All that the tokenizer has.
        sources: The program of the template, and what its variables stand for.
        marks: Characters for the disguise.

    Raises:
        ValueError: ``render`` does, or fails without a special token that others spell.
    """
    plain = render(messages)
    disguise = _Disguise.of(messages, special_tokens, sources, marks)

    def unchanged(characters: Collection[str], shown: Collection[str]) -> str | None:
        # A template may fail where it does not find one of these characters.
        with suppress(ValueError):
            marked = render(disguise.put_on(messages, characters, shown))
            return marked if marks.take_off(marked) == plain else None
        return None

    everything = {one for one in _characters(special_tokens) if not one.isspace()}
    if (marked := unchanged(everything, ())) is not None:
        return marked
    # The template looks for what is hidden: it is shown no more than it misses.
    shown = disguise.named
    for token in sorted(shown):
        shown = shown if unchanged((), shown - {token}) is None else shown - {token}
    pattern = compile_special_tokens(special_tokens)

    def special(text: str) -> list[str]:
        return split_special_tokens(marks.without_blocks(text), pattern)[1::2]

    hidden, marked = set[str](), plain
    punctuation = {one for one in everything if _is_punctuation(one)}
    single = [_characters([one]) & everything for one in sorted(set("".join(special(plain))))]
    for characters in (everything, punctuation, *single):
        tried = hidden | characters
        if tried != hidden and (better := unchanged(tried, shown)) is not None:
            hidden, marked = tried, better
    # A token of which nothing is hidden may be anyone's.
    doubtful = [one for one in special(marked) if hidden.isdisjoint(one) and not one.isspace()]
    if not doubtful:
        return marked
    has_words = any(punctuation.isdisjoint(one) for one in doubtful)
    try:
        return render(disguise.put_on(messages, everything if has_words else punctuation, shown))
    except ValueError as error:
        raise ValueError(
            f"{error}; it looks for {doubtful[0]}, which is plain text where others say it"
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Disguise:
    """What is hidden from a template, and in whose turns."""

    marks: Marks
    """Characters for it."""
    words: frozenset[str]
    """Special tokens without punctuation that are said; whole spellings are always hidden."""
    named: frozenset[str]
    """Said by the model, and the template may look for them, as for those around thoughts."""
    known: frozenset[str]
    """Names and roles that the template needs as they are."""

    @classmethod
    def of(
        cls, messages: Turns, special_tokens: Collection[str], sources: Sequence[str], marks: Marks
    ) -> "_Disguise":
        """Look at a conversation and the sources of its template."""
        own = [one for one in messages if _is_of_model(one)]
        said, said_by_model, source = map("\0".join, (texts_of(messages), texts_of(own), sources))
        found = re.findall(r"""\.\s*(\w+)|(["'])(\w+)\2""", source)
        names = {attribute or quoted for attribute, _, quoted in found}
        # Such a name could become a token between the template's own brackets.
        names.difference_update(re.findall(r"\w+", "\0".join(special_tokens)))
        roles = {str(message.get("role")) for message in messages}.difference(special_tokens)
        words = (one for one in special_tokens if not any(map(_is_punctuation, one)))
        return cls(
            marks=marks,
            words=frozenset(one for one in words if one in said),
            named=frozenset(
                one for one in special_tokens if one in source and one in said_by_model
            ),
            known=frozenset(one for one in names | roles if re.fullmatch(r"\w+", one)),
        )

    def put_on(self, messages: Turns, characters: Collection[str], shown: Collection[str]) -> Turns:
        """Return the turns with these characters hidden, but for tokens shown in the model's."""
        hide = self._hide(characters, self.words, ())
        hide_own = self._hide(characters, self.words | self.named.difference(shown), shown)
        return [_map_texts(one, hide_own if _is_of_model(one) else hide) for one in messages]

    def _hide(
        self, characters: Collection[str], spelled: Collection[str], shown: Collection[str]
    ) -> Callable[[str], str]:
        """Return what hides the characters, and the first ones of tokens that are spelled."""
        disguises = dict(self.marks.disguises)
        kept = compile_special_tokens(shown)
        # The rest is looked at and not taken, for tokens may overlap.
        begun = [f"{re.escape(one[0])}(?={re.escape(one[1:])})" for one in spelled]
        pattern = re.compile("|".join(begun)) if begun else None

        def change(text: str) -> str:
            if pattern:
                text = pattern.sub(lambda found: disguises[found[0]], text)
            # Faster than a table: most texts have few of them.
            for one in characters:
                text = text.replace(one, disguises[one])
            return text

        def hide(text: str) -> str:
            if text in self.known:
                return text
            pieces = split_special_tokens(text, kept)
            return "".join(one if i % 2 else change(one) for i, one in enumerate(pieces))

        return hide


def _is_of_model(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant"


def _is_punctuation(character: str) -> bool:
    return re.match(r"[^\w\s]", character) is not None


def _characters(tokens: Collection[str]) -> set[str]:
    """Return the characters of tokens, and what a filter may turn into one of them."""
    return {
        form
        for one in set("".join(tokens))
        for form in (one, one.lower(), one.upper())
        if len(form) == 1
    }


def texts_of(value: Any) -> list[str]:
    """Return every text inside of messages, the names of their parts as well."""
    found: list[str] = []
    _map_texts(value, lambda text: found.append(text) or text)
    for text in found:
        if half := re.search(r"[\ud800-\udfff]", text):
            raise ValueError(
                f"a text of the conversation has half a surrogate pair, {half[0]!r}, "
                f"at character {half.start()}"
            )
    return found


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, bytes | bytearray):
        raise ValueError(f"the conversation holds bytes where a text is due: {value[:40]!r}")
    if isinstance(value, Mapping):
        return {
            change(key) if isinstance(key, str) else key: _map_texts(one, change)
            for key, one in value.items()
        }
    if isinstance(value, Sequence):
        return [_map_texts(one, change) for one in value]
    return value
