"""Ctrl-C that waits for the end of a step, so that what was done can be kept."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_logger = logging.getLogger(__name__)


@contextmanager
def delayed_interrupt() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C instead of raising inside of the block; a second one raises at once.

    Yields:
        A function that tells whether Ctrl-C was pressed. Whoever asks ends the work.
    """
    was_pressed = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal was_pressed
        was_pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _logger.warning("the step under way ends first; Ctrl-C again ends at once")

    # Only Python's own behaviour is replaced: a program that handles Ctrl-C in its own way, or
    # trains in a thread, keeps what it has.
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: was_pressed
    except Exception as error:
        # Whatever ends the block, the press must not be lost.
        if was_pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
