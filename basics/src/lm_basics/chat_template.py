"""Chat templates: Jinja programs that turn a conversation into the text a model was taught on.

Hugging Face folders carry one as ``chat_template`` in ``tokenizer_config.json`` or as a file of its
own. It comes from strangers and runs in Jinja's sandbox, with the functions that ``transformers``
gives it.

What is said in a conversation must not open or close turns, so a special token spelled there has
to become plain text, while the same token written by the template stays special. The template is
therefore shown the conversation with such spellings in disguise, one character exchanged for
another of the same length, and the disguise is taken off when the tokens are made.
"""

import datetime as dt
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension
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
        turns alone.

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
        spelled = {
            (index, token)
            for index, message in enumerate(messages)
            for token in special_tokens
            if any(token in text for text in _texts(message))
        }

        def render(hidden: set[tuple[int, str]]) -> str:
            disguised = [
                marks.put_on(message, [token for at, token in hidden if at == index])
                for index, message in enumerate(messages)
            ]
            return self._render(disguised, add_generation_prompt, marks)

        marked = render(spelled) if spelled else plain
        if marks.take_off(marked) != plain:
            # It looks for some of them. What the model itself said, such as its thoughts between
            # two tokens, it may find.
            own = {one for one in spelled if messages[one[0]].get("role") == "assistant"}
            spelled -= {one for one in own if marks.take_off(render({one})) != plain}
            marked = render(spelled)
        return marked

    def _render(self, messages: Turns, add_generation_prompt: bool, marks: "_Marks") -> str:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _GenerationBlock],
        )
        environment.extend(generation_marks=(marks.opening, marks.closing))
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _format_now}
        try:
            return environment.from_string(self.source).render(
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
    disguises: Mapping[str, str]
    """What stands for each first character of a special token."""

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
            opening=next(free), closing=next(free), disguises=dict(zip(first, free, strict=False))
        )

    def put_on(self, value: Any, special_tokens: Collection[str]) -> Any:
        """Return ``value`` with these tokens in disguise, in every text inside of it."""

        def hide(text: str) -> str:
            # The longest first, for one may begin with another; again, for one may overlap itself.
            for token in sorted(special_tokens, key=len, reverse=True):
                while token in text:
                    text = text.replace(token, self.disguises[token[0]] + token[1:])
            return text

        return _map_texts(value, hide)

    def take_off(self, text: str) -> str:
        """Return the text as it was said."""
        for character, disguise in self.disguises.items():
            text = text.replace(disguise, character).replace(json.dumps(disguise)[1:-1], character)
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


def _texts(value: Any) -> Iterator[str]:
    """Yield every text inside of messages, without the names of their parts."""
    found: list[str] = []
    _map_texts(value, lambda text: found.append(text) or text)
    yield from found


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_texts(one, change) for key, one in value.items()}
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
