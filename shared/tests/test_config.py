import json
import math
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings, strategies as st

from lm_shared.config import (
    describe,
    describe_changes,
    from_dict,
    hash_config,
    load_config,
    save_config,
    to_dict,
)


class Norm(Enum):
    RMS = "rms_norm"
    LAYER = "layer_norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sgd:
    lr: float = 3e-4
    momentum: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {self.warmup_steps}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine(Schedule):
    final_fraction: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    optimizer: AdamW | Sgd = field(default_factory=AdamW)
    schedule: Schedule = field(default_factory=Schedule)
    fallback: Sgd | None = None
    layers: tuple[AdamW | Sgd, ...] = ()
    mixture: dict[str, float] = field(default_factory=dict)
    stages: dict[str, Schedule] = field(default_factory=dict)
    dtype: Literal["float32", "bfloat16", 16] = "float32"
    norm: Norm = Norm.RMS
    data: Path | None = None
    steps: int = 10
    is_compiled: bool = False
    window: int | float | str = 0
    name: str = "run"
    losses: list[float] = field(default_factory=list)


finite = st.floats(allow_nan=False, allow_infinity=False)
adamws = st.builds(AdamW, lr=finite, betas=st.tuples(finite, finite))
sgds = st.builds(Sgd, lr=finite, momentum=st.none() | finite)
schedules = st.builds(Schedule, warmup_steps=st.integers(min_value=0)) | st.builds(Cosine)
trainings = st.builds(
    Training,
    optimizer=adamws | sgds,
    schedule=schedules,
    fallback=st.none() | sgds,
    layers=st.lists(adamws | sgds, max_size=3).map(tuple),
    mixture=st.dictionaries(st.text(max_size=5), finite, max_size=3),
    stages=st.dictionaries(st.text(max_size=5), schedules, max_size=3),
    dtype=st.sampled_from(["float32", "bfloat16", 16]),
    norm=st.sampled_from(Norm),
    data=st.none() | st.sampled_from([Path("tokens.bin"), Path("/a b/c")]),
    steps=st.integers(),
    is_compiled=st.booleans(),
    window=st.integers() | finite | st.text(max_size=5),
    name=st.text(max_size=5),
    losses=st.lists(finite, max_size=3),
)


@given(trainings)
@settings(deadline=None)
def test_round_trip_through_json_text_keeps_values_and_types(config: Training) -> None:
    restored = from_dict(Training, json.loads(json.dumps(to_dict(config), allow_nan=False)))
    assert restored == config
    # Equality alone would accept 1 for 1.0 and one optimizer for another with equal fields.
    assert repr(restored) == repr(config)
    assert hash_config(restored) == hash_config(config)


def test_members_of_unions_and_subclasses_are_tagged() -> None:
    data = to_dict(Training(optimizer=Sgd(), schedule=Cosine(), fallback=Sgd()))
    assert data["optimizer"] == {"type": "Sgd", "lr": 3e-4, "momentum": None}
    assert data["schedule"]["type"] == "Cosine"
    assert data["fallback"]["type"] == "Sgd"
    assert "type" not in to_dict(Training())["schedule"]


def test_an_optional_class_needs_no_tag() -> None:
    data = to_dict(Training()) | {"fallback": {"lr": 0.5, "momentum": None}}
    assert from_dict(Training, data).fallback == Sgd(lr=0.5)


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    config = Training(data=Path("x.bin"), layers=(AdamW(), Sgd(momentum=0.5)))
    save_config(config, tmp_path / "config.json")
    assert load_config(Training, tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepz": 3}, r"^stepz: Training has no such key; the nearest that it has is 'steps'"),
        ({"optimizer": {"type": "AdamW", "lr": "x", "betas": [0, 0]}}, r"optimizer\.lr: expected"),
        ({"optimizer": {"type": "AdamW", "lr": 1, "beta": []}}, r"optimizer\.beta: .*'betas'"),
        ({"optimizer": {"type": "Adam"}}, r"optimizer\.type: expected one of \['AdamW', 'Sgd'\]"),
        ({"optimizer": {"lr": 1.0, "betas": [0, 0]}}, r"optimizer\.type: .*got None"),
        ({"optimizer": 3}, r"optimizer: expected .*AdamW.*got 3"),
        ({"optimizer": {"type": "AdamW", "lr": 1, "betas": [0.9]}}, r"optimizer\.betas: expected"),
        ({"schedule": {"type": "Sgd"}}, r"schedule\.type: expected one of \['Cosine', 'Schedule'"),
        (
            {"schedule": {"warmup_steps": -1}},
            r"^schedule: warmup_steps must not be negative, got -",
        ),
        ({"schedule": [1]}, r"schedule: expected Schedule, got \[1\]"),
        ({"layers": [{"type": "Sgd", "lr": True, "momentum": None}]}, r"layers\[0\]\.lr: expected"),
        ({"mixture": {"web": "much"}}, r"mixture\.web: expected float, got 'much'"),
        ({"mixture": []}, r"mixture: expected dict"),
        ({"dtype": "float64"}, r"dtype: expected one of \['float32', 'bfloat16', 16\]"),
        ({"dtype": 16.0}, r"dtype: expected one of"),
        ({"norm": "rms_norm"}, r"norm: expected one of \['RMS', 'LAYER'\], got 'rms_norm'"),
        ({"data": 3}, r"data: expected str, got 3"),
        ({"steps": 1.0}, r"steps: expected int, got 1\.0"),
        ({"steps": True}, r"steps: expected int, got True"),
        ({"steps": None}, r"steps: expected int, got None"),
        ({"is_compiled": 1}, r"is_compiled: expected bool, got 1"),
        ({"window": None}, r"window: expected int \| float \| str, got None"),
        ({"losses": [0.5, math.inf]}, r"losses\[1\]: expected a finite float, got inf"),
        ({"losses": 3}, r"losses: expected list\[float\], got 3"),
        ({"losses": [10**400]}, r"losses\[0\]: the integer is too large for a float"),
    ],
)
def test_reading_refuses_and_names_the_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(Training, to_dict(Training()) | changes)


@pytest.mark.parametrize("data", [[], "steps", None, 3])
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"config: expected Training, got"):
        from_dict(Training, data)


def test_reading_refuses_missing_keys_even_with_a_default() -> None:
    data = to_dict(Training())
    del data["optimizer"]["betas"]
    with pytest.raises(ValueError, match=r"^optimizer\.betas: missing, AdamW needs it"):
        from_dict(Training, data)


def test_loading_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json: optimizer: missing"):
        load_config(Training, tmp_path / "config.json")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Training(mixture={"web": math.nan}), r"mixture\.web: expected a finite float, got nan"),
        (Training(steps="3"), r"steps: expected int, got '3'"),  # pyright: ignore[reportArgumentType]
        (Training(layers=[Sgd()]), r"layers: expected"),  # pyright: ignore[reportArgumentType]
        (Training(optimizer=Cosine()), r"optimizer: exp"),  # pyright: ignore[reportArgumentType]
        (Training(norm="RMS"), r"norm: expected Norm, got 'RMS'"),  # pyright: ignore[reportArgumentType]
        (Training(mixture={1: 0.5}), r"mixture: expected dict"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_writing_refuses_what_could_not_be_read(config: Training, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_dict(config)


def test_hash_depends_on_values_but_not_on_the_form_of_a_number() -> None:
    config = Training(mixture={"web": 1.0, "books": 2.0})
    assert len(hash_config(config)) == 16
    assert hash_config(config) == hash_config(replace(config, mixture={"books": 2, "web": 1}))
    assert hash_config(config) != hash_config(replace(config, steps=11))
    assert hash_config(Training(optimizer=AdamW())) != hash_config(Training(optimizer=Sgd()))


@pytest.mark.parametrize("data", [Training, 3, {"a": 1}])
def test_only_dataclass_objects_can_be_written(data: Any) -> None:
    with pytest.raises(TypeError, match="expected a dataclass object"):
        to_dict(data)


def test_only_dataclasses_can_be_read() -> None:
    with pytest.raises(TypeError, match="expected a dataclass"):
        from_dict(dict, {})


def test_changes_are_named_with_both_values() -> None:
    there = {"optimizer": {"type": "AdamW", "lr": 0.1}, "steps": 5, "data": "a" * 90}
    assert describe_changes(there, there | {"steps": 6}) == "steps is 5 there and 6 here"
    other = there | {"optimizer": {"type": "AdamW", "lr": 0.2}}
    assert describe_changes(there, other) == "optimizer.lr is 0.1 there and 0.2 here"
    long = describe_changes(there, there | {"data": None})
    assert long == f'data is "{"a" * 39}… there and null here'
    whole = {"data": "a" * 38}
    assert describe_changes(whole, {"data": 1}) == f'data is "{"a" * 38}" there and 1 here'
    three = describe_changes({"a": 1, "b": 2, "c": 3}, {})
    assert three.endswith("; c is 3 there and absent here")
    many = describe_changes(there, {"optimizer": 1, "seed": 3})
    assert many.startswith("optimizer is {")
    assert "; steps is 5 there and absent here; data is " in many
    assert many.endswith(" here; and 1 more")
    layers = {"pattern": [{"heads": 2, "width": 8}, {"heads": 2}]}
    changed = {"pattern": [{"heads": 4, "width": 8}, {"heads": 2}]}
    assert describe_changes(layers, changed) == "pattern[0].heads is 2 there and 4 here"
    assert describe_changes({}, {"a": "absent"}) == 'a is absent there and "absent" here'
    assert describe_changes([], {"steps": 1}) == 'it is [] there and {"steps": 1} here'
    assert describe_changes([1], [1, 2]) == "it is [1] there and [1, 2] here"


@given(st.dictionaries(st.text(max_size=3), st.integers()))
def test_only_equal_configurations_have_no_changes(config: dict[str, int]) -> None:
    assert describe_changes(config, dict(config)) == ""
    assert describe_changes(config, config | {"more": 1.5})


def test_annotations_are_told_as_people_write_them() -> None:
    told = [describe(one) for one in (int, None, int | None, tuple[int, ...], Literal["a"])]
    assert told == ["int", "None", "int | None", "tuple[int, ...]", "Literal['a']"]
