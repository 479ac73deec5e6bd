"""Where this project keeps what it can make again."""

from pathlib import Path

_NAME = "lm-from-scratch"


def user_cache_folder() -> Path:
    """Return our folder among the caches of the user; it need not exist."""
    try:
        from platformdirs import user_cache_path  # noqa: PLC0415 - GPU images often lack it
    except ImportError:
        return Path.home() / ".cache" / _NAME
    return user_cache_path(_NAME)
