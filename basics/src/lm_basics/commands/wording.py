"""Words around a number or a token in what a command prints."""

_SHOWN_LENGTH = 40


def counted(number: int, noun: str) -> str:
    """Return ``1 token`` or ``2,000 tokens``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def shortened(token: bytes | str) -> str:
    """Return a token as Python spells it; of a long one the beginning, and its length."""
    if len(token) <= _SHOWN_LENGTH:
        return repr(token)
    unit = "bytes" if isinstance(token, bytes) else "characters"
    return f"{token[:_SHOWN_LENGTH]!r} … {len(token):,} {unit}"
