"""Ctrl-C during training: the step ends, its checkpoint is kept, and the run goes on later."""

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lm_basics.model_config import uniform_transformer
from lm_basics.optim import AdamWConfig
from lm_basics.training import StepReport, TrainingConfig, train
from lm_basics.training.run_loop import delayed_interrupt
from lm_basics.transformer import TransformerLM

TOKENS = np.random.default_rng(0).integers(10, size=2_000).astype(np.uint16)
CONFIG = TrainingConfig(steps=8, batch_size=2, checkpoint_every=2, keep_checkpoints=2)


def run(
    folder: Path, config: TrainingConfig, on_step: Callable[[StepReport], None] | None
) -> Tensor:
    torch.manual_seed(0)
    model = TransformerLM(
        uniform_transformer(vocab_size=10, context_length=8, d_model=8, num_layers=1, num_heads=2)
    )
    train(model, TOKENS, config, folder=folder, on_step=on_step)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def press_at(step: int) -> Callable[[StepReport], None]:
    def on_step(report: StepReport) -> None:
        if report.step == step:
            signal.raise_signal(signal.SIGINT)

    return on_step


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(path.stem[-8:]) for path in (folder / "checkpoints").iterdir())


def test_the_step_is_kept_and_the_run_goes_on_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(tmp_path / "whole", CONFIG, lambda _: None)
    with pytest.raises(KeyboardInterrupt, match="step 5 of 8 is kept: the same command goes on"):
        run(tmp_path / "cut", CONFIG, press_at(5))
    # Beside those that the run keeps anyway; the next one that is due takes its place.
    assert checkpoints(tmp_path / "cut") == [2, 4, 5]
    steps: list[int] = []
    caplog.set_level("INFO")
    cut = run(tmp_path / "cut", CONFIG, lambda report: steps.append(report.step))
    assert torch.equal(cut, whole)
    assert steps == [6, 7, 8]
    assert "going on after step 5 of 8" in caplog.text
    assert checkpoints(tmp_path / "cut") == checkpoints(tmp_path / "whole") == [6, 8]


def test_a_learning_rate_of_numpy_is_a_number_as_any_other(tmp_path: Path) -> None:
    ends = []
    for name, lr in (("python", 1e-2), ("numpy", np.float64(1e-2))):
        config = replace(CONFIG, optimizer=AdamWConfig(lr=lr))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / name, config, press_at(3))
        ends.append(run(tmp_path / name, config, lambda _: None))
    assert torch.equal(*ends)


def test_where_nothing_can_fail_no_generator_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Tensor] = []
    copy = torch.get_rng_state
    monkeypatch.setattr(torch, "get_rng_state", lambda: copied.append(copy()) or copied[-1])
    run(tmp_path, replace(CONFIG, checkpoint_every=None), None)
    # For the check after the first step and for the one checkpoint.
    assert len(copied) == 2


def test_a_step_that_is_kept_anyway_is_kept_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, CONFIG, press_at(4))
    assert checkpoints(tmp_path) == [2, 4]


def test_a_step_that_was_kept_beside_the_others_takes_the_place_of_none(tmp_path: Path) -> None:
    for step in (5, 6):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, CONFIG, press_at(step))
    assert checkpoints(tmp_path) == [4, 6]


def test_however_often_it_is_pressed_one_extra_checkpoint_stays(tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint_every=3, keep_checkpoints=1)
    for step, kept in ((1, [1]), (2, [2]), (4, [3, 4]), (5, [3, 5]), (7, [6, 7])):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, config, press_at(step))
        assert checkpoints(tmp_path) == kept
    run(tmp_path, config, lambda _: None)
    assert checkpoints(tmp_path) == [8]


def test_a_press_in_the_last_step_ends_what_follows_the_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="the run has come to its end"):
        run(tmp_path, CONFIG, press_at(8))
    assert (tmp_path / "receipt.json").is_file()
    assert checkpoints(tmp_path) == [6, 8]


def test_a_press_is_not_lost_where_something_else_ends_the_step(tmp_path: Path) -> None:
    def end(report: StepReport) -> None:
        press_at(3)(report)
        if report.step == 3:
            raise LookupError

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, CONFIG, end)
    with pytest.raises(LookupError):
        run(tmp_path, CONFIG, lambda _: {}[0])


def test_a_second_press_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with delayed_interrupt() as is_pressed:
        assert not is_pressed()
        signal.raise_signal(signal.SIGINT)
        assert is_pressed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_behind_ctrl_c_is_told() -> None:
    def fail() -> None:
        with delayed_interrupt():
            signal.raise_signal(signal.SIGINT)
            raise OSError("no space for the samples")

    with pytest.raises(KeyboardInterrupt, match="no space for the samples"):
        fail()


def test_other_handlers_and_threads_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        with delayed_interrupt() as is_pressed:
            signal.raise_signal(signal.SIGINT)
        assert pressed
        assert not is_pressed()
    finally:
        signal.signal(signal.SIGINT, before)
    problems: list[BaseException] = []

    def enter() -> None:
        try:
            with delayed_interrupt():
                pass
        except ValueError as error:
            problems.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not problems
