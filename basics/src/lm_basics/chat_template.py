"""Chat templates: Jinja programs that turn a conversation into the text a model was taught on.

Hugging Face folders carry one as ``chat_template`` in ``tokenizer_config.json`` or as a file of its
own. It comes from strangers and runs in Jinja's sandbox.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lm_basics.tokenizer.bpe import Tokenizer
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

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the conversation as text, with the model's turn opened at its end.

        Raises:
            ValueError: The template is damaged, or refuses these turns.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _format_now}
        try:
            return environment.from_string(self.source).render(
                messages=list(messages), add_generation_prompt=True, **self.special_tokens
            )
        except jinja2.TemplateError as error:
            raise ValueError(f"the model's chat template: {error}") from error

    def encode(self, tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the ids of the conversation; what is said in it cannot spell special tokens."""
        contents = [message["content"] for message in messages]
        if not any(token in text for text in contents for token in tokenizer.special_token_ids):
            return tokenizer.encode(self.render(messages))
        # Marks instead of what was said: around them the template's tokens are special.
        marks = [f"\0{i}\0" for i in range(len(messages))]
        rest = self.render(
            [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        )
        ids: list[int] = []
        for mark, content in zip(marks, contents, strict=True):
            before, found, rest = rest.partition(mark)
            ids += tokenizer.encode(before)
            ids += tokenizer.encode(content if found else "", allowed_special=())
        return ids + tokenizer.encode(rest)


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
        source = (folder / TEMPLATE_NAME).read_text(encoding="utf-8")
    if not isinstance(source, str):
        return None
    tokens = {name: value for name, value in config.items() if name.endswith("_token")}
    # Others also write one like an added token, with its content and options.
    plain = {
        name: value.get("content") if isinstance(value, dict) else value
        for name, value in tokens.items()
    }
    special = {name: value for name, value in plain.items() if isinstance(value, str)}
    return ChatTemplate(source=source, special_tokens=special)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _format_now(pattern: str) -> str:
    return dt.datetime.now().strftime(pattern)
