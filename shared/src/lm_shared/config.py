"""Strict conversion between configuration dataclasses and JSON.

A configuration is a frozen dataclass of numbers, strings, paths, enumerations, tuples,
dictionaries and other dataclasses. Writing and reading follow the annotations, so ``from_dict(C,
to_dict(c)) == c`` for every ``c``, and nothing is guessed: an unknown key, a missing key or a
value of another type is a ``ValueError`` that names the place ("optimizer.lr: expected float, got
'x'").

A dataclass in a place that could hold several classes (a union, or a base class) carries its
class name under ``"type"``: without the tag one optimizer's settings could be read as another's.

Not on cattrs: with a strict hook for every kind of value it is no shorter (docs/log.md).
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from lm_shared.files import read_json, write_json

ConfigT = TypeVar("ConfigT")
Converter = Callable[[Any, Any, str], Any]
"""``(annotation, value, place) -> converted``; ``ValueError`` where the value does not fit."""
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""Where to compute; ``auto`` takes an accelerator if there is one."""
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
"""In which numbers; ``auto`` takes what the hardware multiplies fast."""

_TAG = "type"
_ABSENT = object()
# An error stays a line that can be read.
_MOST_CHANGES = 3
_LONGEST_VALUE = 40


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a configuration dataclass into plain JSON values, checking them against the annotations.

    Raises:
        TypeError: ``config`` is not a dataclass, or an annotation has no JSON form.
        ValueError: a value does not fit its annotation, or a float is not finite.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"expected a dataclass object, got {config!r}")
    return _encode_fields(config, "")


def from_dict(config_class: type[ConfigT], data: Mapping[str, Any]) -> ConfigT:
    """Build ``config_class`` from what ``to_dict`` returned.

    Every field must be present, those with a default too: defaults change between versions, a
    recorded run must not.

    Raises:
        TypeError: ``config_class`` is not a dataclass, or an annotation has no JSON form.
        ValueError: unknown or missing keys, values of another type, or a broken invariant.
    """
    if not dataclasses.is_dataclass(config_class):
        raise TypeError(f"expected a dataclass, got {config_class!r}")
    return _decode_fields(config_class, data, "")


def save_config(config: Any, path: Path | str) -> None:
    """Write ``config`` as JSON, atomically."""
    write_json(path, to_dict(config))


def load_config(config_class: type[ConfigT], path: Path | str) -> ConfigT:
    """Read what ``save_config`` wrote; a ``ValueError`` names the file and the place in it."""
    data = read_json(path)
    try:
        return from_dict(config_class, data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def hash_config(config: Any) -> str:
    """Return 16 hex digits that identify the configuration's values."""
    canonical = json.dumps(to_dict(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def refuse_changes(folder: Path, kind: str, recorded: Any, wanted: Any) -> None:
    """Refuse a folder whose settings differ from those asked for.

    Args:
        folder: Where the earlier work is.
        kind: What errors call that, such as "another study".
        recorded: Its settings as JSON.
        wanted: Those asked for as JSON.

    Raises:
        ValueError: They differ; the message says where.
    """
    if recorded != wanted:
        raise ValueError(
            f"{folder} holds {kind} ({describe_changes(recorded, wanted)}): choose another folder, "
            "or replace this one by --overwrite"
        )


def describe_changes(recorded: Any, wanted: Any) -> str:
    """Say where two configurations as JSON differ: ``steps is 50 there and 60 here``.

    Args:
        recorded: What a file says, there.
        wanted: What is asked for, here.
    """
    changes = list(_find_changes(recorded, wanted, ""))
    words = "; ".join(changes[:_MOST_CHANGES])
    rest = len(changes) - _MOST_CHANGES
    return f"{words}; and {rest} more" if rest > 0 else words


def _find_changes(recorded: Any, wanted: Any, place: str) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        for name in dict.fromkeys([*recorded, *wanted]):
            there, here = recorded.get(name, _ABSENT), wanted.get(name, _ABSENT)
            yield from _find_changes(there, here, _join(place, name))
    elif isinstance(recorded, list) and isinstance(wanted, list) and len(recorded) == len(wanted):
        for number, (there, here) in enumerate(zip(recorded, wanted, strict=True)):
            yield from _find_changes(there, here, f"{place}[{number}]")
    elif recorded != wanted:
        there, here = (_shorten(value) for value in (recorded, wanted))
        yield f"{place or 'it'} is {there} there and {here} here"


def _shorten(value: Any) -> str:
    text = "absent" if value is _ABSENT else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _encode_fields(config: Any, place: str) -> dict[str, Any]:
    return {
        name: _encode(annotation, getattr(config, name), _join(place, name))
        for name, annotation in field_types(type(config)).items()
    }


def _encode(annotation: Any, value: Any, place: str) -> Any:
    """Return the JSON form of ``value``."""
    if dataclasses.is_dataclass(value) and (classes := possible_classes(annotation)):
        if type(value) not in classes.values():
            raise _mismatch(annotation, value, place)
        # A union is never a value's class, so its members are always tagged.
        return _encode_object(value, place, is_tagged=type(value) is not annotation)
    if is_union(annotation):
        return _encode_union(annotation, value, place)
    origin = typing.get_origin(annotation)
    if origin in (tuple, list):
        if not isinstance(value, origin):
            raise _mismatch(annotation, value, place)
        return _convert_items(_encode, annotation, value, place)
    if origin in (dict, Mapping):
        return _convert_mapping(_encode, annotation, value, place)
    if _is_named_class(annotation):
        if not isinstance(value, annotation):
            raise _mismatch(annotation, value, place)
        return value.name if isinstance(value, Enum) else str(value)
    return check_scalar(annotation, value, place)


def _encode_object(value: Any, place: str, *, is_tagged: bool) -> dict[str, Any]:
    fields = _encode_fields(value, place)
    if is_tagged and _TAG in fields:
        raise TypeError(
            f"{place}: {type(value).__name__} has a field named {_TAG!r}, as the tag is"
        )
    return {_TAG: type(value).__name__, **fields} if is_tagged else fields


def _encode_union(annotation: Any, value: Any, place: str) -> Any:
    encoded = _convert_union(_encode, annotation, value, place)
    # "str | Path" has one JSON form for two values, and would come back as the other.
    if type(_decode(annotation, encoded, place)) is not type(value):
        raise TypeError(f"{place}: {value!r} has the JSON form of another {describe(annotation)}")
    return encoded


def _decode_fields(config_class: type[ConfigT], data: Any, place: str) -> ConfigT:
    if not isinstance(data, Mapping):
        raise _mismatch(config_class, data, place or "config")
    annotations = field_types(config_class)
    for key in data:
        if key not in annotations:
            # Even a far-fetched hint shows how keys are spelled here.
            nearest = difflib.get_close_matches(str(key), annotations, n=1, cutoff=0.0)
            hint = f"; the nearest that it has is {nearest[0]!r}" if nearest else ""
            raise ValueError(f"{_join(place, key)}: {config_class.__name__} has no such key{hint}")
    for name in annotations:
        if name not in data:
            raise ValueError(f"{_join(place, name)}: missing, {config_class.__name__} needs it")
    values = {
        name: _decode(annotation, data[name], _join(place, name))
        for name, annotation in annotations.items()
    }
    try:
        return config_class(**values)
    except ValueError as error:
        raise ValueError(f"{place}: {error}" if place else str(error)) from error


def _decode(annotation: Any, data: Any, place: str) -> Any:
    """Return the value whose JSON form is ``data``."""
    if isinstance(data, Mapping) and (classes := possible_classes(annotation)):
        return _decode_object(annotation, classes, data, place)
    if is_union(annotation):
        return _convert_union(_decode, annotation, data, place)
    origin = typing.get_origin(annotation)
    if origin in (tuple, list):
        if not isinstance(data, list):
            raise _mismatch(annotation, data, place)
        return origin(_convert_items(_decode, annotation, data, place))
    if origin in (dict, Mapping):
        return _convert_mapping(_decode, annotation, data, place)
    if _is_named_class(annotation):
        name = check_scalar(str, data, place)
        if issubclass(annotation, Path):
            return annotation(name)
        if name not in (members := annotation.__members__):
            raise ValueError(f"{place}: expected one of {list(members)}, got {name!r}")
        return annotation[name]
    return check_scalar(annotation, data, place)


def _decode_object(
    annotation: Any, classes: Mapping[str, type], data: Mapping[str, Any], place: str
) -> Any:
    """Build the class that the tag names; it may be absent where the annotation names one class."""
    # The annotated class itself comes last, after its subclasses.
    candidates = list(classes.values())
    is_untagged = _TAG not in data or _TAG in field_types(candidates[-1])
    if is_untagged and (len(candidates) == 1 or not is_union(annotation)):
        return _decode_fields(candidates[-1], data, place)
    if data.get(_TAG) not in classes:
        choices = sorted(classes)
        raise ValueError(f"{_join(place, _TAG)}: expected one of {choices}, got {data.get(_TAG)!r}")
    fields = {key: value for key, value in data.items() if key != _TAG}
    return _decode_fields(classes[data[_TAG]], fields, place)


def _is_named_class(annotation: Any) -> bool:
    """Tell whether values are written by their name: enumeration members and paths."""
    return isinstance(annotation, type) and issubclass(annotation, Enum | Path)


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise unless ``value`` is one of the strings of a ``Literal``.

    Raises:
        ValueError: it is not; the message names the argument, the choices and the value.
    """
    words = typing.get_args(choices)
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, got {value!r}")


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
    members = typing.get_args(annotation) if is_union(annotation) else (annotation,)
    own = [member for member in members if _is_config_class(member)]
    if len({member.__name__ for member in own}) < len(own):
        raise TypeError(f"{describe(annotation)} has two classes of one name")
    # Members are added last: a subclass elsewhere must not shadow one that is named here.
    found = {name: one for member in own for name, one in _subclasses(member).items()}
    return found | {member.__name__: member for member in own}


def _is_config_class(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _subclasses(config_class: type) -> dict[str, type]:
    # ``slots=True`` leaves a twin without slots behind; the later one is the one that users hold.
    found: dict[str, type] = {}
    for subclass in config_class.__subclasses__():
        if dataclasses.is_dataclass(subclass):
            found |= {subclass.__name__: subclass} | _subclasses(subclass)
    return found


def _convert_items(convert: Converter, annotation: Any, values: Any, place: str) -> list[Any]:
    """Convert the items of a tuple or list."""
    arguments = typing.get_args(annotation)
    is_fixed = typing.get_origin(annotation) is tuple and arguments[1:] != (...,)
    if is_fixed and len(values) != len(arguments):
        raise _mismatch(annotation, values, place)
    return [
        convert(arguments[index if is_fixed else 0], value, f"{place}[{index}]")
        for index, value in enumerate(values)
    ]


def _convert_mapping(
    convert: Converter, annotation: Any, values: Any, place: str
) -> dict[str, Any]:
    """Convert the values of a dictionary; its keys must be strings, as JSON's are."""
    key_type, value_type = typing.get_args(annotation)
    if key_type is not str:
        raise TypeError(f"{place}: {describe(annotation)} needs string keys to have a JSON form")
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise _mismatch(annotation, values, place)
    return {key: convert(value_type, value, _join(place, key)) for key, value in values.items()}


def _convert_union(convert: Converter, annotation: Any, value: Any, place: str) -> Any:
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
    raise _mismatch(annotation, value, place)


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
    if annotation in (None, types.NoneType) and value is None:
        return None
    if annotation in (None, types.NoneType) or _is_config_class(annotation):
        raise _mismatch(annotation, value, place)
    if annotation not in (int, float, str, bool):
        raise TypeError(f"{place}: {describe(annotation)} has no JSON form")
    is_fitting = isinstance(value, (int, float) if annotation is float else annotation)
    if not is_fitting or (isinstance(value, bool) and annotation is not bool):
        raise _mismatch(annotation, value, place)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: expected a finite float, got {value!r}")
    try:
        # A float field holds 1.0 whether 1 or 1.0 was given, so that both give the same hash.
        return annotation(value)
    except OverflowError as error:
        raise ValueError(f"{place}: the integer is too large for a float") from error


def _mismatch(annotation: Any, value: Any, place: str) -> ValueError:
    """Return the error that says what was expected and what was found."""
    return ValueError(f"{place}: expected {describe(annotation)}, got {value!r}")


def describe(annotation: Any) -> str:
    """Return the annotation as a user would write it, without module names."""
    if typing.get_origin(annotation) is None and isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _join(place: str, name: str) -> str:
    """Extend a dotted path."""
    return f"{place}.{name}" if place else name
