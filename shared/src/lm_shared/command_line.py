"""The command line of a unit: sub-commands, recipes, and errors as one clear line.

Only this module and the ``commands`` of each unit know tyro. A unit's ``commands/main.py`` is::

    def main() -> None:
        commands = {"train": with_recipes(train, RECIPES), "sample": sample}
        sys.exit(run_commands("basics", "Tokenizer and transformer.", commands))
"""

import errno
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import tyro

from lm_shared.display import set_up_logging
from lm_shared.usage_errors import parse_or_explain, suggest

logger = logging.getLogger(__name__)

Positional = tyro.conf.Positional
"""Marks a parameter that is given by its place and not by its name."""

USAGE_ERROR = 2
INTERRUPTED = 130

_RECIPES, _KIND = "recipe_names", "recipe_kind"


def run_commands(
    program: str,
    description: str,
    commands: Mapping[str, Callable[..., object]],
    argv: Sequence[str] | None = None,
) -> int:
    """Run the sub-command that the arguments name and return the exit code.

    A ``ValueError`` or ``OSError`` is bad input: one line on stderr, exit code 2. Any other
    exception is a defect and keeps its traceback. ``argv`` of ``None`` stands for the process's
    arguments.

    Raises:
        SystemExit: help was asked for (code 0), or an option or sub-command is unknown (code 2).
    """
    arguments = sys.argv[1:] if argv is None else argv
    _refuse_unknown(program, commands, arguments)

    def parse(words: Sequence[str]) -> Callable[[], object]:
        return tyro.extras.subcommand_cli_from_dict(
            {name: _deferred(function) for name, function in commands.items()},
            prog=program,
            description=description,
            args=words,
            # Options of a command may follow the name of the recipe.
            config=(tyro.conf.CascadeSubcommandArgs,),
        )

    command = commands.get(arguments[0]) if arguments else None
    recipes = getattr(command, _RECIPES, ())
    return _guard(program, partial(_parse_and_call, program, parse, arguments, recipes))


def load_commands(
    package: str, places: Mapping[str, str], argv: Sequence[str] | None = None
) -> dict[str, Callable[..., object]]:
    """Import the command that the arguments name, or all of them where they name none.

    Args:
        package: Where the modules are.
        places: For each sub-command its ``module:function``.
        argv: ``None`` stands for the process's arguments.

    Raises:
        SystemExit: Ctrl-C was pressed meanwhile (code 130).
    """
    arguments = sys.argv[1:] if argv is None else argv
    asked = arguments[0] if arguments else ""
    commands: dict[str, Callable[..., object]] = {}
    for name, place in places.items():
        if name == asked or asked not in places:
            module, _, function = place.partition(":")
            try:
                commands[name] = getattr(importlib.import_module(f"{package}.{module}"), function)
            except KeyboardInterrupt:
                # Loading torch takes seconds, in which people change their minds.
                sys.stderr.write("interrupted\n")
                raise SystemExit(INTERRUPTED) from None
    return commands


def _refuse_unknown(
    program: str, commands: Mapping[str, Callable[..., object]], arguments: Sequence[str]
) -> None:
    """End the process with one line if a word stands where a command or a recipe should."""
    name, second, *_ = [*arguments, "-", "-"]
    if name not in commands:
        if not name.startswith("-"):
            raise _usage_error(program, f"no command {name!r}: {suggest(name, commands)}")
        return
    recipes = getattr(commands[name], _RECIPES, ())
    if recipes and not second.startswith("-") and second not in recipes:
        kind = getattr(commands[name], _KIND)
        raise _usage_error(program, f"no {kind} {second!r}: {suggest(second, recipes)}")


def _usage_error(program: str, reason: str) -> SystemExit:
    sys.stderr.write(f"{program}: error: {reason}\n")
    return SystemExit(USAGE_ERROR)


def _parse_and_call(
    program: str,
    parse: Callable[[Sequence[str]], Callable[[], object]],
    arguments: Sequence[str],
    recipes: Collection[str] = (),
) -> None:
    """Make the call that the arguments describe, or end the process with one line."""
    call, reason = parse_or_explain(parse, arguments, recipes)
    if call is None:
        raise _usage_error(program, reason or "")
    call()


def _deferred(function: Callable[..., object]) -> Callable[..., Callable[[], object]]:
    """Return a function that takes the same arguments and does the work when it is called again.

    So errors of the command line are told apart from those of the work.
    """

    def defer(*args: Any, **kwargs: Any) -> Callable[[], object]:
        return partial(function, *args, **kwargs)

    signature = inspect.signature(function, eval_str=True)
    _imitate(defer, function, signature)
    return defer


def _imitate(
    copy: Callable[..., object], function: Callable[..., object], signature: inspect.Signature
) -> None:
    # Not functools.wraps: tyro would follow it to the original annotations.
    copy.__name__, copy.__doc__ = function.__name__, function.__doc__
    copy.__dict__["__signature__"] = signature
    copy.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}


def run_command(
    program: str, function: Callable[..., object], argv: Sequence[str] | None = None
) -> int:
    """Run a program that is one command; its parameters are the options.

    Errors end it as in ``run_commands``.

    Raises:
        SystemExit: help was asked for (code 0), or an option is unknown (code 2).
    """
    arguments = sys.argv[1:] if argv is None else argv

    def parse(words: Sequence[str]) -> Callable[[], object]:
        return tyro.cli(_deferred(function), prog=program, args=words)

    return _guard(program, partial(_parse_and_call, program, parse, arguments))


def _guard(program: str, call: Callable[[], object]) -> int:
    # Here and not in the library: a program that imports a unit keeps its own log.
    set_up_logging()
    try:
        call()
    except (ValueError, OSError, FloatingPointError) as error:
        logger.debug("where the error came from", exc_info=True)
        sys.stderr.write(f"{program}: error: {_one_line(error)}\n")
        return USAGE_ERROR
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{program}: interrupted{f'; {error}' if str(error) else ''}\n")
        return INTERRUPTED
    return 0


def with_recipes(
    function: Callable[..., object],
    recipes: Mapping[str, tuple[str, Any]],
    *,
    kind: str = "recipe",
) -> Callable[..., object]:
    """Let the first parameter of a command be chosen by name, then overridden field by field.

    ``recipes`` maps a name to one line of help and a complete configuration:
    ``basics train tiny --optimizer.lr 1e-3``. Further parameters of ``function`` stay options, and
    ``kind`` is what errors call a name.
    """
    signature = inspect.signature(function, eval_str=True)
    first, *others = signature.parameters.values()
    chosen = tyro.extras.subcommand_type_from_defaults(
        {name: config for name, (_, config) in recipes.items()},
        {name: help_line for name, (help_line, _) in recipes.items()},
    )
    # No prefix: the fields are options of the command itself ("--optimizer.lr").
    annotation = Annotated[chosen, tyro.conf.arg(name="")]

    def command(*args: Any, **kwargs: Any) -> object:
        return function(*args, **kwargs)

    parameters = [first.replace(annotation=annotation), *others]
    _imitate(command, function, signature.replace(parameters=parameters))
    command.__dict__ |= {_RECIPES: tuple(recipes), _KIND: kind}
    return command


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror is not None:
        place = "" if error.filename is None else f": {error.filename}"
        text = f"{error.strerror}{place}"
    # Other libraries' errors carry the number in their text alone.
    if os.strerror(errno.ENOSPC) in text:
        text += "; nothing that was finished is lost: make room and run the same command again"
    return text
