"""Time forward pass, backward pass and optimizer of a training step, and measure its memory.

A GPU works through a queue: after each part the clock waits until the queue is empty, which costs
some microseconds a part and makes each part's time its own. On a GPU the parts are NVTX ranges too,
under which Nsight Systems shows their kernels.
"""

import logging
import os
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from lm_basics.accounting import (
    StepConfig,
    forward_flops_per_token,
    training_flops_per_token,
    training_memory,
)
from lm_basics.accounting.account import in_bytes
from lm_basics.optim import AdamWConfig, build_optimizer
from lm_basics.peak_flops import find_peak_flops
from lm_basics.training.strategy import autocast
from lm_basics.transformer import TransformerLM
from lm_shared.tensors import (
    choose_device,
    choose_dtype,
    device_slug,
    seed_everything,
    synchronizer,
)
from lm_shared.timing import time_call
from lm_systems.kernels.ops import get_ops
from lm_systems.profiling.step_config import StepBenchmark

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """What a benchmark found."""

    part_s: dict[str, list[float]]
    """Seconds of each part in each round that counts."""
    tokens_per_s: float
    """Of all parts together, on average."""
    share_of_peak: float
    """FLOPs of the model's products a second over what the device can do."""
    peak_source: str
    """Where that number comes from."""
    peak_gpu_bytes: int | None
    """Most memory of tensors in these rounds; None without a GPU."""
    device: str
    """Its name."""
    dtype: str
    """Of matrix products."""

    def mean_ms(self) -> dict[str, tuple[float, float]]:
        """Return mean and standard deviation of the parts, and of their sum as ``total``."""
        rounds = zip(*self.part_s.values(), strict=True)
        rows = {**self.part_s, "total": [sum(one) for one in rounds]}
        return {
            name: (1e3 * statistics.mean(row), 1e3 * statistics.stdev(row))
            for name, row in rows.items()
        }


def measure_step(benchmark: StepBenchmark, *, memory_snapshot: Path | None = None) -> StepTimes:
    """Run the rounds and return what they took.

    Args:
        benchmark: What is measured.
        memory_snapshot: File for the history of the GPU's memory in the rounds that count, which
            https://pytorch.org/memory_viz draws.

    Raises:
        ValueError: No such device or operations, a snapshot without CUDA, or too little memory.
    """
    device = choose_device(benchmark.device)
    dtype = choose_dtype(benchmark.dtype, device)
    if memory_snapshot is not None and device.type != "cuda":
        raise ValueError(f"a memory snapshot needs a CUDA device, this one is {device.type}")
    check_memory(benchmark, device, dtype)
    try:
        parts, tidy_up = _make_parts(benchmark, device, dtype)
        part_s = _time_rounds(benchmark, device, parts, tidy_up, memory_snapshot)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            "the memory ran out: take a smaller --batch-size or --context-length, or --ops fused"
        ) from error
    shape, tokens = benchmark.model(), benchmark.batch_size * benchmark.context_length
    tokens_per_s = tokens / (sum(map(sum, part_s.values())) / benchmark.steps)
    count = forward_flops_per_token if benchmark.mode == "forward" else training_flops_per_token
    peak = find_peak_flops(device, dtype)
    return StepTimes(
        part_s=part_s,
        tokens_per_s=tokens_per_s,
        share_of_peak=tokens_per_s * count(shape, benchmark.context_length) / peak.flops_per_s,
        peak_source=peak.source,
        peak_gpu_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        device=device_slug(device),
        dtype=str(dtype).removeprefix("torch."),
    )


def check_memory(benchmark: StepBenchmark, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse what cannot fit, by its parameters alone; warn where activations may not.

    What is kept for the backward pass is an upper bound, but with the reference operations.

    Raises:
        ValueError: Weights, gradients and optimizer state are larger than the memory.
    """
    step = StepConfig(
        dtype="float32" if dtype == torch.float32 else "bfloat16",
        attention="reference" if benchmark.ops == "reference" else "fused",
        autocast_device="cuda" if device.type == "cuda" else "cpu",
    )
    sizes = (benchmark.model(), benchmark.batch_size, benchmark.context_length)
    memory = training_memory(*sizes, step=step)
    state = memory.weights
    if benchmark.mode != "forward":
        state += memory.gradients
    if benchmark.mode == "step":
        state += memory.optimizer_state
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[0]
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if state > there:
        raise ValueError(
            f"this does not fit: without activations it needs {in_bytes(state)}, the device has "
            f"{in_bytes(there)}; take a smaller model or another --mode"
        )
    if state + memory.activations.total > there:
        logger.warning(
            "this may not fit: it needs %s, of which %s are activations, the device has %s",
            in_bytes(state + memory.activations.total),
            in_bytes(memory.activations.total),
            in_bytes(there),
        )


def _make_parts(
    benchmark: StepBenchmark, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, Callable[[], object]], Callable[[], object]]:
    """Return the parts of a round, in order, and what makes way for the next."""
    seed_everything(0)
    model = TransformerLM(benchmark.model(), ops=get_ops(benchmark.ops)).to(device)
    objective = model.ops.compile_step(model.objective)
    shape = (benchmark.batch_size, benchmark.context_length + 1)
    token_ids = torch.randint(benchmark.vocab_size, shape, device=device)
    loss = torch.zeros(())

    def forward() -> None:
        nonlocal loss
        with autocast(device, dtype):
            loss = objective(token_ids[:, :-1], token_ids[:, 1:])

    def backward() -> None:
        loss.backward()

    def tidy_up() -> None:
        nonlocal loss
        # What was kept for a backward pass that did not come.
        loss = torch.zeros(())
        model.zero_grad()

    parts: dict[str, Callable[[], object]] = {"forward": forward}
    if benchmark.mode != "forward":
        parts["backward"] = backward
    if benchmark.mode == "step":
        parts["optimizer"] = build_optimizer(model, AdamWConfig()).step
    return parts, tidy_up


def _time_rounds(
    benchmark: StepBenchmark,
    device: torch.device,
    parts: dict[str, Callable[[], object]],
    tidy_up: Callable[[], object],
    memory_snapshot: Path | None,
) -> dict[str, list[float]]:
    is_cuda, wait = device.type == "cuda", synchronizer(device)
    part_s: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(-benchmark.warmup, benchmark.steps):
        if number == 0 and is_cuda:
            torch.cuda.reset_peak_memory_stats()
        if number == 0 and memory_snapshot is not None:
            torch.cuda.memory._record_memory_history()
        for name, part in parts.items():
            with torch.cuda.nvtx.range(name) if is_cuda else nullcontext():
                elapsed_s = time_call(part, "wall", wait)
            if number >= 0:
                part_s[name].append(elapsed_s)
        tidy_up()
    if memory_snapshot is not None:
        torch.cuda.memory._dump_snapshot(str(memory_snapshot))
        torch.cuda.memory._record_memory_history(enabled=None)
    return part_s
