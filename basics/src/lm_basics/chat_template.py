"""Chat templates: Jinja programs that turn a conversation into the text a model was taught on.

Hugging Face folders carry one as ``chat_template`` in ``tokenizer_config.json`` or as a file of its
own. It comes from strangers and runs in Jinja's sandbox, with the functions that ``transformers``
gives it.

What is said in a conversation must not open or close turns, so a special token spelled there has
to become plain text, while the same token written by the template stays special. The template is
therefore shown the conversation with every character that may begin such a token in disguise,
exchanged for another of the same length, and the disguise is taken off when the tokens are made.
"""

import datetime as dt
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import compile_special_tokens, split_special_tokens
from lm_basics.tokenizer.tokenizer_json import CONFIG_FILE
from lm_shared.files import read_json

TEMPLATE_NAME = "chat_template.jinja"

Turns = Sequence[Mapping[str, Any]]
"""Messages, each with ``role`` and ``content``, and with what else the template knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatTemplate:
    """A template and the special tokens that it may name."""

    source: str
    """The program."""
    special_tokens: Mapping[str, str]
    """What ``bos_token``, ``eos_token`` and the like stand for."""
    name: str = "the model's chat template"
    """What errors call it."""

    def render(self, messages: Turns, *, add_generation_prompt: bool = True) -> str:
        """Return the conversation as text, by default with the model's turn opened at its end.

        Raises:
            ValueError: The template is damaged, fails, or refuses these turns.
        """
        marks = _Marks.of([], [self.source, *_texts(messages)])
        return marks.without_blocks(self._render(messages, add_generation_prompt, marks))

    def encode(
        self, tokenizer: Tokenizer, messages: Turns, *, add_generation_prompt: bool = True
    ) -> list[int]:
        """Return the ids of the conversation; what is said in it cannot spell special tokens.

        A template that looks for special tokens in what is said finds them in the model's own
        turns, and in others' where no more special tokens come of it.

        Raises:
            ValueError: What ``render`` refuses.
        """
        return self.encode_with_mask(
            tokenizer, messages, add_generation_prompt=add_generation_prompt
        )[0]

    def encode_with_mask(
        self, tokenizer: Tokenizer, messages: Turns, *, add_generation_prompt: bool = False
    ) -> tuple[list[int], list[bool]]:
        """Return the ids, and which of them the template marks as the model's own words.

        These are the tokens with a character inside of ``{% generation %}``.
        """
        special_ids = tokenizer.special_token_ids
        marks = _Marks.of(special_ids, [self.source, *special_ids, *_texts(messages)])
        marked = self._render_disguised(messages, add_generation_prompt, special_ids, marks)
        text = marks.without_blocks(marked)
        ids: list[int] = []
        # What is said is in disguise: all special tokens found are the template's.
        pieces = split_special_tokens(text, compile_special_tokens(special_ids))
        for number, piece in enumerate(pieces):
            is_special = number % 2
            said = marks.take_off(piece)
            ids += (
                [special_ids[piece]] if is_special else tokenizer.encode(said, allowed_special=())
            )
        # Bytes and not characters: a token may end inside of a character.
        ends = list(accumulate(len(tokenizer.vocab[one]) for one in ids))
        own = marks.bytes_in_blocks(marked)
        return ids, [any(own[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    def _render_disguised(
        self,
        messages: Turns,
        add_generation_prompt: bool,
        special_tokens: Collection[str],
        marks: "_Marks",
    ) -> str:
        """Return the text with blocks marked, and with what is said in disguise."""
        plain = self._render(messages, add_generation_prompt, marks)
        own = [one for one in messages if _is_of_model(one)]
        said, said_by_model = ("\0".join(_texts(turns)) for turns in (messages, own))
        spelled = [token for token in special_tokens if token in said]
        # Of a token that begins as words do only whole spellings are hidden.
        first = {token[0] for token in special_tokens if re.match(r"[^\w\s]", token)}

        def render(characters: Collection[str], shown: Collection[str]) -> str:
            hide, hide_own = (marks.hide(characters, spelled, one) for one in ((), shown))
            turns = [_map_texts(one, hide_own if _is_of_model(one) else hide) for one in messages]
            return self._render(turns, add_generation_prompt, marks)

        # A template may fail where it does not find one of these characters.
        with suppress(ValueError):
            marked = render(first, ())
            if marks.take_off(marked) == plain:
                return marked
        # It looks for what is hidden. What the model itself spelled, such as the tokens around its
        # thoughts, it may find.
        shown = {token for token in spelled if token in said_by_model}
        milder = render((), shown)
        for token in sorted(shown):
            with suppress(ValueError):
                marked = render((), shown - {token})
                if marks.take_off(marked) == marks.take_off(milder):
                    shown, milder = shown - {token}, marked
        safest = milder
        with suppress(ValueError):
            safest = render(first, shown)
        # Where that is not enough, less is hidden as long as the special tokens stay the same.
        pattern = compile_special_tokens(special_tokens)

        def special(text: str) -> list[str]:
            return split_special_tokens(marks.without_blocks(text), pattern)[1::2]

        for marked in (safest, milder, plain):
            if marks.take_off(marked) == plain and special(marked) == special(safest):
                return marked
        return safest

    def _render(self, messages: Turns, add_generation_prompt: bool, marks: "_Marks") -> str:
        try:
            return _compile(self.source, marks).render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self.special_tokens,
            )
        # A stranger's program may fail in any way.
        except Exception as error:
            kind = "" if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: "
            raise ValueError(f"{self.name}: {kind}{error}") from error


def read_chat_template(folder: Path) -> ChatTemplate | None:
    """Return the chat template of a tokenizer's folder, ``None`` where there is none.

    Raises:
        ValueError: A file is damaged.
    """
    path = folder / CONFIG_FILE
    config = read_json(path) if path.is_file() else {}
    config = config if isinstance(config, dict) else {}
    source = config.get("chat_template")
    if isinstance(source, list):
        # Several by name, of which "default" is for conversations.
        named = [one for one in source if isinstance(one, dict)]
        source = next((one.get("template") for one in named if one.get("name") == "default"), None)
    if (folder / TEMPLATE_NAME).is_file():
        path = folder / TEMPLATE_NAME
        source = path.read_text(encoding="utf-8")
    if not isinstance(source, str):
        return None
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    # Others also write one like an added token, with its content and options.
    plain = {
        name: value.get("content") if isinstance(value, dict) else value
        for name, value in tokens.items()
    }
    special = {name: value for name, value in plain.items() if isinstance(value, str)}
    return ChatTemplate(
        source=source, special_tokens=special, name=f"the model's chat template in {path}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Marks:
    """Characters that no text has, from those that Unicode keeps free for private use."""

    opening: str
    """Before what ``{% generation %}`` encloses."""
    closing: str
    """Behind it."""
    disguises: tuple[tuple[str, str], ...]
    """First characters of special tokens, and what stands for each."""

    @classmethod
    def of(cls, special_tokens: Collection[str], texts: Sequence[str]) -> "_Marks":
        """Choose the characters."""
        used = "\0".join(texts)
        # Nor may a text have them as JSON writes them in ASCII.
        free = (
            one
            for one in map(chr, range(0x100000, 0x10FFFE))
            if one not in used and json.dumps(one)[1:-1] not in used
        )
        first = sorted({token[0] for token in special_tokens})
        return cls(
            opening=next(free), closing=next(free), disguises=tuple(zip(first, free, strict=False))
        )

    def hide(
        self, characters: Collection[str], spelled: Collection[str], shown: Collection[str]
    ) -> Callable[[str], str]:
        """Return what puts the disguise on a text.

        Args:
            characters: All of these get one.
            spelled: So do the first characters of these tokens.
            shown: Tokens that stay as they are.
        """
        kept = "|".join(map(re.escape, sorted(shown, key=len, reverse=True))) or "(?!)"
        # The rest is looked at and not taken, for tokens may overlap.
        begun = [f"{re.escape(one[0])}(?={re.escape(one[1:])})" for one in spelled]
        hidden = "|".join([*map(re.escape, characters), *begun]) or "(?!)"
        disguises = dict(self.disguises)
        pattern = re.compile(f"({kept})|{hidden}")
        return partial(pattern.sub, lambda found: found[1] or disguises[found[0]])

    def take_off(self, text: str) -> str:
        """Return the text as it was said."""
        for character, disguise in self.disguises:
            text = text.replace(disguise, character).replace(json.dumps(disguise)[1:-1], character)
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


@lru_cache(maxsize=16)
def _compile(source: str, marks: _Marks) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _GenerationBlock],
    )
    environment.extend(generation_marks=(marks.opening, marks.closing))
    environment.filters |= {"tojson": _to_json, "escape": marks.escape, "e": marks.escape}
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _format_now}
    return environment.from_string(source)


class _GenerationBlock(Extension):
    """``{% generation %}``: encloses what the model is to say, for the mask of its words."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own way

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        opening, closing = self.environment.generation_marks  # pyright: ignore
        return f"{opening}{caller()}{closing}"


def _is_of_model(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant"


def _texts(value: Any) -> Iterator[str]:
    """Yield every text inside of messages, the names of their parts as well."""
    found: list[str] = []
    _map_texts(value, lambda text: found.append(text) or text)
    yield from found


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {
            change(key) if isinstance(key, str) else key: _map_texts(one, change)
            for key, one in value.items()
        }
    if isinstance(value, Sequence):
        return [_map_texts(one, change) for one in value]
    return value


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON; Jinja's own filter would escape what is special in HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _format_now(pattern: str) -> str:
    return dt.datetime.now().strftime(pattern)
