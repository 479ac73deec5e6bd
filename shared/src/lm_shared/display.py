"""What a person sees while a command runs: log lines, progress bars and live views, on stderr."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0
"""Time between progress lines where there is no terminal to draw a bar on."""

# The file is left open so that the handler follows sys.stderr, also when a test replaces it.
_console = Console(stderr=True)


def set_up_logging(*, verbose: bool = False) -> None:
    """Send log lines to stderr through rich; calling it again replaces the earlier set-up."""
    handler = RichHandler(console=_console, show_path=verbose, rich_tracebacks=False, markup=False)
    handler.setFormatter(logging.Formatter("%(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if isinstance(one, RichHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    # As torch sets it when its import ends: Ctrl-C before that lets it tell of empty caches.
    logging.getLogger("torch").setLevel(logging.WARNING)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar of ``total`` units and yield ``advance(amount=1)``.

    Without a terminal there is no bar: a log line every ``LOG_INTERVAL_S`` seconds tells how far
    it is.
    """
    if not _console.is_terminal:
        yield _LoggedProgress(description, total).advance
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Transient: what remains on the screen are the log lines, not finished bars.
    with Progress(*columns, console=_console, transient=True) as bars:
        task = bars.add_task(description, total=total)

        def advance(amount: float = 1) -> None:
            bars.advance(task, amount)

        yield advance


@contextmanager
def live_view() -> Iterator[Callable[[RenderableType], None] | None]:
    """Yield a function that shows something in place of what it showed before.

    It yields ``None`` where there is no terminal: a log line from time to time does there.
    """
    if not _console.is_terminal:
        yield None
        return
    # Transient, as the bars are; log lines appear above.
    with Live(console=_console, transient=True, refresh_per_second=4) as live:
        yield live.update


class _LoggedProgress:
    """Counts, and logs the count from time to time."""

    def __init__(self, description: str, total: float | None) -> None:
        self.description = description
        self.total = total
        self.completed = 0.0
        self.logged_at = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        """Add ``amount`` and log if the last line is old enough."""
        self.completed += amount
        if time.monotonic() - self.logged_at >= LOG_INTERVAL_S:
            self.logged_at = time.monotonic()
            of_total = "" if self.total is None else f" of {self.total:g}"
            logger.info("%s: %g%s", self.description, self.completed, of_total)
