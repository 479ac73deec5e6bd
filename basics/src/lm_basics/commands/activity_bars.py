"""Progress bars of a library function that reports what it does."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from lm_shared.display import progress


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
