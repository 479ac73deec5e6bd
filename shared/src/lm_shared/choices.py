"""Arguments that must be one of a few words."""

from typing import Any, Literal, get_args

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute; ``auto`` takes an accelerator if there is one."""
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
"""In which numbers; ``auto`` takes what the hardware multiplies fast."""


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise unless ``value`` is one of the strings of a ``Literal``.

    Raises:
        ValueError: it is not; the message names the argument, the choices and the value.
    """
    words = get_args(choices)
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {value!r}")
