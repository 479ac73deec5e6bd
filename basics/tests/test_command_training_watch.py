"""What ``basics train`` shows, and its second places for metrics."""

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from lm_basics.commands import training_watch
from lm_basics.commands.training_watch import (
    LateSink,
    TrainingDisplay,
    chosen_sinks,
    describe_progress,
)
from lm_basics.training.progress import ProgressNumbers
from lm_basics.training.run_loop import RunPlan, open_run
from lm_basics.training.samples import Sample
from lm_shared import display
from lm_shared.files import write_json

Capture = pytest.CaptureFixture[str]
NUMBERS = ProgressNumbers(
    step=30,
    steps=1_000,
    tokens=61_440,
    loss=3.5,
    mean_loss=3.25,
    bits_per_byte=1.5,
    tokens_per_s=12_345.6,
    mfu=0.25,
    elapsed_s=5.0,
    remaining_s=3_723.4,
    validation={"val_loss": 3.5},
    validated_at=20,
)


def test_the_log_line_tells_everything_that_is_known() -> None:
    assert describe_progress(NUMBERS) == (
        "train: 30 of 1,000 steps, loss 3.5000 nats per token, mean of about 20 steps 3.2500 "
        "(1.5000 bits per byte), speed 12,346 tokens/s, MFU 25.0%, validation val_loss 3.5000 "
        "at step 20, 1:02:03 left"
    )
    unknown = replace(
        NUMBERS, bits_per_byte=None, mfu=None, remaining_s=None, validated_at=None, validation={}
    )
    assert describe_progress(unknown) == (
        "train: 30 of 1,000 steps, loss 3.5000 nats per token, mean of about 20 steps 3.2500, "
        "speed 12,346 tokens/s, time left unknown"
    )


def test_the_live_view_shows_numbers_and_samples() -> None:
    console = Console(width=100, record=True, force_terminal=True, quiet=False)
    shown = TrainingDisplay(is_live=True)
    with console.capture() as capture:
        console.print(shown)
        shown.show_numbers(NUMBERS)
        shown.show_samples([Sample(step=30, prompt="to be", continuation=" [or]\nnot")])
        console.print(shown)
    text = capture.get()
    for part in (
        "the first step",
        "30/1,000",
        "1:02:03 left",
        "12,346 tokens/s",
        "25.0%",
        "1.5000",
    ):
        assert part in text
    # Brackets are text, not markup, and a line break does not break the view.
    assert "to be| [or] not" in text


@pytest.mark.parametrize(
    ("is_live", "interval_s", "num_lines"), [(False, 0.0, 1), (False, 3_600.0, 0), (True, 0.0, 0)]
)
def test_numbers_are_logged_now_and_then_where_there_is_no_live_view(
    is_live: bool,
    interval_s: float,
    num_lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(display, "LOG_INTERVAL_S", interval_s)
    caplog.set_level(logging.INFO)
    shown = TrainingDisplay(is_live=is_live)
    shown.show_numbers(NUMBERS)
    assert caplog.messages == [describe_progress(NUMBERS)] * num_lines
    caplog.clear()
    # Long ones are cut off: with the prompt and the mark, 300 characters are still whole.
    for length, end in ((297, "x"), (298, "…")):
        shown.show_samples([Sample(step=30, prompt="to", continuation="x" * length)])
        assert [line[-1] for line in caplog.messages] == [] if is_live else [end]
        caplog.clear()


def test_a_sink_is_opened_by_its_first_line(tmp_path: Path) -> None:
    opened: list[int] = []
    written: list[object] = []

    class Memory:
        def write(self, step: int, values: object) -> None:
            written.append((step, values))

        def close(self) -> None:
            written.append("closed")

    def open_sink(step: int) -> Memory:
        opened.append(step)
        return Memory()

    unused = LateSink(open_sink)
    unused.close()
    assert opened == []
    sink = LateSink(open_sink)
    sink.write(5, {"loss": 1.0})
    sink.write(6, {"loss": 0.5})
    sink.close()
    assert opened == [4]
    assert written == [(5, {"loss": 1.0}), (6, {"loss": 0.5}), "closed"]


@pytest.mark.parametrize("fails", ["display", "validation"])
def test_tensorboard_shows_all_numbers_of_a_step_after_which_something_failed(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[int, dict[str, Any]] = {}
    opened_at: list[int | None] = []

    class TensorBoard:
        def __init__(self, _: Path, *, resumed_at: int | None) -> None:
            opened_at.append(resumed_at)
            # TensorBoard hides the points after it.
            for step in [one for one in shown if resumed_at is not None and one > resumed_at]:
                del shown[step]

        def write(self, step: int, values: Mapping[str, Any]) -> None:
            shown.setdefault(step, {}).update(values)

        def close(self) -> None:
            pass

    monkeypatch.setattr(training_watch, "TensorBoardSink", TensorBoard)
    monkeypatch.setattr(training_watch, "require_sink", lambda _: None)
    plan, failing = RunPlan(steps=3, validate_every=1), [3]

    def fail(place: str, step: int) -> None:
        if place == fails and step in failing:
            failing.remove(step)
            raise OSError("no space")

    for _ in range(2):
        sinks = chosen_sinks(tmp_path, tensorboard=True, wandb=None)
        with (
            suppress(OSError),
            open_run(tmp_path, plan, plan, {}, device=torch.device("cpu"), sinks=sinks) as loop,
        ):
            loop.run(
                lambda step: {"loss": 4.0 - step},
                on_step=lambda step, _: fail("display", step),
                validate=lambda loop=loop: fail("validation", loop.steps_done) or {"val_loss": 1.0},
            )
    assert not failing
    assert opened_at == [None, 2]
    assert shown == {step: {"loss": 4.0 - step, "val_loss": 1.0} for step in (1, 2, 3)}


def test_a_resumed_run_goes_on_under_its_name_at_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, Any]] = []

    class WeightsAndBiases:
        def log(self, values: Mapping[str, Any], step: int) -> None:
            opened[-1][f"step {step}"] = values

        def finish(self) -> None:
            opened[-1]["is_finished"] = True

    def init(**about: Any) -> WeightsAndBiases:
        opened.append(about)
        return WeightsAndBiases()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.setattr(training_watch, "require_sink", lambda _: None)
    write_json(tmp_path / "config.json", {"seed": 3})
    for step in (1, 2):
        (sink,) = chosen_sinks(tmp_path, tensorboard=False, wandb="project")
        sink.write(step, {"loss": 0.5})
        sink.close()
    first, second = opened
    assert (first["project"], first["config"], first["mode"]) == ("project", {"seed": 3}, "online")
    assert (first["step 1"], first["is_finished"]) == ({"loss": 0.5}, True)
    assert first["id"] == second["id"]
