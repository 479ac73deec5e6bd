"""Turns are taken in order, and the clock sees work but not sleep."""

import time

import pytest
import torch

from lm_shared.tensors import synchronizer
from lm_shared.timing import fastest_s, time_call, time_interleaved


def recorders(calls: list[str], names: str) -> dict:
    return {name: lambda name=name: calls.append(name) for name in names}


def test_candidates_take_turns() -> None:
    calls: list[str] = []
    elapsed_s = time_interleaved(recorders(calls, "ab"), rounds=3, warm_up=2)
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert {name: len(values) for name, values in elapsed_s.items()} == {"a": 3, "b": 3}
    assert min(map(min, elapsed_s.values())) >= 0


def test_every_round_may_begin_with_another_and_slow_ones_may_sit_out() -> None:
    calls: list[str] = []
    elapsed_s = time_interleaved(recorders(calls, "abc"), rounds=4, rotate=True, every={"c": 3})
    assert "".join(calls) == "abc" + "ba" + "ab" + "abc"
    assert {name: len(values) for name, values in elapsed_s.items()} == {"a": 4, "b": 4, "c": 2}


def test_waiting_costs_no_processor_time() -> None:
    def work() -> None:
        end_s = time.process_time() + 0.05
        while time.process_time() < end_s:
            pass

    assert time_call(lambda: time.sleep(0.05)) < 0.05 <= time_call(work)
    assert time_call(lambda: time.sleep(0.05), "wall") >= 0.05


def test_a_device_is_waited_for_before_and_after() -> None:
    calls: list[str] = []
    functions = recorders(calls, "ab")
    elapsed_s = time_call(functions["a"], "processor", lambda: (time.sleep(0.02), functions["b"]()))
    assert calls == ["b", "a", "b"]
    # Only the wait behind the call counts, by the clock on the wall.
    assert 0.02 <= elapsed_s < 0.04


def test_a_cpu_needs_no_waiting() -> None:
    assert synchronizer(torch.device("cpu")) is None


@pytest.mark.gpu
def test_an_accelerator_is_waited_for() -> None:
    x = torch.randn(4096, 4096, device="cuda")
    assert time_call(lambda: x @ x @ x @ x, synchronize=synchronizer(x.device)) > 1e-4


def test_the_fastest_of_several_calls_counts_but_not_the_first() -> None:
    delays = iter([0.0, 0.03, 0.01, 0.02])
    assert 0.01 <= fastest_s(lambda: time.sleep(next(delays)), seconds=0.0) < 0.02
    assert next(delays, None) is None


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        time_interleaved({}, rounds=0)
