"""What is wrong with a command line, in one line.

tyro draws a box around its errors, and names the nearest option only where nothing else is missing.
Here its text is turned into one line, and an unknown option gets the nearest known one.
"""

import difflib
import io
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TypeVar

ResultT = TypeVar("ResultT")

Parse = Callable[[Sequence[str]], ResultT]

_OPTION = re.compile(r"--[a-zA-Z][\w.-]*")
_BOX = re.compile(r"[\u2500-\u257f]+|^[|]|[|]$")
# Where the terminal has no lines to draw with, tyro takes hyphens.
_RULE = re.compile(r"[\u2500-\u257f]{3}|-{4}")
_CHOICE = re.compile(r"[a-z][a-z0-9.-]*:[a-z][a-z0-9-]*")
# Where a whole configuration is refused, its own words are enough.
_INTERNAL_PLACE = re.compile(r"Error parsing (?!--)\S+:")
# What tyro adds to the error itself.
_FOOTERS = re.compile(r"For full helptext|Argument helptext:")


def parse_or_explain(
    parse: Parse[ResultT], arguments: Sequence[str], recipes: Collection[str] = ()
) -> tuple[ResultT | None, str | None]:
    """Return what ``parse`` makes of the arguments, or else what is wrong with them.

    Args:
        parse: Ends the process with tyro's error where they are wrong.
        arguments: Words of the command line.
        recipes: Names that the command takes as its first word.

    Raises:
        SystemExit: help was asked for.
    """
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return parse(arguments), None
    except SystemExit as stopped:
        if not stopped.code:
            raise
    return None, _unknown_word(parse, arguments, recipes) or _condense(told.getvalue())


def suggest(name: str, known: Collection[str]) -> str:
    """Return the nearest of the known names as a question, or all of them."""
    similar = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"


def _unknown_word(
    parse: Parse[ResultT], arguments: Sequence[str], recipes: Collection[str]
) -> str | None:
    """Name the first option or choice that the help does not know, and the nearest that it does."""
    # The command, its recipe and choices such as optimizer:muon-config decide which options exist.
    leading = next((i for i, one in enumerate(arguments) if one.startswith("-")), len(arguments))
    choices = [one for one in arguments if _CHOICE.fullmatch(one)]
    help_text = _help_text(parse, arguments[:leading])
    known_choices = list(dict.fromkeys(_CHOICE.findall(help_text)))
    if not _options(help_text):
        return None
    # Values of options may hold colons as well: a choice begins with the name of a field.
    fields = {one.partition(":")[0] for one in known_choices}
    for one in choices:
        if one.partition(":")[0] in fields and one not in known_choices:
            return f"no choice {one}: {_suggest_choice(one, known_choices)}"
    choices = [one for one in choices if one in known_choices]
    known = _options(_help_text(parse, [*arguments[:leading], *choices]))
    for one in arguments:
        name = one.partition("=")[0].replace("_", "-")
        if _OPTION.fullmatch(name) and name not in known:
            return f"no option {name}: {_suggest_option(name, known, known_choices, recipes)}"
    return None


def _options(help_text: str) -> list[str]:
    # A long name may stand alone in its line; descriptions name options as well.
    lines = [line for line in help_text.splitlines() if line.startswith("-")]
    return list(dict.fromkeys(_OPTION.findall("\n".join(lines))))


def _suggest_choice(name: str, known: Sequence[str]) -> str:
    of_one_field = [one for one in known if one.startswith(name.partition(":")[0] + ":")]
    # Whoever writes adamw for adam-w-config means it.
    plain = {one.replace("-", "").removesuffix("config"): one for one in of_one_field}
    near = difflib.get_close_matches(name.replace("-", ""), plain, n=1, cutoff=0.8)
    return f"did you mean {plain[near[0]]}?" if near else f"there are {', '.join(plain.values())}"


def _suggest_option(
    name: str, known: Sequence[str], choices: Sequence[str], recipes: Collection[str]
) -> str:
    bare = name.removeprefix("--")
    if of_field := [one for one in choices if one.startswith(f"{bare}:")]:
        return f"it is chosen by a word, {' or '.join(of_field)}"
    if inner := [one for one in known if one.endswith(f".{bare}")]:
        return f"did you mean {inner[0]}?"
    if bare in recipes:
        return f"did you mean the recipe {bare}?"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else "--help lists all"


def _help_text(parse: Parse[ResultT], words: Sequence[str]) -> str:
    told = io.StringIO()
    try:
        with redirect_stdout(told), redirect_stderr(io.StringIO()):
            parse([*dict.fromkeys(words), "--help"])
    except SystemExit:
        pass
    return "\n".join(_BOX.sub("", line).strip() for line in told.getvalue().splitlines())


def _condense(text: str) -> str:
    """Return the text of tyro's box without the box, its title and its last paragraph."""
    lines = [line for line in text.splitlines() if not _RULE.search(line)]
    words = _FOOTERS.split(" ".join(_BOX.sub(" ", line) for line in lines))[0]
    return (
        " ".join(_INTERNAL_PLACE.sub("", words).split())
        or "the command line cannot be read: --help shows how"
    )
