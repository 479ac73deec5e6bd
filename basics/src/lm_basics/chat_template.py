"""Chat templates: Jinja programs that turn a conversation into the text a model was taught on.

Hugging Face folders carry one as ``chat_template`` in ``tokenizer_config.json`` or as a file of its
own. It comes from strangers and runs in Jinja's sandbox, with the functions that ``transformers``
gives it.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lm_basics.chat_disguise import Marks, Turns, render_disguised, texts_of
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import compile_special_tokens, split_special_tokens
from lm_basics.tokenizer.tokenizer_json import CONFIG_FILE
from lm_shared.files import read_json

TEMPLATE_NAME = "chat_template.jinja"


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
            ValueError: The template is damaged, fails, or refuses these turns; these hold bytes,
                half a surrogate pair, or every character for private use.
        """
        marks = Marks.of([], [self.source, *texts_of(messages)])
        return marks.without_blocks(self._render(messages, add_generation_prompt, marks))

    def encode(
        self, tokenizer: Tokenizer, messages: Turns, *, add_generation_prompt: bool = True
    ) -> list[int]:
        """Return the ids of the conversation; what is said in it cannot spell special tokens.

        A template that looks for special tokens in what is said finds them in the model's own
        turns. In others' it finds none where one could come of it, or move.

        Raises:
            ValueError: What ``render`` refuses, and a template that fails without a special token
                that others spell.
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
        marks = Marks.of(special_ids, [self.source, *special_ids, *texts_of(messages)])
        marked = render_disguised(
            lambda turns: self._render(turns, add_generation_prompt, marks),
            messages,
            special_ids,
            [self.source, *self.special_tokens.values()],
            marks,
        )
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

    def _render(self, messages: Turns, add_generation_prompt: bool, marks: Marks) -> str:
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


@lru_cache(maxsize=16)
def _compile(source: str, marks: Marks) -> jinja2.Template:
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
