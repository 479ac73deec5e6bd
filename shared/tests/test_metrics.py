import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_shared.metrics import MetricsWriter, Value, read_metrics, read_whole_metrics
from lm_shared.testing.processes import start_python


class ListSink:
    """A sink that remembers what it was given."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, Value]]] = []
        self.is_closed = False

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        self.lines.append((step, dict(values)))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_metrics(path)]


def write_steps(path: Path, *numbers: int) -> None:
    with MetricsWriter(path) as metrics:
        for step in numbers:
            metrics.write(step=step, loss=1.0 / (step + 1))


def test_each_line_is_json_with_step_time_and_values(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        metrics.write(step=1, loss=0.5, tokens=64, phase="warm-up", is_last=False, lr=None)
    line = json.loads(path.read_text())
    assert line.pop("elapsed_s") >= 0
    expected = {"step": 1, "loss": 0.5, "tokens": 64, "phase": "warm-up", "is_last": False}
    assert line == expected | {"lr": None}


def test_scalars_of_torch_and_numpy_become_numbers(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        metrics.write(step=1, a=torch.tensor(0.5), b=np.float32(0.25), c=np.int64(3))
    (line,) = read_metrics(path)
    assert (line["a"], line["b"], line["c"]) == (0.5, 0.25, 3)


def test_a_diverged_loss_is_recorded_in_strict_json(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        metrics.write(step=1, a=math.nan, b=math.inf, c=-math.inf)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(path.read_text(), parse_constant=refuse)
    (line,) = read_metrics(path)
    assert math.isnan(line["a"])
    assert (line["b"], line["c"]) == (math.inf, -math.inf)


def test_an_open_writer_is_already_readable(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        metrics.write(step=1)
        assert steps(path) == [1]


def test_opening_again_appends_and_time_goes_on(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        time.sleep(0.02)
        metrics.write(step=1)
    earlier_s = read_metrics(path)[0]["elapsed_s"]
    with MetricsWriter(path) as metrics:
        assert metrics.last_step == 1
        metrics.write(step=2)
    first, second = read_metrics(path)
    assert earlier_s > 0.01
    assert second["elapsed_s"] >= first["elapsed_s"] == earlier_s


@pytest.mark.parametrize("torn", [b'{"step": 3, "ela', b'{"step": 3, "elapsed_s": 1.0}', b"\0\0"])
def test_a_torn_last_line_is_cut_off(path: Path, torn: bytes) -> None:
    write_steps(path, 1, 2)
    with path.open("ab") as file:
        file.write(torn)
    assert steps(path) == [1, 2]
    with MetricsWriter(path) as metrics:
        assert metrics.last_step == 2
        metrics.write(step=3)
    assert steps(path) == [1, 2, 3]
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("damage", ["{", "[]", '{"step": 1}', '{"step": "1", "elapsed_s": 0}'])
def test_damage_elsewhere_is_named(path: Path, damage: str) -> None:
    write_steps(path, 1, 2)
    first, _ = path.read_text().splitlines()
    path.write_text(f"{first}\n{damage}\n{first}\n")
    with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl is damaged, delete"):
        read_metrics(path)
    lines, num_damaged = read_whole_metrics(path)
    assert ([line["step"] for line in lines], num_damaged) == ([1, 1], 1)


def test_a_resumed_run_has_every_step_once(path: Path) -> None:
    write_steps(path, 1, 2, 3, 4, 5)
    with MetricsWriter(path) as metrics:
        metrics.truncate_after(3)
        assert metrics.last_step == 3
        for step in (4, 5, 6):
            metrics.write(step=step)
    assert steps(path) == [1, 2, 3, 4, 5, 6]


def test_truncating_an_empty_file_or_at_its_end_changes_nothing(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        metrics.truncate_after(0)
        assert metrics.last_step is None
        metrics.write(step=1)
        metrics.truncate_after(1)
    assert steps(path) == [1]


def test_killed_writers_leave_every_step_once(path: Path) -> None:
    script = """
import sys
from lm_shared.metrics import MetricsWriter
with MetricsWriter(sys.argv[1]) as metrics:
    start = metrics.last_step or 0
    metrics.truncate_after(start)
    for step in range(start + 1, 100_000_000):
        metrics.write(step=step, loss=1 / step)
"""
    for _ in range(3):
        reached = steps(path)[-1] if path.exists() else 0
        with start_python(["-c", script, path]) as process:
            while not path.exists() or steps(path)[-1:] <= [reached]:
                assert process.poll() is None
            process.kill()
    assert len(steps(path)) > 3
    assert steps(path) == list(range(1, len(steps(path)) + 1))


def test_several_lines_of_one_step_are_fine_but_going_back_is_not(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        metrics.write(step=7, loss=1.0)
        metrics.write(step=7, validation_loss=1.1)
        with pytest.raises(ValueError, match=r"step 3 follows step 7 .* truncate_after"):
            metrics.write(step=3, loss=1.0)


def test_of_the_lines_of_a_step_the_first_may_stay_alone(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        for step in (1, 2, 3):
            metrics.write(step=step, loss=1.0)
            metrics.write(step=step, validation_loss=1.1)
        metrics.resume_at(2, num_lines=1)
    assert steps(path) == [1, 1, 2]
    assert "loss" in read_metrics(path)[-1]


def test_values_that_a_line_cannot_hold_are_refused(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        with pytest.raises(TypeError, match=r"loss: expected a number or a string, got \[1\]"):
            metrics.write(step=1, loss=[1])
        with pytest.raises(ValueError, match=r"elapsed_s is written by itself, got 3"):
            metrics.write(step=1, elapsed_s=3)
    assert steps(path) == []


def test_sinks_get_the_values_and_are_closed(path: Path) -> None:
    sink = ListSink()
    with MetricsWriter(path, [sink]) as metrics:
        metrics.write(step=1, loss=torch.tensor(0.5))
        metrics.write(step=2, loss=math.inf)
        metrics.append(step=3, loss=0.25)
        assert sink.lines == [(1, {"loss": 0.5}), (2, {"loss": math.inf})]
        metrics.pass_on(step=3, loss=np.float32(0.25))
        assert metrics.has_sinks
    assert sink.lines[2:] == [(3, {"loss": 0.25})]
    assert steps(path) == [1, 2, 3]
    assert sink.is_closed


def test_reading_a_missing_file_names_it(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no metrics file at .*metrics\.jsonl"):
        read_metrics(path)


def test_a_record_that_ends_before_its_checkpoint_is_damaged(path: Path) -> None:
    with MetricsWriter(path) as metrics:
        metrics.write(step=2)
        with pytest.raises(ValueError, match=r"ends at step 2, but the checkpoint .* after step 5"):
            metrics.resume_at(5)
        metrics.resume_at(2)
        assert metrics.last_step == 2
