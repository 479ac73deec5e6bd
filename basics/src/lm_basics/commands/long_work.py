"""What a person sees of long work: bars for what a library function reports, and its seconds."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from lm_basics.tokenizer.kernels import KERNELS
from lm_shared.display import progress


class Stopwatch:
    """Runs from its making on, and knows whether the kernels were compiled meanwhile."""

    def __init__(self) -> None:
        self._was_compiled = KERNELS.is_compiled()
        self._start_s = time.perf_counter()

    def elapsed_s(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._start_s

    def remark(self) -> str:
        """Return what to say behind the seconds: nothing, unless they are longer this once."""
        if self._was_compiled or not KERNELS.is_compiled():
            return ""
        return " (compiling the fast path included, which is done once)"


@contextmanager
def activity_bars(
    units: Mapping[str, tuple[str, float]],
) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a ``report(activity, done, total)`` that draws a bar for one activity after another.

    Args:
        units: for each activity, the words beside the bar and how much one unit of it is.
    """
    with ExitStack() as bars:
        drawn: dict[str, Callable[..., None]] = {}
        completed = 0.0

        def report(activity: str, done: int, total: int) -> None:
            nonlocal completed
            words, unit = units[activity]
            if activity not in drawn:
                bars.close()
                drawn[activity] = bars.enter_context(progress(words, total / unit or None))
                completed = 0.0
            drawn[activity](done / unit - completed)
            completed = done / unit

        yield report
