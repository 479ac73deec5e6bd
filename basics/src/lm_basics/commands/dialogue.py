"""Lines that a person types, each answered by a text."""

import contextlib
import sys
from collections.abc import Callable

with contextlib.suppress(ImportError):
    # Lets input() know the arrow keys, where Python was built with it.
    import readline  # noqa: F401


def answer_lines(write_answer: Callable[[str], str], *, keeps_history: bool) -> None:
    """Read lines from standard input until it ends or Ctrl-C is pressed.

    Args:
        write_answer: Shows the continuation of a text and returns it.
        keeps_history: Whether the text is all that was typed and written, or the last line alone.
    """
    history = ""
    sign = "> " if sys.stdin.isatty() else ""
    try:
        while True:
            line = input(sign)
            if not line and not history:
                continue
            answer = write_answer(history + line)
            if keeps_history:
                history += f"{line}{answer}\n"
    except (EOFError, KeyboardInterrupt):
        # Behind the ^D or ^C, or the answer that it ended.
        print()
