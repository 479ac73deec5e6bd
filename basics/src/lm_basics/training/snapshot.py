"""The state of several objects as one safetensors file, never a pickle.

The tensors lie in the file under their place (``optimizer/state/0/m``); its header holds one JSON
description: the states with a reference where a tensor was, what the caller wants to know later,
and two hashes, of the tensors and of the header itself, because a file may keep its length and lose
its content. What JSON lacks, such as tuples and keys that are no strings, is marked, so that a
state comes back equal, types included; what cannot is refused. Only numbers and strings of a class
derived from Python's, as ``np.float64`` is, and ``np.int64`` come back as Python's own, which equal
them.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

_FORMAT = "lm-checkpoint-4"
# They hash the tensors alone; ordered dictionaries come back as plain ones, of 2 tuples as lists.
_OLDER_FORMATS = ("lm-checkpoint-3", "lm-checkpoint-2")
_HEADER_KEY = "checkpoint"
_HEADER_HASH = "header_sha256"
_NO_HASH = "0" * 64
_TENSOR = "$tensor"
_MAPPINGS: dict[type, str] = {dict: "$items", OrderedDict: "$ordered"}
_SEQUENCES: dict[type, str] = {list: "$list", tuple: "$tuple", torch.Size: "$size"}
_KINDS = {mark: kind for kind, mark in (_MAPPINGS | _SEQUENCES).items()}
_PLAIN = (type(None), int, float, str)
# Those that safetensors writes and reads again; others it writes alone.
_DTYPES = frozenset(
    {torch.bool, torch.complex64}
    | {torch.int8, torch.int16, torch.int32, torch.int64}
    | {torch.uint8, torch.uint16, torch.uint32, torch.uint64}
    | {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    | {torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz}
)


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
    states, found = _describe(parts)
    # Copies of their own: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        place: tensor.detach().to("cpu", copy=True).contiguous() for place, tensor in found.items()
    }
    description = {
        # First: its place is found without reading the rest.
        _HEADER_HASH: _NO_HASH,
        "format": _FORMAT,
        "about": dict(about),
        "states": states,
        "sha256": _hash(tensors),
    }
    data = safetensors.torch.save(tensors, {_HEADER_KEY: json.dumps(description)})
    header = _read_header(data)
    signed = header.replace(_NO_HASH.encode(), _hash_header(header).encode(), 1)
    return b"".join((signed, memoryview(data)[len(header) :]))


def check_states(parts: Mapping[str, Stateful]) -> None:
    """Raise the ``TypeError`` that ``pack`` would, and copy nothing."""
    _describe(parts)


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
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _torn(name, error) from error
    description = _read_description(_read_header(data), name)
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
        # Compares the header with the file's length.
        with safetensors.safe_open(str(path), framework="pt"), path.open("rb") as file:
            length = file.read(8)
            header = length + file.read(int.from_bytes(length, "little"))
    except safetensors.SafetensorError as error:
        raise _torn(str(path), error) from error
    return _read_description(header, str(path))["about"]


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


def _describe(parts: Mapping[str, Stateful]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the states as JSON, and their tensors by place."""
    tensors: dict[str, Tensor] = {}
    states = {name: _encode(part.state_dict(), name, tensors) for name, part in parts.items()}
    return states, tensors


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON and put its tensors into ``tensors``."""
    # JSON writes what is derived from a number or a string by the value of the base.
    if isinstance(value, _PLAIN):
        return value
    # The very types: what is derived from one, a named tuple for instance, would come back as it.
    kind = type(value)
    if kind is np.int64:
        return int(value)
    if kind is Tensor and _comes_back(value):
        # Keys may hold slashes, and 1 and "1" may be keys side by side.
        while place in tensors:
            place += "'"
        tensors[place] = value
        return {_TENSOR: place}
    if kind in _MAPPINGS:
        items = [(key, _encode(one, f"{place}/{key}", tensors)) for key, one in value.items()]
        if kind is dict and all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(items)
        # JSON would turn the integers that optimizers count parameters with into strings.
        return {_MAPPINGS[kind]: [(_encode(key, place, tensors), one) for key, one in items]}
    if kind in _SEQUENCES:
        values = [_encode(one, f"{place}/{i}", tensors) for i, one in enumerate(value)]
        return values if kind is list else {_SEQUENCES[kind]: values}
    what = (
        f"{value.layout} of {value.dtype} on {value.device}"
        if isinstance(value, Tensor)
        else repr(value)
    )
    raise TypeError(
        f"{place}: expected dense tensors, plain values, and dictionaries, lists and tuples of "
        f"them, got a {kind.__module__}.{kind.__qualname__}: {what}"
    )


def _comes_back(tensor: Tensor) -> bool:
    # A tensor on the meta device has no values.
    return tensor.layout is torch.strided and tensor.dtype in _DTYPES and not tensor.is_meta


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    mark = next(iter(value), "")
    kind = _KINDS.get(mark)
    if kind in _MAPPINGS:
        return kind((_decode(key, tensors), _decode(one, tensors)) for key, one in value[mark])
    if kind in _SEQUENCES:
        return kind(_decode(one, tensors) for one in value[mark])
    return {key: _decode(one, tensors) for key, one in value.items()}


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_header(data: bytes) -> bytes:
    """Return the header of a safetensors file, with its length before it."""
    return data[: 8 + int.from_bytes(data[:8], "little")]


def _hash_header(header: bytes) -> str:
    """Return the hash of a header whose own hash counts as zeros."""
    place = header.find(_HEADER_HASH.encode()) + len(_HEADER_HASH) + len('\\": \\"')
    digest = hashlib.sha256(header[:place])
    digest.update(_NO_HASH.encode() + header[place + len(_NO_HASH) :])
    return digest.hexdigest()


def _read_description(header: bytes, name: str) -> dict[str, Any]:
    try:
        description = json.loads(json.loads(header[8:])["__metadata__"][_HEADER_KEY])
        lacking = {"format", "about", "states", "sha256"} - {*description}
    except (KeyError, ValueError, TypeError) as error:
        raise _torn(name, "its header describes none") from error
    if not isinstance(description, dict) or lacking:
        raise _torn(name, "its header describes none")
    has_hash = _HEADER_HASH in description or description["format"] == _FORMAT
    if has_hash and description.get(_HEADER_HASH) != _hash_header(header):
        raise _torn(name, "its header has changed since it was written")
    if description["format"] not in (_FORMAT, *_OLDER_FORMATS):
        raise ValueError(f"{name} has format {description['format']}, expected {_FORMAT}")
    return description


def _torn(name: str, reason: object) -> TornSnapshotError:
    return TornSnapshotError(f"{name} is no whole checkpoint ({reason}): delete it")
