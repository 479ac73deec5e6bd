"""What a person sees while a command runs: log lines, progress bars and live views, on stderr."""

import logging
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0
"""Time between progress lines where there is no terminal to draw a bar on."""

_BAR_WIDTH = 20

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
def progress(counted: Container[str] = ()) -> Iterator[Callable[..., None]]:
    """Yield a ``report(activity, done, total, detail="")`` that shows one activity after another.

    On a terminal there is a bar. Elsewhere a log line tells the same every ``LOG_INTERVAL_S``
    seconds. A ``total`` of 0 is one that nobody knows.

    Args:
        counted: Activities that count other things than bytes.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(_BAR_WIDTH),
        TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    logged_at = time.monotonic()
    # Transient: what remains on the screen are the log lines, not finished bars.
    with Progress(
        *columns, console=_console, transient=True, disable=not _console.is_terminal
    ) as bars:

        def report(activity: str, done: int, total: int, detail: str = "") -> None:
            nonlocal logged_at
            if [task.description for task in bars.tasks] != [activity]:
                for earlier in bars.task_ids:
                    bars.remove_task(earlier)
                bars.add_task(activity, total=total or None, told="")
            numbers = [f"{one:,}" if activity in counted else decimal(one) for one in (done, total)]
            told = " of ".join(numbers[: 2 if total else 1]) + (detail and f", {detail}")
            bars.update(bars.task_ids[0], completed=done, told=told)
            if bars.disable and time.monotonic() - logged_at >= LOG_INTERVAL_S:
                logged_at = time.monotonic()
                logger.info("%s: %s", activity, told)

        yield report


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
