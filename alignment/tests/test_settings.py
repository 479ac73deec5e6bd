from dataclasses import dataclass

import pytest

from lm_alignment.settings import check_settings


@dataclass(frozen=True, kw_only=True)
class Settings:
    rate: float = 1.0
    every: int | None = None
    seed: int = 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate": 0.0}, "rate must be positive, got 0.0"),
        ({"rate": float("nan")}, "rate must be positive, got nan"),
        ({"every": 0}, "every must be positive or None, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_a_wrong_setting_is_named(wrong, message):
    check_settings(Settings(), positive=("rate",), positive_or_none=("every",))
    with pytest.raises(ValueError, match=message):
        check_settings(Settings(**wrong), positive=("rate",), positive_or_none=("every",))
