"""The loop under every training, on steps that do nothing but count."""

import math
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lm_basics.training.checkpoints import CheckpointFolder
from lm_basics.training.run_loop import RunLoop, RunPlan, open_run
from lm_shared.metrics import MetricsSink, read_metrics
from lm_shared.runs import load_receipt
from lm_shared.tensors import seed_everything

PLAN = RunPlan(steps=10, checkpoint_every=4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    name: str = "a"


class Counter:
    """A part with a state."""

    def __init__(self) -> None:
        self.count = 0
        self.done: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self.count = state_dict["count"]

    def do_step(self, step: int) -> dict[str, Any]:
        assert step == self.count + 1
        self.count = step
        self.done.append(step)
        return {"loss": 10.0 - step}


class Killed(BaseException):
    """Ends a process at once."""


@contextmanager
def opened(
    folder: Path, plan: RunPlan = PLAN, name: str = "a", sinks: Sequence[MetricsSink] = ()
) -> Iterator[tuple[RunLoop, Counter]]:
    counter, config, device = Counter(), Config(name=name), torch.device("cpu")
    with open_run(folder, config, plan, {"counter": counter}, device=device, sinks=sinks) as loop:
        yield loop, counter


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def recorded(folder: Path) -> list[dict[str, Any]]:
    lines = read_metrics(folder / "metrics.jsonl")
    return [{name: one for name, one in line.items() if name != "elapsed_s"} for line in lines]


def test_steps_after_the_checkpoint_are_done_and_recorded_again(tmp_path: Path) -> None:
    done: list[int] = []

    def kill(step: int, _: Any) -> None:
        done.append(step)
        if len(done) == 7:
            raise Killed

    with pytest.raises(Killed), opened(tmp_path) as (loop, counter):
        loop.run(counter.do_step, on_step=kill)
    assert checkpoints(tmp_path) == ["step-00000004.safetensors"]
    with opened(tmp_path) as (loop, counter):
        loop.run(counter.do_step, on_step=kill)
    assert done == [1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 10]
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [*range(1, 11)]
    assert checkpoints(tmp_path) == ["step-00000010.safetensors"]


def test_the_last_checkpoints_stay(tmp_path: Path) -> None:
    plan = RunPlan(steps=10, checkpoint_every=3, keep_checkpoints=2)
    with opened(tmp_path, plan) as (loop, counter):
        loop.run(counter.do_step)
    assert checkpoints(tmp_path) == ["step-00000009.safetensors", "step-00000010.safetensors"]


def test_what_a_step_draws_at_random_is_the_same_after_a_resume(tmp_path: Path) -> None:
    def run(folder: Path, *, last: int | None = None) -> None:
        torch.manual_seed(0)
        with opened(folder) as (loop, _):

            def do_step(step: int) -> dict[str, Any]:
                if step == last:
                    raise RuntimeError("killed")
                return {"drawn": torch.rand(()).item()}

            loop.run(do_step)

    run(tmp_path / "straight")
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", last=7)
    run(tmp_path / "killed")
    drawn = [
        [line["drawn"] for line in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("straight", "killed")
    ]
    assert drawn[0] == drawn[1]


def test_a_stop_rule_ends_the_run_and_holds_when_it_is_opened_again(tmp_path: Path) -> None:
    done: list[int] = []
    for _ in range(2):
        with opened(tmp_path) as (loop, counter):
            loop.run(
                counter.do_step,
                on_step=lambda step, _: done.append(step),
                is_enough=lambda values: values["loss"] <= 5,
            )
        assert loop.steps_done == 5
    assert done == [1, 2, 3, 4, 5]


def test_validations_come_when_they_are_due_and_after_the_last_step(tmp_path: Path) -> None:
    plan = RunPlan(steps=10, validate_every=4)
    measured: list[int] = []
    for _ in range(2):
        with opened(tmp_path, plan) as (loop, counter):

            def validate() -> dict[str, float]:
                measured.append(counter.count)
                return {"val_loss": float(counter.count)}

            assert loop.run(counter.do_step, validate=validate) == {"val_loss": 10.0}
    # Opened again, it measures for whoever asks and writes nothing.
    assert measured == [4, 8, 10, 10]
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "val_loss" in line] == [4, 8, 10]


class Validation:
    """Draws at random, as one may; fails at some steps, the first time."""

    def __init__(self, counter: Counter, fails_at: dict[int, Exception], pressed_at: int) -> None:
        self.counter, self.fails_at, self.pressed_at = counter, fails_at, pressed_at

    def __call__(self) -> dict[str, float]:
        values = {"val_loss": torch.rand(()).item()}
        if self.counter.count == self.pressed_at:
            signal.raise_signal(signal.SIGINT)
        if self.counter.count in self.fails_at:
            raise self.fails_at.pop(self.counter.count)
        return values


@pytest.mark.parametrize(
    ("step", "pressed_at", "kept"),
    [
        *[(3, 3, [3]), (3, 0, [3]), (4, 4, [4]), (4, 0, [4]), (6, 6, [4, 6]), (6, 0, [4, 6])],
        *[(10, 10, [8, 10]), (10, 0, [8, 10])],
    ],
)
def test_an_error_in_a_validation_does_not_take_the_checkpoint_with_it(
    step: int, pressed_at: int, kept: list[int], tmp_path: Path
) -> None:
    plan = RunPlan(steps=10, checkpoint_every=4, validate_every=1)
    torch.manual_seed(0)
    with opened(tmp_path / "whole", plan) as (loop, counter):
        loop.run(counter.do_step, validate=Validation(counter, {}, 0))
    torch.manual_seed(0)
    fails_at: dict[int, Exception] = {step: OSError("no space")}
    error: type[BaseException] = KeyboardInterrupt if pressed_at else OSError
    with pytest.raises(error, match="no space"), opened(tmp_path / "cut", plan) as (loop, counter):
        loop.run(counter.do_step, validate=Validation(counter, fails_at, pressed_at))
    assert checkpoints(tmp_path / "cut") == [f"step-{one:08}.safetensors" for one in kept]
    # What the validation found is made up for, once, even where the next process is killed.
    for killed_at in (step + 1, None):

        def kill(at: int, _: Any, last: int | None = killed_at) -> None:
            if at == last:
                raise Killed

        with suppress(Killed), opened(tmp_path / "cut", plan) as (loop, counter):
            loop.run(counter.do_step, on_step=kill, validate=Validation(counter, {}, 0))
        assert step not in counter.done
    assert recorded(tmp_path / "cut") == recorded(tmp_path / "whole")
    assert checkpoints(tmp_path / "cut") == checkpoints(tmp_path / "whole")


def test_a_display_that_fails_at_ctrl_c_costs_no_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(step: int, _: Any) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
            raise OSError("no space")

    with pytest.raises(KeyboardInterrupt), opened(tmp_path) as (loop, counter):
        loop.run(counter.do_step, on_step=fail)
    assert checkpoints(tmp_path) == ["step-00000003.safetensors"]
    assert "step 3 of 10 is kept: the same command goes on from it" in caplog.text


class Display:
    """Draws at random, as one may, and fails at one step, the first time."""

    def __init__(self, fails_at: int | None, *, pressed: bool = False) -> None:
        self.fails_at, self.pressed = fails_at, pressed
        self.told: dict[int, Any] = {}

    def __call__(self, step: int, values: Any) -> None:
        # Python's generator is left out: the checks of types under pytest draw from it.
        drawn = (torch.rand(3).tolist(), np.random.rand())  # noqa: NPY002
        if step == self.fails_at:
            self.fails_at = None
            if self.pressed:
                signal.raise_signal(signal.SIGINT)
            raise OSError("no space")
        self.told[step] = (dict(values), drawn)


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize(
    ("step", "pressed"), [(4, False), (5, False), (3, True), (10, False), (10, True)]
)
def test_a_step_whose_display_failed_is_told_again_with_the_same_bits(
    step: int, pressed: bool, validates: bool, tmp_path: Path
) -> None:
    plan = RunPlan(steps=10, checkpoint_every=4, validate_every=2)

    def run(folder: Path, display: Display) -> list[dict[str, Any]]:
        with opened(folder, plan) as (loop, counter):

            def do_step(number: int) -> dict[str, Any]:
                return counter.do_step(number) | {"odd": math.inf, "drawn": torch.rand(()).item()}

            validate = Validation(counter, {}, 0) if validates else None
            loop.run(do_step, on_step=display, validate=validate)
        return recorded(folder)

    seed_everything(0)
    whole, cut = Display(None), Display(step, pressed=pressed)
    expected = run(tmp_path / "whole", whole)
    seed_everything(0)
    with pytest.raises(KeyboardInterrupt if pressed else OSError, match="no space"):
        run(tmp_path / "cut", cut)
    seed_everything(1)
    assert run(tmp_path / "cut", cut) == expected
    assert cut.told == whole.told
    assert checkpoints(tmp_path / "cut") == checkpoints(tmp_path / "whole")


class Sink:
    """Fails at the first line of a step that has a certain value, the first time."""

    def __init__(self, fails_at: int, name: str) -> None:
        self.fails_at: int | None = fails_at
        self.name = name
        self.written: dict[int, dict[str, Any]] = {}

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        if step == self.fails_at and self.name in values:
            self.fails_at = None
            raise OSError("no network")
        self.written.setdefault(step, {}).update(values)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("step", [3, 4, 10])
@pytest.mark.parametrize("name", ["loss", "val_loss"])
def test_a_sink_that_fails_costs_no_step_and_gets_its_line_again(
    name: str, step: int, tmp_path: Path
) -> None:
    plan, sink, done = RunPlan(steps=10, checkpoint_every=4, validate_every=1), Sink(step, name), []
    for is_second in (False, True):
        expected = nullcontext() if is_second else pytest.raises(OSError, match="no network")
        with expected, opened(tmp_path, plan, sinks=[sink]) as (loop, counter):
            loop.run(counter.do_step, validate=lambda: {"val_loss": 1.0})
        done += counter.done
    assert done == [*range(1, 11)]
    assert sink.written == {one: {"loss": 10.0 - one, "val_loss": 1.0} for one in done}
    lines = [(line["step"], "loss" in line) for line in recorded(tmp_path)]
    assert lines == [(one, is_step) for one in done for is_step in (True, False)]


@pytest.mark.parametrize("values", [{"val_loss": 1.0, "text": [1]}, {"val_loss": 1.0, "step": 3}])
@pytest.mark.parametrize("checkpoint_every", [None, 100])
def test_a_validation_that_cannot_be_recorded_costs_no_step(
    values: dict[str, Any], checkpoint_every: int | None, tmp_path: Path
) -> None:
    plan, done = RunPlan(steps=8, checkpoint_every=checkpoint_every, validate_every=3), []
    for returned in (values, {"val_loss": 1.0}):
        with suppress(TypeError), opened(tmp_path, plan) as (loop, counter):
            loop.run(counter.do_step, validate=lambda returned=returned: returned)
        done += counter.done
    assert done == [*range(1, 9)]
    assert load_receipt(tmp_path).wall_s >= 0


def test_a_validation_is_recorded_once_where_the_process_ends_before_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = RunPlan(steps=5)
    with pytest.raises(OSError, match="no space"), opened(tmp_path, plan) as (loop, counter):
        loop.run(counter.do_step, on_step=Display(5), validate=lambda: {"val_loss": 1.0})

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "save", kill)
        with pytest.raises(Killed), opened(tmp_path, plan) as (loop, counter):
            loop.run(counter.do_step, validate=lambda: {"val_loss": 2.0})
    with opened(tmp_path, plan) as (loop, counter):
        loop.run(counter.do_step, validate=lambda: {"val_loss": 3.0})
    assert [line["val_loss"] for line in recorded(tmp_path) if "val_loss" in line] == [3.0]


def test_an_error_is_told_where_the_step_cannot_be_kept_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space for a checkpoint")

    monkeypatch.setattr(CheckpointFolder, "save", fail)
    with pytest.raises(OSError, match=r"^no space$"), opened(tmp_path) as (loop, counter):
        loop.run(counter.do_step, on_step=Display(3))
    assert "step 3 could not be kept: no space for a checkpoint" in caplog.text


def test_a_state_that_cannot_be_saved_is_refused_before_the_folder_is_made(tmp_path: Path) -> None:
    part = Counter()
    setattr(part, "count", object())  # noqa: B010
    with (
        pytest.raises(TypeError, match="counter/count: expected dense tensors"),
        open_run(tmp_path / "a", Config(), PLAN, {"counter": part}, device=torch.device("cpu")),
    ):
        pass
    assert not (tmp_path / "a").exists()


def test_a_state_that_is_made_in_the_first_step_is_checked_after_it(tmp_path: Path) -> None:
    done: list[int] = []
    with (
        pytest.raises(TypeError, match="counter/count: expected dense tensors"),
        opened(tmp_path) as (loop, counter),
    ):
        loop.run(lambda step: vars(counter).update(count=object()) or {"done": done.append(step)})
    assert done == [1]
    assert recorded(tmp_path) == []


def test_the_best_checkpoint_stays(tmp_path: Path) -> None:
    plan = RunPlan(steps=9, checkpoint_every=9, validate_every=2, keep_best=True)
    losses = {2: 3.0, 4: 1.0, 6: 2.0, 8: math.nan, 9: 4.0}
    with opened(tmp_path, plan) as (loop, counter):
        loop.run(counter.do_step, validate=lambda: {"val_loss": losses[counter.count]})
    assert checkpoints(tmp_path) == ["step-00000004.safetensors", "step-00000009.safetensors"]


def test_a_run_s_time_is_one_number(tmp_path: Path) -> None:
    times: list[float] = []
    for _ in range(2):
        with opened(tmp_path) as (loop, counter):
            loop.run(counter.do_step, validate=lambda: {"val_loss": 1.0})
        times.append(loop.record.wall_s)
        times.append(load_receipt(tmp_path).wall_s)
    assert times == times[:1] * 4


def test_checkpoints_of_another_run_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as (loop, counter):
        loop.run(counter.do_step)
    with pytest.raises(ValueError, match="another configuration"), opened(tmp_path / "a", name="b"):
        pass
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "checkpoints").rename(tmp_path / "b" / "checkpoints")
    with (
        pytest.raises(ValueError, match="another configuration"),
        opened(tmp_path / "b", name="b") as (loop, counter),
    ):
        loop.run(counter.do_step)


def test_damage_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as (loop, counter):
        loop.run(counter.do_step)
    (tmp_path / "metrics.jsonl").unlink()
    with (
        pytest.raises(ValueError, match="the record is damaged, delete"),
        opened(tmp_path) as (loop, counter),
    ):
        loop.run(counter.do_step)
    path = tmp_path / "checkpoints" / "step-00000010.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with (
        pytest.raises(ValueError, match=r"step-00000010.safetensors is no whole checkpoint"),
        opened(tmp_path) as (loop, counter),
    ):
        loop.run(counter.do_step)
