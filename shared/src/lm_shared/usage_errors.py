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
_FOOTER = "For full helptext"


def parse_or_explain(
    parse: Parse[ResultT], arguments: Sequence[str]
) -> tuple[ResultT | None, str | None]:
    """Return what ``parse`` makes of the arguments, or else what is wrong with them.

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
    return None, _unknown_option(parse, arguments) or _condense(told.getvalue())


def suggest(name: str, known: Collection[str]) -> str:
    """Return the nearest of the known names as a question, or all of them."""
    similar = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"


def _unknown_option(parse: Parse[ResultT], arguments: Sequence[str]) -> str | None:
    """Name the first option that the help does not know, and the nearest that it does."""
    # The command, its recipe and choices such as optimizer:muon-config decide which options exist.
    words = [one for one in arguments if not one.startswith("-")]
    leading = next((i for i, one in enumerate(arguments) if one.startswith("-")), len(arguments))
    choices = [one for one in words if re.fullmatch(r"[\w.-]+:[\w-]+", one)]
    help_text = _help_text(parse, [*arguments[:leading], *choices])
    known = list(dict.fromkeys(_OPTION.findall(help_text)))
    for one in arguments:
        name = one.partition("=")[0].replace("_", "-")
        if known and _OPTION.fullmatch(name) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "--help lists all"
            return f"no option {name}: {hint}"
    return None


def _help_text(parse: Parse[ResultT], words: Sequence[str]) -> str:
    told = io.StringIO()
    try:
        with redirect_stdout(told), redirect_stderr(io.StringIO()):
            parse([*dict.fromkeys(words), "--help"])
    except SystemExit:
        pass
    # A long name may stand alone in its line; descriptions name options as well.
    lines = (_BOX.sub("", line).strip() for line in told.getvalue().splitlines())
    return "\n".join(line for line in lines if line.startswith("-"))


def _condense(text: str) -> str:
    """Return the text of tyro's box without the box, its title and its last paragraph."""
    lines = [line for line in text.splitlines() if not _RULE.search(line)]
    words = " ".join(_BOX.sub(" ", line) for line in lines).split(_FOOTER)[0]
    return " ".join(words.split()) or "the command line cannot be read: --help shows how"
