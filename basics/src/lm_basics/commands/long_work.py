"""The seconds that a person waited for long work."""

import time

from lm_basics.tokenizer.kernels import KERNELS


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
