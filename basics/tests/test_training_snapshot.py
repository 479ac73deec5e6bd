"""A saved state comes back equal, types included."""

import io
import json
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable
from enum import IntEnum, StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lm_basics.optim import AdamW
from lm_basics.training import load_checkpoint, save_checkpoint
from lm_basics.training.snapshot import (
    TornSnapshotError,
    check_states,
    pack,
    read_about,
    unpack,
)

TENSORS = st.sampled_from(
    [
        torch.arange(6.0).view(2, 3),
        torch.tensor(3),
        torch.zeros(0, 2),
        torch.tensor([True, False]),
        torch.arange(6, dtype=torch.bfloat16).view(2, 3).T,
        torch.tensor([math.nan, -math.inf], dtype=torch.float64),
    ]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
# "$tensor" is what the file itself writes where a tensor was.
NAMES = st.sampled_from(["a", "b", "a/b", "$tensor", "$tuple", "1"]) | st.text(max_size=6)
KEYS = NAMES | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
VALUES = st.recursive(
    PLAIN | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(st.integers(0, 9), max_size=3).map(torch.Size)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=12,
)


class Holder:
    """A part of a checkpoint."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self.state = state_dict


def is_same(a: Any, b: Any) -> bool:
    """Compare values, types, order of keys and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        same_kind = a.dtype == b.dtype and a.shape == b.shape
        return same_kind and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    if isinstance(a, dict):
        return is_same(list(a), list(b)) and is_same(list(a.values()), list(b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    return repr(a) == repr(b)


DTYPES = sorted(
    {one for one in vars(torch).values() if isinstance(one, torch.dtype)},
    key=str,
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_of_tensor_is_refused_at_once_or_comes_back(dtype: torch.dtype) -> None:
    parts = {"part": Holder({"value": torch.empty(2, dtype=dtype)})}
    try:
        check_states(parts)
    except TypeError:
        return
    states, _ = unpack(pack(parts, {}), "the file")
    assert states["part"]["value"].dtype is dtype


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_saved_state_comes_back_equal_types_included(state: dict[str, Any]) -> None:
    states, about = unpack(pack({"part": Holder(state)}, {"step": 3}), "the file")
    assert is_same(states, {"part": state})
    assert about == {"step": 3}


class Point(NamedTuple):
    x: int


class Name(str):
    __slots__ = ()


class Rows(list[int]):
    pass


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Point(1),
        defaultdict(list),
        Counter("a"),
        {1},
        frozenset(),
        1j,
        b"a",
        range(2),
        deque([1]),
        Rows([1]),
        np.float32(1.0),
        np.int32(1),
        np.bool_(True),
        np.ones(2),
        torch.float32,
        torch.nn.Parameter(torch.ones(1)),
        pytest.param(torch.eye(2).to_sparse(), id="sparse"),
        pytest.param(torch.ones(1, dtype=torch.complex128), id="complex128"),
        pytest.param(torch.empty(1, device="meta"), id="meta"),
    ],
    ids=lambda value: type(value).__qualname__,
)
def test_what_would_come_back_as_something_else_is_refused_by_name(value: Any) -> None:
    states: dict[str, dict[str, Any]] = {"part/when/0": {"when": [value]}}
    if isinstance(value, Hashable):
        states["part/when"] = {"when": {value: 1}}
    for place, state in states.items():
        for refuse in (check_states, partial(pack, about={})):
            message = rf"{place}: expected .*\.{type(value).__qualname__}: "
            with pytest.raises(TypeError, match=message):
                refuse({"part": Holder(state)})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.1), 0.1),
        (np.float64("-inf"), -math.inf),
        (np.int64(-(2**63)), -(2**63)),
        (np.str_("$tuple"), "$tuple"),
        (Name("a"), "a"),
        (StrEnum("Letter", "B")("b"), "b"),
        (IntEnum("One", "ONE")(1), 1),
    ],
)
def test_what_is_derived_from_a_number_or_a_string_comes_back_as_that(
    value: Any, expected: Any
) -> None:
    state = {"value": [value], "key": {value: value}}
    states, _ = unpack(pack({"part": Holder(state)}, {}), "the file")
    assert is_same(states["part"], {"value": [expected], "key": {expected: expected}})


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    state = {"m": torch.ones(2, 3), "betas": (0.9, OrderedDict(a=1)), "lr": 1e-3}
    data = pack({"part": Holder(state)}, {"iteration": 12, "val_loss": 2.5})
    path, header = tmp_path / "file", 8 + int.from_bytes(data[:8], "little")
    for place in range(len(data)):
        for bit in (0, 1, 2, 5):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            with pytest.raises(TornSnapshotError, match="the file is no whole checkpoint"):
                unpack(bytes(changed), "the file")
        # What is read alone, to find the best one, is checked alone.
        path.write_bytes(changed)
        if place < header:
            with pytest.raises(TornSnapshotError, match="is no whole checkpoint"):
                read_about(path)
        else:
            assert read_about(path) == {"iteration": 12, "val_loss": 2.5}


@pytest.mark.parametrize("is_path", [True, False])
def test_the_optimizer_s_state_is_equal_after_a_checkpoint(is_path: bool, tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Module, AdamW]:
        model = torch.nn.Linear(3, 2)
        return model, AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    model, optimizer = make()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    place = tmp_path / "checkpoint" if is_path else io.BytesIO()
    save_checkpoint(model, optimizer, 3, place)
    if isinstance(place, io.BytesIO):
        place.seek(0)
    other_model, other = make()
    assert load_checkpoint(place, other_model, other) == 3
    assert is_same(other.state_dict(), optimizer.state_dict())
    assert other.param_groups[0]["betas"] == (0.9, 0.95)
    assert is_same(dict(other_model.state_dict()), dict(model.state_dict()))


@pytest.mark.parametrize("number", [2, 3])
def test_a_file_of_a_format_before_still_loads(number: int) -> None:
    data = pack({"part": Holder({"betas": [0.9, 0.95], "m": torch.ones(2)})}, {"iteration": 1})

    def rewritten(change: Callable[[dict[str, Any]], Any]) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        description = json.loads(header["__metadata__"]["checkpoint"])
        change(description)
        header["__metadata__"]["checkpoint"] = json.dumps(description)
        old = json.dumps(header).encode()
        return len(old).to_bytes(8, "little") + old + data[8 + length :]

    def to_older(description: dict[str, Any]) -> None:
        description["format"] = f"lm-checkpoint-{number}"
        del description["header_sha256"]

    states, about = unpack(rewritten(to_older), "old")
    assert states["part"]["betas"] == [0.9, 0.95]
    assert about == {"iteration": 1}
    # The hash belongs to the format.
    for change in (lambda one: one.pop("header_sha256"), lambda one: one.update(format="x")):
        with pytest.raises(TornSnapshotError, match="its header has changed"):
            unpack(rewritten(change), "changed")
    with pytest.raises(ValueError, match="old has format lm-checkpoint-1, expected lm-checkpoint"):
        unpack(rewritten(lambda one: (to_older(one), one.update(format="lm-checkpoint-1"))), "old")
