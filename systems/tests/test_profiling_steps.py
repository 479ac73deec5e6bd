"""What is timed, which model it is of, and what is told before it runs."""

import dataclasses
import logging
import os
import types
from pathlib import Path

import pytest
import torch

from lm_basics.accounting import count_parameters, forward_flops_per_token
from lm_basics.transformer import TransformerLM
from lm_shared.testing.processes import run_python
from lm_systems.kernels import OpsName
from lm_systems.profiling import steps
from lm_systems.profiling.step_config import STEP_SIZES, StepBenchmark, StepMode
from lm_systems.profiling.steps import StepTimes, check_memory, measure_step

CPU = torch.device("cpu")
TINY = dataclasses.replace(STEP_SIZES["tiny"][1], device="cpu", dtype="float32")
ROUNDS = {"warmup": 1, "steps": 3}


@pytest.mark.parametrize(
    ("name", "millions"),
    [("small", 129), ("medium", 423), ("large", 969), ("xl", 3407), ("10b", 12_833)],
)
def test_sizes_have_the_parameters_of_the_table(name: str, millions: int) -> None:
    _, benchmark = STEP_SIZES[name]
    assert round(count_parameters(benchmark.model()) / 1e6) == millions
    assert (benchmark.vocab_size, benchmark.batch_size) == (10_000, 4)


@pytest.mark.parametrize(
    ("mode", "parts"),
    [
        ("forward", ["forward"]),
        ("backward", ["forward", "backward"]),
        ("step", ["forward", "backward", "optimizer"]),
    ],
)
def test_parts_up_to_the_one_asked_for_are_timed_in_each_round(
    mode: StepMode, parts: list[str]
) -> None:
    times = measure_step(dataclasses.replace(TINY, mode=mode, ops="fused", **ROUNDS))
    assert list(times.part_s) == parts
    assert all(len(row) == 3 and min(row) > 0 for row in times.part_s.values())
    total_s = sum(map(sum, times.part_s.values())) / 3
    assert times.tokens_per_s == pytest.approx(4 * 64 / total_s)
    assert times.peak_gpu_bytes is None


def test_the_backward_pass_counts_twice_the_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = types.SimpleNamespace(flops_per_s=1e9, source="a test")
    monkeypatch.setattr(steps, "find_peak_flops", lambda *_: peak)
    per_token = forward_flops_per_token(TINY.model(), TINY.context_length)
    for mode, passes in (("forward", 1), ("step", 3)):
        times = measure_step(dataclasses.replace(TINY, mode=mode, **ROUNDS))
        flops = times.share_of_peak * 1e9 / times.tokens_per_s
        assert flops == pytest.approx(passes * per_token)


def test_every_round_begins_without_gradients_and_a_step_moves_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[bool, float]] = []
    objective = TransformerLM.objective

    def note(model: TransformerLM, *batch: torch.Tensor) -> torch.Tensor:
        weights = list(model.parameters())
        seen.append((any(p.grad is not None for p in weights), weights[0].sum().item()))
        return objective(model, *batch)

    monkeypatch.setattr(TransformerLM, "objective", note)
    for mode, num_weights in (("backward", 1), ("step", 4)):
        seen.clear()
        measure_step(dataclasses.replace(TINY, mode=mode, **ROUNDS))
        assert not any(has_gradients for has_gradients, _ in seen)
        assert len({total for _, total in seen}) == num_weights


def test_mean_and_deviation_are_of_rounds_and_of_their_sums() -> None:
    times = StepTimes(
        part_s={"forward": [0.001, 0.003], "backward": [0.002, 0.002]},
        tokens_per_s=1.0,
        share_of_peak=0.1,
        peak_source="",
        peak_gpu_bytes=None,
        device="cpu",
        dtype="float32",
    )
    root = 2**0.5
    assert times.mean_ms() == {
        "forward": pytest.approx((2, root)),
        "backward": pytest.approx((2, 0)),
        "total": pytest.approx((4, root)),
    }


def test_what_cannot_fit_is_refused_and_what_may_not_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    small = dataclasses.replace(STEP_SIZES["small"][1], dtype="float32")
    memory = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": int(1e9)}
    monkeypatch.setattr(os, "sysconf", memory.__getitem__)
    # 129 million parameters in float32 are 0.5 GB, with gradients and moments 2.1.
    with pytest.raises(ValueError, match=r"without activations it needs 2\.06 GB, .* has 1 GB"):
        check_memory(small, CPU, torch.float32)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        check_memory(dataclasses.replace(small, mode="forward"), CPU, torch.float32)
    assert "this may not fit" in caplog.text
    caplog.clear()
    check_memory(TINY, CPU, torch.float32)
    assert not caplog.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 1}, "steps must be at least 2"),
        ({"warmup": -1}, "warmup must not be negative"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"num_heads": 3}, "not divisible by num_heads=3"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_a_snapshot_needs_cuda(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a CUDA device"):
        measure_step(TINY, memory_snapshot=tmp_path / "memory.pickle")


def test_the_sizes_need_no_torch() -> None:
    code = "import sys, lm_systems.profiling.step_config; sys.exit('torch' in sys.modules)"
    assert run_python(["-c", code]).returncode == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("ops", ["reference", "fused"])
def test_a_gpu_tells_its_memory_and_writes_a_snapshot(ops: OpsName, tmp_path: Path) -> None:
    _, small = STEP_SIZES["small"]
    benchmark: StepBenchmark = dataclasses.replace(small, dtype="bfloat16", ops=ops, **ROUNDS)
    path = tmp_path / "memory.pickle"
    times = measure_step(benchmark, memory_snapshot=path)
    assert times.peak_gpu_bytes is not None
    assert times.peak_gpu_bytes > 16 * count_parameters(benchmark.model())
    assert path.stat().st_size > 0
