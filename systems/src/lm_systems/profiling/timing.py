"""Compare the speed of functions inside one process.

A machine's speed drifts with what else it runs. So the candidates take turns, round after round,
and the fastest round of each counts: a disturbance only ever adds time.
"""

import time
from collections.abc import Callable, Mapping
from typing import Literal

import torch

Clock = Literal["processor", "wall"]
"""On a CPU: the time of this process alone, which others cannot stretch by taking their share of a
core, or that of the world, which alone tells what several threads are good for."""


def time_interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    device: torch.device,
    clock: Clock = "processor",
) -> dict[str, list[float]]:
    """Call every function once per round, in turns, and return the seconds of each call.

    On an accelerator that is the wall time until the device is done. The caller warms up.

    Raises:
        ValueError: Less than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    elapsed_s: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            elapsed_s[name].append(time_call(function, device, clock))
    return elapsed_s


def time_call(
    function: Callable[[], object], device: torch.device, clock: Clock = "processor"
) -> float:
    """Return the seconds of one call, measured as ``time_interleaved`` does."""
    if device.type == "cpu":
        now = time.process_time if clock == "processor" else time.perf_counter
        start_s = now()
        function()
        return now() - start_s
    torch.accelerator.synchronize(device)
    start_s = time.perf_counter()
    function()
    torch.accelerator.synchronize(device)
    return time.perf_counter() - start_s
