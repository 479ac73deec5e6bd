"""The command line of a unit: a table of commands, and errors as one clear line.

A unit's ``commands/main.py`` is a table that imports nothing, so that help appears at once::

    COMMANDS = {"train": ("train:train_by_recipe", "Train a transformer on a token file.")}

    def main(argv: Sequence[str] | None = None) -> None:
        description = "Tokenizer and transformer."
        sys.exit(run_unit("basics", description, "lm_basics.commands", COMMANDS, argv))

The module of a command is imported when it is asked for. It describes the command; what computes is
imported inside of its function.
"""

import atexit
import errno
import gc
import importlib
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

logger = logging.getLogger(__name__)

USAGE_ERROR = 2
INTERRUPTED = 130

SPIN_COUNT = 5_000
"""Rounds that a thread of torch waits awake for its neighbours: about 0.06 ms."""

Command = Callable[..., object]
Commands = Mapping[str, tuple[str, str]]
"""Name -> (``module:function``, one line of help)."""


def choose_waiting() -> None:
    """Let torch's threads sleep soon when they wait, unless the environment says otherwise.

    By default they spin for milliseconds, each on the core that another process, or the thread that
    they wait for, could use: beside one busy process on two cores training is 7 to 18 times slower.
    Spinning briefly bridges most gaps between the operations of a step: 2.3 times slower then, for
    about a tenth on an idle machine. It counts where it is called before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))


def run_unit(
    program: str,
    description: str,
    package: str,
    commands: Commands,
    argv: Sequence[str] | None = None,
) -> int:
    """Run the command that the arguments name and return the exit code.

    A ``ValueError`` or ``OSError`` of the work is bad input: one line on stderr, exit code 2. So
    are an extra that is not installed and a worker that died. Any other exception is a defect and
    keeps its traceback.

    Args:
        program: What people type first.
        description: One line about the unit.
        package: Where the modules of the commands are.
        commands: All that there are.
        argv: ``None`` stands for the process's arguments.

    Raises:
        SystemExit: help was asked for (code 0), or the arguments cannot be understood (code 2).
    """
    name, *words = [*(sys.argv[1:] if argv is None else argv)] or [""]
    with _nobody_has_to_read(program):
        if name in ("--help", "-h"):
            sys.stdout.write(_list_commands(program, description, commands))
            return 0
        if name == "--version":
            # All that is installed is looked through for it: not for help.
            from importlib.metadata import version  # noqa: PLC0415

            sys.stdout.write(f"{program} {version(package.partition('.')[0])}\n")
            return 0
        if not name:
            sys.stderr.write(_list_commands(program, description, commands))
            return USAGE_ERROR
        if name not in commands:
            raise _refuse_command(program, commands, name)
        choose_waiting()
        place, _ = commands[name]
        return _run(f"{program} {name}", partial(_load, f"{package}.{place}"), words)


def run_command(program: str, command: Command | str, argv: Sequence[str] | None = None) -> int:
    """Run a program that is one command, or ``package.module:function``, imported when it is run.

    The function's parameters are the options. Errors end it as in ``run_unit``.

    Raises:
        SystemExit: help was asked for (code 0), or the arguments cannot be understood (code 2).
    """
    with _nobody_has_to_read(program):
        load = partial(_load, command) if isinstance(command, str) else lambda: command
        return _run(program, load, sys.argv[1:] if argv is None else argv)


def load_command(package: str, commands: Commands, name: str) -> Any:
    """Import a command of a unit's table."""
    place, _ = commands[name]
    return _load(f"{package}.{place}")


def _load(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)


def _list_commands(program: str, description: str, commands: Commands) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {help_line}" for name, (_, help_line) in commands.items()]
    return "\n".join(
        [
            f"usage: {program} COMMAND [OPTIONS]",
            "",
            description,
            "",
            "commands:",
            *lines,
            "",
            f"{program} COMMAND --help tells what a command takes, --version the version.",
            "",
        ]
    )


def _refuse_command(program: str, commands: Commands, name: str) -> SystemExit:
    from lm_shared.command_options import refuse, suggest  # noqa: PLC0415 - see _run

    if name.startswith("-"):
        return refuse(program, f"{name} stands before the command: put options behind it")
    return refuse(program, f"no command {name!r}: {suggest(name, commands)}")


def _run(program: str, load: Callable[[], Any], words: Sequence[str]) -> int:
    # At its end Python would look through all that torch has made, for 0.5 s and more.
    atexit.register(gc.freeze)
    try:
        # Imported once it is needed: "basics --help" has nothing to parse or to log.
        from lm_shared.command_options import name_options, parse, refuse  # noqa: PLC0415
        from lm_shared.display import set_up_logging  # noqa: PLC0415

        try:
            call = load()
        except ImportError as error:
            if not _is_explained(error):
                raise
            refuse(program, _one_line(error))
            return USAGE_ERROR
        try:
            call = parse(program, call, words)
            # Here and not in the library: a program that imports a unit keeps its own log.
            set_up_logging()
            call()
        except (ValueError, OSError, FloatingPointError, ImportError, RuntimeError) as error:
            if isinstance(error, BrokenPipeError) and _is_abandoned():
                raise
            if not _is_explained(error):
                raise
            logger.debug("where the error came from", exc_info=True)
            is_of_system = isinstance(error, OSError) and error.strerror is not None
            told = _one_line(error)
            refuse(program, told if is_of_system else name_options(call, told))
            return USAGE_ERROR
    except KeyboardInterrupt as error:
        # Loading torch takes seconds as well, in which people change their minds.
        unit = program.split(maxsplit=1)[0]
        sys.stderr.write(f"{unit}: interrupted{f'; {error}' if str(error) else ''}\n")
        return INTERRUPTED
    return 0


def _is_explained(error: Exception) -> bool:
    """Tell whether what an error says is all that people need."""
    if isinstance(error, ImportError):
        # With a sentence of ours about an extra; Python's own name the module.
        return error.name is None and isinstance(error.__cause__, ImportError)
    if isinstance(error, RuntimeError):
        from lm_shared.processes import WorkerDiedError  # noqa: PLC0415 - takes longer than help

        return isinstance(error, WorkerDiedError)
    return True


@contextmanager
def _nobody_has_to_read(program: str) -> Iterator[None]:
    """Let a command end quietly whose output nobody reads any longer, as before ``| head -1``.

    Output that cannot be written, as on a full disk, is one line on stderr.
    """
    if sys.stdout is None:
        # Nor may the first file that is opened become standard output.
        raise _refuse_output(program, "standard output is closed: > /dev/null lets nobody read it")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_abandoned():
            raise
        _drop_output()
        raise SystemExit(0) from None
    except OSError as error:
        # Those of the work are caught where it is done.
        _drop_output()
        raise _refuse_output(program, f"standard output: {_one_line(error)}") from None
    except SystemExit as error:
        # rich does the same to standard output, and ends the process as if it had failed.
        if isinstance(error.__context__, BrokenPipeError):
            raise SystemExit(0) from None
        raise


def _refuse_output(program: str, reason: str) -> SystemExit:
    from lm_shared.command_options import refuse  # noqa: PLC0415 - see _run

    return refuse(program, reason)


def _drop_output() -> None:
    """Let what is left in Python's buffer, which it writes when it ends, not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_abandoned() -> bool:
    """Tell whether standard output is a pipe that nobody reads from."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        # Asked for no event, it tells of errors alone, and of a reader that has left.
        return bool(poll.poll(0))
    except (OSError, ValueError):
        # There is no such file, as in a test.
        return False


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror is not None:
        place = "" if error.filename is None else f": {error.filename}"
        text = f"{error.strerror}{place}"
    # Other libraries' errors carry the number in their text alone.
    if os.strerror(errno.ENOSPC) in text:
        text += "; nothing that was finished is lost: make room and run the same command again"
    return text
