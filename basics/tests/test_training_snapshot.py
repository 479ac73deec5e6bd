"""A saved state comes back equal, types included."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st

from lm_basics.optim import AdamW
from lm_basics.training import load_checkpoint, save_checkpoint
from lm_basics.training.snapshot import pack, unpack

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
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=3)
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


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_saved_state_comes_back_equal_types_included(state: dict[str, Any]) -> None:
    states, about = unpack(pack({"part": Holder(state)}, {"step": 3}), "the file")
    assert is_same(states, {"part": state})
    assert about == {"step": 3}


def test_a_state_that_is_no_plain_value_is_refused() -> None:
    with pytest.raises(TypeError, match="part/when: expected tensors and plain values"):
        pack({"part": Holder({"when": object()})}, {})


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


def test_a_file_of_the_format_before_still_loads() -> None:
    data = pack({"part": Holder({"betas": [0.9, 0.95], "m": torch.ones(2)})}, {"iteration": 1})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = header["__metadata__"]["checkpoint"]
    header["__metadata__"]["checkpoint"] = text.replace("lm-checkpoint-3", "lm-checkpoint-2")
    old = json.dumps(header).encode()
    states, about = unpack(len(old).to_bytes(8, "little") + old + data[8 + length :], "old")
    assert states["part"]["betas"] == [0.9, 0.95]
    assert about == {"iteration": 1}
