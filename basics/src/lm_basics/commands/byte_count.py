"""Numbers of bytes as people write them."""

import re

_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_FACTORS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_byte_count(text: str) -> int:
    """Return the number that ``500_000``, ``2.5GB`` or ``16MiB`` stands for.

    Raises:
        ValueError: it is none of these.
    """
    match = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kmgt]i?|)b?", text.strip().lower())
    if match is None:
        raise ValueError(
            f"expected a number of bytes such as 500_000, 2.5GB or 16MiB, got {text!r}"
        )
    number, unit = match.groups()
    return round(float(number) * (_FACTORS | _BINARY_FACTORS)[unit])
