"""Sizes, rates and durations in words."""

from collections.abc import Sequence

_DECIMAL = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_DURATIONS = ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes"))


def in_bytes(number: float) -> str:
    """Return ``26.2 GB``; a gigabyte is 1e9 bytes."""
    return f"{_scaled(number, _DECIMAL)}B"


def in_flops(number: float) -> str:
    """Return ``3.517e+12``, as papers write it."""
    return f"{number:.4g}" if number < 1e6 else f"{number:.3e}"


def in_count(number: float) -> str:
    """Return ``1.64 billion``."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.4g} {word}"
    return f"{number:,.4g}" if number < 1000 else f"{number:,.0f}"


def in_time(seconds: float) -> str:
    """Return ``202 days`` or ``31.2 ms``."""
    for size, word in _DURATIONS:
        if seconds >= 2 * size:
            return f"{seconds / size:,.4g} {word}"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _scaled(number: float, units: Sequence[tuple[float, str]]) -> str:
    for size, letter in units:
        if number >= size:
            return f"{number / size:.3g} {letter}" if number < 1e18 else f"{number / size:,.0f} P"
    return f"{number:.0f} "
