"""Checks that the settings of every kind of run share."""

from typing import Any


def check_settings(
    config: Any, *, positive: tuple[str, ...], positive_or_none: tuple[str, ...]
) -> None:
    """Check named fields of ``config``, and that its ``seed`` can seed a generator.

    Raises:
        ValueError: A field is not positive (NaN is not), or the seed is negative; names it.
    """
    for name in positive:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")
    for name in positive_or_none:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive or None, got {value}")
    if config.seed < 0:
        raise ValueError(f"seed must not be negative, got {config.seed}")
