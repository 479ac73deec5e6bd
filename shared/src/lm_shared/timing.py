"""Compare the speed of functions inside one process.

A machine's speed drifts with what else it runs. So the contenders take turns, round after round,
and the fastest round of each counts, or ratios inside of a round: a disturbance only ever adds
time.
"""

import time
from collections.abc import Callable, Mapping
from typing import Literal

Clock = Literal["processor", "wall"]
"""The time of this process alone, which others cannot stretch by taking their share of a core, or
that of the world, which alone tells what several threads or an accelerator are good for."""


def time_interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    clock: Clock = "processor",
    synchronize: Callable[[], object] | None = None,
    warm_up: int = 0,
    rotate: bool = False,
    every: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """Call every function once per round, in turns, and return the seconds of each call.

    Args:
        functions: The contenders by name.
        rounds: How often each is called.
        clock: Which time counts; see ``time_call``.
        synchronize: Waits for a device, see ``lm_shared.tensors.synchronizer``.
        warm_up: Calls of each beforehand that do not count.
        rotate: Whether each round begins with the next contender.
        every: For slow ones, from one round in how many they take part: 5 means in the first, the
            sixth and so on.

    Raises:
        ValueError: less than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    for function in functions.values():
        for _ in range(warm_up):
            function()
    elapsed_s: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for number in range(rounds):
        shift = number % len(names) if rotate and names else 0
        for name in names[shift:] + names[:shift]:
            if number % (every or {}).get(name, 1) == 0:
                elapsed_s[name].append(time_call(functions[name], clock, synchronize))
    return elapsed_s


def time_call(
    function: Callable[[], object],
    clock: Clock = "processor",
    synchronize: Callable[[], object] | None = None,
) -> float:
    """Return the seconds of one call.

    With ``synchronize`` it is the wall time until the device is done, whatever ``clock`` says.
    """
    if synchronize is not None:
        synchronize()
        start_s = time.perf_counter()
        function()
        synchronize()
        return time.perf_counter() - start_s
    now = time.process_time if clock == "processor" else time.perf_counter
    start_s = now()
    function()
    return now() - start_s


def fastest_s(function: Callable[[], object], *, seconds: float, least_rounds: int = 3) -> float:
    """Return the least wall time of calls over some seconds, after a first that does not count."""
    function()
    end_s = time.perf_counter() + seconds
    found: list[float] = []
    while len(found) < least_rounds or time.perf_counter() < end_s:
        found.append(time_call(function, "wall"))
    return min(found)
