"""The state of several objects as one safetensors file, never a pickle.

The tensors lie in the file under their place (``optimizer/state/0/m``); its header holds one JSON
description: the states with a reference where a tensor was, what the caller wants to know later,
and a hash of the tensors, because a file may keep its length and lose its content. What JSON lacks,
tuples and keys that are no strings, is marked, so that a state comes back equal, types included.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_FORMAT = "lm-checkpoint-3"
# It has no tuples: they come back as lists.
_OLDER_FORMATS = ("lm-checkpoint-2",)
_HEADER_KEY = "checkpoint"
_TENSOR, _ITEMS, _TUPLE = "$tensor", "$items", "$tuple"


class TornSnapshotError(ValueError):
    """A file that is no whole snapshot: cut off, damaged, or something else."""


@runtime_checkable
class Stateful(Protocol):
    """What can be saved and restored: a module, an optimizer, and the like."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values, nested in dictionaries, lists and tuples."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take over what ``state_dict`` returned; its tensors are on the CPU."""
        ...


def pack(parts: Mapping[str, Stateful], about: Mapping[str, Any]) -> bytes:
    """Return the states of ``parts``, and the JSON values ``about`` them, as a file's content.

    Raises:
        TypeError: A state holds something that is neither a tensor nor a plain value.
    """
    tensors: dict[str, Tensor] = {}
    states = {name: _encode(part.state_dict(), name, tensors) for name, part in parts.items()}
    description = {
        "format": _FORMAT,
        "about": dict(about),
        "states": states,
        "sha256": _hash(tensors),
    }
    return safetensors.torch.save(tensors, {_HEADER_KEY: json.dumps(description)})


def unpack(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the states and what is said about them.

    Args:
        data: What ``pack`` returned.
        name: What errors call the file.

    Raises:
        TornSnapshotError: It is not that.
        ValueError: It is in another format.
    """
    try:
        safetensors.deserialize(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    except (safetensors.SafetensorError, ValueError) as error:
        raise _torn(name, error) from error
    description = _read_description(metadata, name)
    tensors = safetensors.torch.load(data)
    if _hash(tensors) != description["sha256"]:
        raise _torn(name, "its tensors have changed since they were written")
    states = {part: _decode(one, tensors) for part, one in description["states"].items()}
    return states, description["about"]


def read_about(path: Path) -> dict[str, Any]:
    """Return what is said about a file's states from its header alone.

    Raises:
        TornSnapshotError: It is no whole snapshot.
        ValueError: It is in another format.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata()
    except safetensors.SafetensorError as error:
        raise _torn(str(path), error) from error
    return _read_description(metadata, str(path))["about"]


def restore(parts: Mapping[str, Stateful], states: Mapping[str, Any], name: str) -> None:
    """Load the states into the parts of the same names.

    Raises:
        ValueError: A part's state is absent from the file ``name``, or does not fit.
    """
    for part_name, part in parts.items():
        if part_name not in states:
            raise ValueError(f"{name} holds {sorted(states)}, but no state of the {part_name}")
        try:
            part.load_state_dict(states[part_name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(f"{name} does not fit the {part_name}: {error}") from error


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON and put its tensors into ``tensors``."""
    if isinstance(value, Tensor):
        # Keys may hold slashes, and 1 and "1" may be keys side by side.
        while place in tensors:
            place += "'"
        # A copy of its own: safetensors refuses tensors that share memory, as tied weights do.
        tensors[place] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: place}
    if isinstance(value, Mapping):
        items = [(key, _encode(one, f"{place}/{key}", tensors)) for key, one in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(items)
        # JSON would turn the integers that optimizers count parameters with into strings.
        return {_ITEMS: [(_encode(key, place, tensors), one) for key, one in items]}
    if isinstance(value, list | tuple):
        values = [_encode(one, f"{place}/{i}", tensors) for i, one in enumerate(value)]
        return {_TUPLE: values} if isinstance(value, tuple) else values
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{place}: expected tensors and plain values, got {value!r}")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_decode(one, tensors) for one in value[_TUPLE])
    if _ITEMS in value:
        return {_decode(key, tensors): _decode(one, tensors) for key, one in value[_ITEMS]}
    return {key: _decode(one, tensors) for key, one in value.items()}


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_description(metadata: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    try:
        description = json.loads((metadata or {})[_HEADER_KEY])
        lacking = {"format", "about", "states", "sha256"} - {*description}
    except (KeyError, ValueError, TypeError) as error:
        raise _torn(name, "its header describes none") from error
    if not isinstance(description, dict) or lacking:
        raise _torn(name, "its header describes none")
    if description["format"] not in (_FORMAT, *_OLDER_FORMATS):
        raise ValueError(f"{name} has format {description['format']}, expected {_FORMAT}")
    return description


def _torn(name: str, reason: object) -> TornSnapshotError:
    return TornSnapshotError(f"{name} is no whole checkpoint ({reason}): delete it")
