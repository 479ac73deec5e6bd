"""Words of what commands print: numbers, tokens, and where the result is."""

import shlex
from contextlib import suppress
from itertools import count
from pathlib import Path

_SHOWN_LENGTH = 40


def counted(number: int, noun: str) -> str:
    """Return ``1 token`` or ``2,000 tokens``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def shortened(token: bytes | str) -> str:
    """Return a token in quotes, as text if it is any; of a long one the beginning and length."""
    if isinstance(token, bytes):
        with suppress(UnicodeDecodeError):
            token = token.decode()
    if len(token) <= _SHOWN_LENGTH:
        return repr(token)
    unit = "bytes" if isinstance(token, bytes) else "characters"
    return f"{token[:_SHOWN_LENGTH]!r} … {len(token):,} {unit}"


def wrote(*places: Path, then: tuple[object, ...] = ()) -> str:
    """Return how a command ends that made something: where it is, and what to type next.

    Args:
        places: Files or folders; a command that only shows something has none.
        then: Words of a command that goes on from there, without ``uv run``.
    """
    lines = [f"wrote {' and '.join(map(str, places))}"] if places else []
    if then:
        lines.append(f"next: uv run {shlex.join(map(str, then))}")
    return "\n".join(lines)


def changed(*options: tuple[str, object, object]) -> tuple[object, ...]:
    """Return name and value of the options, of three words each, that differ from the usual."""
    return tuple(word for name, value, usual in options if value != usual for word in (name, value))


def free_output(default: Path) -> tuple[object, ...]:
    """Return the option of another output for a command whose own is taken, of others none."""
    numbered = (default.with_stem(f"{default.stem}-{number}") for number in count(2))
    return (
        ("--output", next(one for one in numbered if not one.exists())) if default.exists() else ()
    )
