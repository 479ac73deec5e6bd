"""Type annotations as a schema: what a field of a configuration may hold.

``lm_shared.config`` walks values by these questions: which classes are possible here, which
annotation does each item of a sequence have, does this number fit.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union

Converter = Callable[[Any, Any, str], Any]
"""``(annotation, value, place) -> converted``; ``ValueError`` where the value does not fit."""


@functools.cache
def field_types(config_class: type) -> dict[str, Any]:
    """Map each constructor field to its annotation, with strings resolved."""
    hints = typing.get_type_hints(config_class)
    return {
        field.name: hints[field.name] for field in dataclasses.fields(config_class) if field.init
    }


def is_union(annotation: Any) -> bool:
    """Tell whether ``annotation`` is ``A | B`` or ``Union[A, B]``."""
    return typing.get_origin(annotation) in (Union, types.UnionType)


def possible_classes(annotation: Any) -> dict[str, type]:
    """Map class names to the dataclasses that ``annotation`` allows, subclasses included.

    Raises:
        TypeError: two members of a union have the same name, so that a tag cannot tell them apart.
    """
    if is_union(annotation):
        members = [member for member in typing.get_args(annotation) if _is_config_class(member)]
        if len({member.__name__ for member in members}) < len(members):
            raise TypeError(f"{describe(annotation)} has two classes of one name")
        # Members are added last: a subclass elsewhere must not shadow one that is named here.
        found = {name: one for member in members for name, one in _subclasses(member).items()}
        return found | {member.__name__: member for member in members}
    return (
        _subclasses(annotation) | {annotation.__name__: annotation}
        if _is_config_class(annotation)
        else {}
    )


def _is_config_class(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _subclasses(config_class: type) -> dict[str, type]:
    # ``slots=True`` leaves a twin without slots behind; the later one is the one that users hold.
    found: dict[str, type] = {}
    for subclass in config_class.__subclasses__():
        if dataclasses.is_dataclass(subclass):
            found |= {subclass.__name__: subclass} | _subclasses(subclass)
    return found


def sequence_items(annotation: Any, values: Any, place: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield ``(annotation, value, place)`` for each item of a tuple or list."""
    arguments = typing.get_args(annotation)
    is_fixed = typing.get_origin(annotation) is tuple and arguments[1:] != (...,)
    if is_fixed and len(values) != len(arguments):
        raise mismatch(annotation, values, place)
    for index, value in enumerate(values):
        yield arguments[index if is_fixed else 0], value, f"{place}[{index}]"


def convert_mapping(convert: Converter, annotation: Any, values: Any, place: str) -> dict[str, Any]:
    """Convert the values of a dictionary; its keys must be strings, as JSON's are."""
    key_type, value_type = typing.get_args(annotation)
    if key_type is not str:
        raise TypeError(f"{place}: {describe(annotation)} needs string keys to have a JSON form")
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise mismatch(annotation, values, place)
    return {key: convert(value_type, value, join(place, key)) for key, value in values.items()}


def convert_union(convert: Converter, annotation: Any, value: Any, place: str) -> Any:
    """Convert by the first member that fits, whole numbers before floats."""
    members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
    if value is None and len(members) < len(typing.get_args(annotation)):
        return None
    if len(members) == 1:
        return convert(members[0], value, place)
    # A float would take any whole number, and the number would come back as another type.
    for member in sorted(members, key=lambda member: member is float):
        try:
            return convert(member, value, place)
        except ValueError:
            continue
    raise mismatch(annotation, value, place)


def check_scalar(annotation: Any, value: Any, place: str) -> Any:
    """Return ``value`` if it fits; an int fits a float, a bool fits neither.

    Raises:
        TypeError: ``annotation`` has no JSON form.
        ValueError: ``value`` does not fit, or is a float that JSON cannot hold.
    """
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        # In Python 1 == 1.0 == True, so the type must agree as well.
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        raise ValueError(f"{place}: expected one of {list(choices)}, got {value!r}")
    if annotation is None or annotation is types.NoneType:
        if value is not None:
            raise mismatch(annotation, value, place)
        return None
    if _is_config_class(annotation):
        raise mismatch(annotation, value, place)
    if annotation not in (int, float, str, bool):
        raise TypeError(f"{place}: {describe(annotation)} has no JSON form")
    is_fitting = isinstance(value, (int, float) if annotation is float else annotation)
    if not is_fitting or (isinstance(value, bool) and annotation is not bool):
        raise mismatch(annotation, value, place)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: expected a finite float, got {value!r}")
    try:
        # A float field holds 1.0 whether 1 or 1.0 was given, so that both give the same hash.
        return annotation(value)
    except OverflowError as error:
        raise ValueError(f"{place}: the integer is too large for a float") from error


def mismatch(annotation: Any, value: Any, place: str) -> ValueError:
    """Return the error that says what was expected and what was found."""
    return ValueError(f"{place}: expected {describe(annotation)}, got {value!r}")


def describe(annotation: Any) -> str:
    """Return the annotation as a user would write it, without module names."""
    if typing.get_origin(annotation) is None and isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def join(place: str, name: str) -> str:
    """Extend a dotted path."""
    return f"{place}.{name}" if place else name
