"""Examples out of people's own files: JSON lines, a JSON array (either gzipped or not), Parquet.

What a record holds is told by its keys, whatever else it has:

- ``question`` and ``answer``, ``prompt`` and ``response`` or ``completion``, ``instruction`` and
  ``output``, perhaps with an ``input`` (Alpaca): one exchange, for fine-tuning and for rewards;
- ``messages`` of ``role`` and ``content``, or ``conversations`` of ``from`` and ``value``: turns,
  for fine-tuning;
- ``chosen`` and ``rejected``, perhaps after a ``prompt``, as texts, turns, or whole transcripts as
  in HH (Bai et al., 2022): two answers, for learning preferences.

The chat template has no token for a system's turn, so one at the beginning is read as the beginning
of the user's first turn. Files are untrusted: records that are no examples are counted and named,
and the others used.
"""

import gzip
import json
import logging
import re
import reprlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lm_alignment.examples import Conversation, Example, PreferencePair
from lm_alignment.templates import Message
from lm_alignment.verifiers import find_reference
from lm_shared.files import parse_json_object

_TURNS = (
    ("messages",),
    ("conversations",),
    ("question", "answer"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("instruction", "output"),
)
_PREFERENCES = ("chosen", "rejected")
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
_SYSTEM = "system"
_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
# Of many records that are no examples, as many say what is wrong.
_MOST_NAMED = 5

ExampleT = TypeVar("ExampleT", Conversation, Example, PreferencePair)

_logger = logging.getLogger(__name__)


def read_conversations(path: Path) -> list[Conversation]:
    """Return what fine-tuning imitates.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or holds none; says what the first record holds instead.
    """
    return _read(path, lambda record: Conversation(messages=_parse_turns(record, "alignment sft")))


def read_questions(path: Path, pattern: str) -> list[Example]:
    """Return the questions of exchanges, with what a verifier with ``pattern`` compares with.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or holds none; says what the first record holds instead.
    """

    def parse(record: Mapping[str, Any]) -> Example:
        turns = _parse_turns(record, "alignment grpo")
        if [turn.role for turn in turns] != ["user", "assistant"]:
            raise ValueError(
                f"expected one question and its answer, got {len(turns)} turns: for alignment sft"
            )
        question, answer = (turn.content for turn in turns)
        return Example(question=question, answer=find_reference(answer, pattern))

    return _read(path, parse)


def read_preferences(path: Path) -> list[PreferencePair]:
    """Return answers of which one is preferred.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or holds none; says what the first record holds instead.
    """
    return _read(path, _parse_pair)


def _read(path: Path, parse: Callable[[Mapping[str, Any]], ExampleT]) -> list[ExampleT]:
    """Return all records that can be parsed; warn of the others."""
    found: list[ExampleT] = []
    faults: list[str] = []
    for place, record in _records(path):
        try:
            if isinstance(record, bytes):
                record = parse_json_object(record)  # noqa: PLW2901 - the same record, read
            if not isinstance(record, dict):
                raise ValueError(f"expected an object with keys, got {reprlib.repr(record)}")
            found.append(replace(parse(record), origin=f"{path} {place}"))
        except ValueError as error:
            faults.append(f"{place}: {error}")
    if not found:
        first = faults[0] if faults else "it is empty"
        raise ValueError(f"{path} holds no example that can be used; {first}")
    if faults:
        _logger.warning(
            "%d of %d records of %s are no examples and left out; %s%s",
            len(faults),
            len(faults) + len(found),
            path,
            "; ".join(faults[:_MOST_NAMED]),
            f"; and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else "",
        )
    return found


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield where each record stands, and what does: of JSON lines the bytes, else a value."""
    if path.suffix == ".parquet":
        yield from ((f"row {n}", row) for n, row in enumerate(_read_parquet(path), start=1))
        return
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
            lines = enumerate(data.splitlines(), start=1)
            yield from ((f"line {n}", line) for n, line in lines if line.strip())
            return
        records = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    yield from ((f"record {n}", record) for n, record in enumerate(records, start=1))


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet  # noqa: PLC0415 - takes longer than all other files do

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} is damaged or no Parquet file: {error}") from error


def _turn_keys(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of what is to be imitated, none where there is nothing."""
    return next((keys for keys in _TURNS if all(key in record for key in keys)), ())


def _parse_turns(record: Mapping[str, Any], command: str) -> tuple[Message, ...]:
    """Return the turns of an exchange or a conversation, the assistant's last."""
    if all(key in record for key in _PREFERENCES):
        raise ValueError(f"chosen and rejected are for alignment dpo, not for {command}")
    keys = _turn_keys(record)
    if not keys:
        known = ", ".join(" and ".join(keys) for keys in _TURNS)
        raise ValueError(f"expected one of {known}; got {', '.join(map(str, record)) or 'no keys'}")
    turns = _as_turns(record[keys[0]], "user")
    if keys[0] == "instruction" and record.get("input"):
        both = [*turns, *_as_turns(record["input"], "user")]
        turns = [("user", "\n\n".join(content for _, content in both))]
    if len(keys) > 1:
        turns += _as_turns(record[keys[1]], "assistant")
    return _finish(turns)


def _parse_pair(record: Mapping[str, Any]) -> PreferencePair:
    if not all(key in record for key in _PREFERENCES):
        if keys := _turn_keys(record):
            raise ValueError(f"{' and '.join(keys)} are for alignment sft, not for alignment dpo")
        raise ValueError(
            f"expected chosen and rejected; got {', '.join(map(str, record)) or 'no keys'}"
        )
    before = record.get("prompt", record.get("conversations"))
    opening = [] if before is None else _as_turns(before, "user")
    (prompt, chosen), (other, rejected) = (
        _split_answer(opening, record[key]) for key in _PREFERENCES
    )
    if prompt != other:
        raise ValueError("chosen and rejected answer different prompts")
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same answer")
    question = prompt[0].content if [turn.role for turn in prompt] == ["user"] else prompt
    return PreferencePair(prompt=question, chosen=chosen, rejected=rejected)


def _split_answer(opening: list[tuple[str, str]], answer: Any) -> tuple[tuple[Message, ...], str]:
    """Return the turns before an answer and the answer; it may repeat the turns itself."""
    if isinstance(answer, str) and not opening:
        answer = _split_transcript(answer)
    said = _as_turns(answer, "assistant")
    turns = _finish(said if len(said) > 1 else [*opening, *said])
    if len(turns) == 1:
        raise ValueError("expected a prompt, or the turns before the answers in both of them")
    return turns[:-1], turns[-1].content


def _split_transcript(text: str) -> list[dict[str, str]]:
    """Return the turns of a text such as HH's, each behind ``Human:`` or ``Assistant:``."""
    _, *parts = _SPEAKER.split(text)
    if not parts:
        raise ValueError('expected a prompt, or answers that begin with "Human: ", as in HH')
    names = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": names[name], "content": content.strip()}
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def _as_turns(value: Any, role: str) -> list[tuple[str, str]]:
    """Return the role and the content of one turn or of several; a text is said by ``role``."""
    turns = value if isinstance(value, list) else [value]
    if not turns:
        raise ValueError("expected at least one turn, got none")
    return [
        (role, _text(turn, role)) if isinstance(turn, str) else _parse_turn(turn) for turn in turns
    ]


def _parse_turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise ValueError(f"expected text or a turn with role and content, got {reprlib.repr(turn)}")
    role = turn.get("role", turn.get("from"))
    if role != _SYSTEM and role not in _ROLES:
        raise ValueError(f"roles are user, assistant and system, got {reprlib.repr(role)}")
    content = _text(turn.get("content", turn.get("value")), role)
    return _ROLES.get(role, _SYSTEM), content


def _text(value: Any, role: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text of the {role}, got {reprlib.repr(value)}")
    if not value.strip() and role != _SYSTEM:
        raise ValueError(f"the text of the {role} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the text of the {role} holds half a surrogate pair") from error
    return value


def _finish(turns: list[tuple[str, str]]) -> tuple[Message, ...]:
    """Put a system's turn into the user's first one, and check who has the last word."""
    if len(turns) > 1 and turns[0][0] == _SYSTEM and turns[1][0] == "user":
        said = [content for _, content in turns[:2] if content]
        turns = [("user", "\n\n".join(said)), *turns[2:]]
    messages: list[Message] = []
    for role, content in turns:
        if role != "user" and role != "assistant":
            raise ValueError("a system's turn must stand at the beginning, before a user's")
        messages.append(Message(role=role, content=content))
    if messages[-1].role != "assistant":
        raise ValueError("the last turn must be the assistant's, got the user's")
    return tuple(messages)
