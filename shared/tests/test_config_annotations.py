from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from lm_shared.config import (
    check_choice,
    check_scalar,
    describe,
    field_types,
    from_dict,
    is_union,
    possible_classes,
    to_dict,
)


@dataclass
class Shape:
    name: "str"


@dataclass(slots=True)
class Circle(Shape):
    radius: float = 1.0


@dataclass
class Keys:
    counts: dict[int, int]


@dataclass
class Untyped:
    anything: Any


@dataclass
class Ambiguous:
    place: str | Path


@dataclass
class Tagged:
    type: str


@dataclass
class HoldsTagged:
    tagged: Tagged | None


def test_strings_in_annotations_are_resolved() -> None:
    assert field_types(Circle) == {"name": str, "radius": float}


def test_both_spellings_of_a_union_are_recognized() -> None:
    assert is_union(int | None)
    assert is_union(Optional[int])  # noqa: UP045 - the old spelling is what is tested
    assert not is_union(tuple[int, str])


def test_subclasses_are_possible_and_slots_leave_no_twin() -> None:
    assert possible_classes(Shape) == {"Circle": Circle, "Shape": Shape}
    assert possible_classes(Circle | None) == {"Circle": Circle}
    assert possible_classes(int) == {}


def test_two_classes_of_one_name_are_refused() -> None:
    def other_shape() -> type:
        @dataclass
        class Shape:
            pass

        return Shape

    with pytest.raises(TypeError, match="two classes of one name"):
        possible_classes(Shape | other_shape())


def test_an_int_fits_a_float_and_a_bool_fits_neither() -> None:
    assert repr(check_scalar(float, 1, "x")) == "1.0"
    for annotation in (int, float):
        with pytest.raises(ValueError, match="got True"):
            check_scalar(annotation, True, "x")


def test_nothing_but_none_fits_none() -> None:
    for annotation in (None, type(None)):
        assert check_scalar(annotation, None, "x") is None
        with pytest.raises(ValueError, match=r"x: expected None.*, got 0"):
            check_scalar(annotation, 0, "x")


def test_descriptions_read_as_a_user_would_write_them() -> None:
    assert describe(int) == "int"
    assert describe(int | None) == "int | None"
    assert describe(tuple[int, ...]) == "tuple[int, ...]"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Keys(counts={1: 2}), "counts: .* needs string keys"),
        (Untyped(anything=1), "anything: Any has no JSON form"),
        (Ambiguous(place=Path("x")), "place: .* has the JSON form of another"),
        (HoldsTagged(tagged=Tagged(type="x")), "tagged: Tagged has a field named 'type'"),
    ],
)
def test_annotations_without_a_json_form_are_refused(config: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        to_dict(config)


def test_a_field_named_type_is_fine_where_no_tag_is_needed() -> None:
    assert from_dict(Tagged, to_dict(Tagged(type="x"))) == Tagged(type="x")


def test_only_the_words_of_the_type_pass() -> None:
    check_choice("colour", "green", Literal["red", "green"])
    with pytest.raises(ValueError, match="colour must be one of red, green, got 'blue'"):
        check_choice("colour", "blue", Literal["red", "green"])
    with pytest.raises(ValueError, match="got None"):
        check_choice("colour", None, Literal["red", "green"])
