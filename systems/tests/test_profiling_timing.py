"""Turns are taken in order, and the clock sees work but not sleep."""

import time

import pytest
import torch

from lm_systems.profiling.timing import time_call, time_interleaved

CPU = torch.device("cpu")


def test_candidates_take_turns() -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    elapsed_s = time_interleaved(functions, rounds=3, device=CPU)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in elapsed_s.items()} == {"a": 3, "b": 3}
    assert min(map(min, elapsed_s.values())) >= 0


def test_waiting_costs_no_processor_time() -> None:
    def work() -> None:
        end_s = time.process_time() + 0.05
        while time.process_time() < end_s:
            pass

    assert time_call(lambda: time.sleep(0.05), CPU) < 0.05 <= time_call(work, CPU)


@pytest.mark.gpu
def test_an_accelerator_is_waited_for() -> None:
    x = torch.randn(4096, 4096, device="cuda")
    assert time_call(lambda: x @ x @ x @ x, torch.device("cuda")) > 1e-4


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        time_interleaved({}, rounds=0, device=CPU)
