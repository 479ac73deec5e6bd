from typing import Literal

import pytest

from lm_shared.choices import check_choice

Colour = Literal["red", "green"]


def test_only_the_words_of_the_type_pass() -> None:
    check_choice("colour", "green", Colour)
    with pytest.raises(ValueError, match="colour must be one of red, green, got 'blue'"):
        check_choice("colour", "blue", Colour)
    with pytest.raises(ValueError, match="got None"):
        check_choice("colour", None, Colour)
