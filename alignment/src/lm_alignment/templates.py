"""The chat template: turns of a conversation between special tokens.

A user's turn is ``<|user|>question``; the model answers after ``<|assistant|>`` and ends its turn
with ``<|endoftext|>``, the token that ended documents in pretraining. Questions are untrusted: a
special token spelled inside one is encoded as plain text and so cannot open a turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lm_basics.tokenizer import END_OF_TEXT, Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn."""

    role: Literal["user", "assistant"]
    """Who speaks."""
    content: str
    """What is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatTemplate:
    """The special tokens around the turns."""

    user: str = "<|user|>"
    """Opens a user's turn."""
    assistant: str = "<|assistant|>"
    """Opens the model's turn."""
    end: str = END_OF_TEXT
    """Ends the model's turn."""

    def __post_init__(self) -> None:
        tokens = (self.user, self.assistant, self.end)
        if len(set(tokens)) != len(tokens) or not all(tokens):
            raise ValueError(f"the three special tokens must differ and not be empty, got {tokens}")

    @property
    def special_tokens(self) -> list[str]:
        """What a tokenizer must have, the end of text first."""
        return [self.end, self.user, self.assistant]

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Return the conversation as one string, as ``to_jinja`` describes it.

        Args:
            messages: The turns so far.
            add_generation_prompt: Whether to open a turn of the model at the end.
        """
        turns = [
            f"{self.user}{message.content}"
            if message.role == "user"
            else f"{self.assistant}{message.content}{self.end}"
            for message in messages
        ]
        return "".join(turns) + (self.assistant if add_generation_prompt else "")

    def encode_prompt(self, tokenizer: Tokenizer, question: str | Sequence[Message]) -> list[int]:
        """Return the ids after which the model answers a question, or the last of several turns.

        Raises:
            ValueError: the tokenizer lacks a special token of the template.
        """
        turns = [Message(role="user", content=question)] if isinstance(question, str) else question
        ids, _ = self.encode_turns(tokenizer, turns)
        return [*ids, self._special_id(tokenizer, self.assistant)]

    def encode_turns(
        self, tokenizer: Tokenizer, messages: Sequence[Message]
    ) -> tuple[list[int], list[bool]]:
        """Return the ids of the conversation, and which of them the model is to say itself.

        These are the contents of its turns with the token that ends each. What opens a turn is
        given, and nothing in a content is special, whatever it spells.

        Raises:
            ValueError: the tokenizer lacks a special token of the template.
        """
        ids: list[int] = []
        is_own: list[bool] = []
        for message in messages:
            own = message.role == "assistant"
            opening = self._special_id(tokenizer, self.assistant if own else self.user)
            said = (
                self.encode_answer(tokenizer, message.content)
                if own
                else tokenizer.encode(message.content, allowed_special=())
            )
            ids += [opening, *said]
            is_own += [False, *[own] * len(said)]
        return ids, is_own

    def encode_answer(self, tokenizer: Tokenizer, answer: str) -> list[int]:
        """Return the ids of the model's turn, its end included."""
        return [*tokenizer.encode(answer, allowed_special=()), self.end_token_id(tokenizer)]

    def end_token_id(self, tokenizer: Tokenizer) -> int:
        """Return the id at which generation stops."""
        return self._special_id(tokenizer, self.end)

    def to_jinja(self) -> str:
        """Return the template in the language of ``tokenizer_config.json``'s ``chat_template``."""
        user, assistant, end = (_quote(token) for token in (self.user, self.assistant, self.end))
        return (
            "{% for message in messages %}"
            "{% if message['role'] == 'user' %}"
            f"{{{{ {user} + message['content'] }}}}"
            "{% elif message['role'] == 'assistant' %}"
            f"{{{{ {assistant} + message['content'] + {end} }}}}"
            "{% else %}"
            "{{ raise_exception('roles are user and assistant, got ' + message['role']) }}"
            "{% endif %}"
            "{% endfor %}"
            f"{{% if add_generation_prompt %}}{{{{ {assistant} }}}}{{% endif %}}"
        )

    def _special_id(self, tokenizer: Tokenizer, token: str) -> int:
        if token not in tokenizer.special_token_ids:
            raise ValueError(
                f"the chat template needs the special token {token!r}, but the tokenizer only has "
                f"{sorted(tokenizer.special_token_ids)}: alignment sft teaches a model all of them"
            )
        return tokenizer.special_token_ids[token]


def alpaca_prompt(instruction: str) -> str:
    """Return an instruction in the format of Alpaca (Taori et al., 2023), up to the response."""
    return (
        "Below is an instruction that describes a task. Write a response that appropriately "
        f"completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
    )


def _quote(token: str) -> str:
    # Jinja strings escape like Python ones.
    escaped = token.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
