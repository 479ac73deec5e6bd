"""The options of a command: its parameters, and recipes whose fields are options as well.

Only this module and the ``commands`` of each unit know tyro, the library that reads options.
"""

import dataclasses
import difflib
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Annotated, Any

import tyro

Positional = tyro.conf.Positional
"""Marks a parameter that is given by its place and not by its name."""

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option without a value: it is given or not, and there is no ``--no-`` form of it."""

Overwrite = Flag
"""The option ``--overwrite``: whether an earlier output may be replaced."""

Each = tyro.conf.UseAppendAction
"""Marks an option of one value that may be given again: ``Annotated[tuple[str, ...], Each]``.

Without it a list takes all words behind it, also those that were meant as files or prompts. What is
given is added to the default.
"""

PATH = tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: none)")
"""Describes a path that may be left out: ``Annotated[Path | None, PATH]``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Least:
    """Marks an option with the least number that it may be: ``Annotated[int, Least(1)]``."""

    number: float


@dataclasses.dataclass(frozen=True, slots=True)
class Above:
    """Marks an option that must be more than a number: ``Annotated[float, Above(0)]``."""

    number: float


@dataclasses.dataclass(frozen=True, slots=True)
class There:
    """Marks a path that must lead somewhere: ``Annotated[Path, There()]``.

    What else is expected of it is told by the command, before it imports what computes.
    """


_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}
_QUOTED = r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|\{[^{}]*\}"
_VERBS = r" (?:must|is|are|needs?|has|have|cannot|can|may|lies?|exceeds?|takes?|does|and|or)\b"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RecipeCommand:
    """A command whose first parameter is chosen by a word, then overridden field by field."""

    function: Callable[..., object]
    """Does the work."""
    recipes: Mapping[str, tuple[str, Any]]
    """Name -> (one line of help, a complete configuration)."""
    kind: str
    """What errors call a name."""
    default: str | None
    """The recipe that runs where none is named."""

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        """What the function says about itself."""
        return self.function.__doc__


def with_recipes(
    function: Callable[..., object],
    recipes: Mapping[str, tuple[str, Any]],
    *,
    kind: str = "recipe",
    default: str | None = None,
) -> RecipeCommand:
    """Let the first parameter of a command be chosen by name, then overridden field by field.

    ``basics train tiny --optimizer.lr 1e-3``: further parameters of ``function`` stay options, and
    options stand on either side of the name.

    Args:
        function: Does the work.
        recipes: Name -> (one line of help, a complete configuration).
        kind: What errors call a name.
        default: The recipe that runs where none is named; the only one does anyway.
    """
    if default is None and len(recipes) == 1:
        (default,) = recipes
    return RecipeCommand(function=function, recipes=recipes, kind=kind, default=default)


def parse(program: str, command: Any, words: Sequence[str]) -> partial[Any]:
    """Return the call that the words describe.

    Raises:
        SystemExit: help was asked for (code 0), or the words cannot be understood (code 2).
        ValueError: a value is out of its bounds, or a configuration does not fit together.
        OSError: a path leads nowhere.
    """
    if not isinstance(command, RecipeCommand):
        _refuse_unknown(program, command, words)
        return _parse(program, command, inspect.signature(command, eval_str=True), words)
    function = command.function
    signature = inspect.signature(function, eval_str=True)
    first, *others = signature.parameters.values()
    name, words = _take_recipe(program, command, words)
    _refuse_unknown(program if name is None else f"{program} {name}", command, words)
    if name is None and any(word in ("--help", "-h") for word in words):
        signature = signature.replace(parameters=others)
        return _parse(program, function, signature, words, _list_recipes(program, command))
    name = name or command.default
    if name is None:
        names = ", ".join(command.recipes)
        raise refuse(program, f"expected the name of a {command.kind}: there are {names}")
    config = command.recipes[name][1]
    # No prefix: the fields are options of the command itself ("--optimizer.lr").
    annotation = Annotated[type(config), tyro.conf.arg(name="")]
    chosen = first.replace(
        annotation=annotation, default=config, kind=inspect.Parameter.KEYWORD_ONLY
    )
    others = [one.replace(default=_fill_in(one.default, name)) for one in others]
    signature = signature.replace(parameters=[*others, chosen])
    return _parse(f"{program} {name}", function, signature, words)


def _fill_in(default: Any, recipe: str) -> Any:
    """Put the name of the recipe where a text or path such as ``runs/{recipe}`` has a place."""
    is_text = isinstance(default, Path | str)
    return type(default)(str(default).format(recipe=recipe)) if is_text else default


def name_options(call: partial[Any] | RecipeCommand | Callable[..., object], message: str) -> str:
    """Put the names of options where an error of the work names Python's arguments.

    ``validation_tokens must be positive`` becomes ``--validation-tokens must be positive``. What
    people wrote is left alone: paths, and all in quotes or braces.

    Args:
        call: What failed, or the command whose words did.
        message: What the error says.
    """
    options: dict[str, set[str]] = {}
    if isinstance(call, partial):
        found = ((_field_of(one), one) for one, _, _ in _walk(call.func, call.keywords))
    else:
        found = ((name, option) for name, option, _ in _declared_options(call))
    for name, option in found:
        options.setdefault(name, set()).add(option)
    # A name that several parts of a configuration have says too little.
    names = {name: found.pop() for name, found in options.items() if len(found) == 1}
    words = sorted(names, key=len, reverse=True)
    if not words:
        return message
    # One word is English as well, unless the message begins with it.
    anywhere = "|".join(one for one in words if "_" in one) or "(?!)"
    pattern = (
        rf"{_QUOTED}|(^(?:{'|'.join(words)})(?==| must )|(?<![^\s(,;])(?:{anywhere})(?==|{_VERBS}))"
    )
    return re.sub(pattern, lambda found: found[0] if found[1] is None else names[found[1]], message)


def refuse(program: str, reason: str) -> SystemExit:
    """Write one line about what cannot be done; return what ends the process."""
    sys.stderr.write(f"{program.split(maxsplit=1)[0]}: error: {reason}\n")
    return SystemExit(2)


def suggest(name: str, known: Collection[str]) -> str:
    """Return the nearest of the known names as a question, or all of them."""
    similar = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"


def _parse(
    program: str,
    function: Callable[..., object],
    signature: inspect.Signature,
    words: Sequence[str],
    description: str | None = None,
) -> partial[Any]:
    """Let tyro read the words; the work is not done by it, so that errors are told apart."""

    def defer(*args: Any, **kwargs: Any) -> partial[Any]:
        return partial(function, *args, **kwargs)

    # Not functools.wraps: tyro would follow it to the original annotations.
    defer.__name__, defer.__doc__ = function.__name__, function.__doc__
    defer.__dict__["__signature__"] = signature
    defer.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    # Options of a command may follow words such as optimizer:muon-config.
    config = (tyro.conf.CascadeSubcommandArgs,)
    call = tyro.cli(defer, prog=program, description=description, args=words, config=config)
    given = signature.bind(*call.args, **call.keywords).arguments
    for option, hint, value in _walk(function, given):
        _check_marks(option, hint, value)
    return call


def _refuse_unknown(program: str, command: Any, words: Sequence[str]) -> None:
    """Tell in a line, instead of the parser's page, of an option or a choice that there is not."""
    kinds = {option: kind for _, option, kind in _declared_options(command)}
    negated = (_negated(one) for one, kind in kinds.items() if kind is bool)
    # In order, so that the same mistake always gets the same hint.
    known = sorted({"--help", *kinds, *negated})
    # Behind a lone -- there are none.
    words = [*takewhile(lambda word: word != "--", words)]
    for word, following in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        option = option.replace("_", "-")
        if not (word.startswith("--") and _is_option(word)):
            continue
        if option in kinds:
            _refuse_value(program, option, kinds[option], value if equals else following)
        # The parser's own, for the completions of a shell.
        if option in known or option.startswith("--tyro-"):
            continue
        inner = [one for one in known if one.endswith(f".{option.removeprefix('--')}")]
        nearest = inner[:1] or difflib.get_close_matches(option, known, n=1, cutoff=0.7)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise refuse(program, f"no option {option}: {hint}{program} --help lists all")
    if kinds and words and not isinstance(command, RecipeCommand) and not words[0].startswith("-"):
        _refuse_value(program, *next(iter(kinds.items())), words[0])


def _refuse_value(program: str, option: str, hint: Any, word: str) -> None:
    """Refuse a word that is none of an option's choices, or no number where it takes one."""
    kind, *others = _alternatives(hint)
    if others not in ([], [types.NoneType]) or (others and word == "None"):
        return
    if typing.get_origin(kind) is typing.Literal:
        choices = [*map(str, typing.get_args(kind))]
        if word and word not in choices:
            name = option.removeprefix("--")
            raise refuse(program, f"no {name} {word!r}: {suggest(word, choices)}")
    if kind in _NUMBERS:
        try:
            kind(word)
        except ValueError:
            got = repr(word) if word else "nothing"
            raise refuse(program, f"{option}: expected {_NUMBERS[kind]}, got {got}") from None


def _negated(flag: str) -> str:
    path, dot, name = flag.removeprefix("--").rpartition(".")
    return f"--{path}{dot}no-{name}"


def _check_marks(option: str, hint: Any, value: Any) -> None:
    """Raise an error for a value that is not as the marks of its annotation want it."""
    for mark in getattr(hint, "__metadata__", ()):
        for one in value if isinstance(value, tuple) else () if value is None else (value,):
            if isinstance(mark, Least) and not one >= mark.number:
                raise ValueError(f"{option} must be at least {mark.number}, got {one}")
            if isinstance(mark, Above) and not one > mark.number:
                raise ValueError(f"{option} must be more than {mark.number}, got {one}")
            if isinstance(mark, There):
                one.stat()


def _take_recipe(
    program: str, command: RecipeCommand, words: Sequence[str]
) -> tuple[str | None, Sequence[str]]:
    """Return the word that names a recipe, if there is one, and the others."""
    flags = {option for _, option, hint in _declared_options(command) if hint is bool}
    places = [
        index
        for index, word in enumerate(words)
        # Words such as optimizer:muon-config are the parser's.
        if not word.startswith("-") and ":" not in word and not _is_value(flags, words[:index])
    ]
    for index in places:
        if words[index] in command.recipes:
            return words[index], [*words[:index], *words[index + 1 :]]
    for index in places:
        # Behind options it may be one more value of theirs, unless it looks like a name.
        word = words[index]
        if index == 0 or difflib.get_close_matches(word, command.recipes, n=1):
            raise refuse(program, f"no {command.kind} {word!r}: {suggest(word, command.recipes)}")
    return None, words


def _is_value(flags: Collection[str], before: Sequence[str]) -> bool:
    """Tell whether a word behind others is what an option is set to."""
    if not before or not _is_option(before[-1]) or "=" in before[-1]:
        return False
    return before[-1].replace("_", "-") not in {*flags, *map(_negated, flags)}


def _is_option(word: str) -> bool:
    """Tell an option from a negative number, a lone ``-`` and a text that begins with one."""
    try:
        float(word)
    except ValueError:
        return re.match(r"--?[A-Za-z][\w.-]*(=|$)", word) is not None
    return False


def _declared_options(
    command: RecipeCommand | Callable[..., object],
) -> Iterator[tuple[str, str, Any]]:
    """Yield name, option and type of parameters and of fields, whichever alternative is chosen."""
    function = command.function if isinstance(command, RecipeCommand) else command
    hints = {
        name: one.annotation
        for name, one in inspect.signature(function, eval_str=True).parameters.items()
    }
    if isinstance(command, RecipeCommand):
        del hints[next(iter(hints))]
        for kind in {type(config) for _, config in command.recipes.values()}:
            yield from _declared_fields(_field_hints(kind))
    yield from _declared_fields(hints)


def _declared_fields(hints: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    for name, hint in hints.items():
        option = f"{prefix}{name.replace('_', '-')}"
        kinds = [*_alternatives(hint)]
        configs = [one for one in kinds if dataclasses.is_dataclass(one)]
        for config in configs:
            inner = prefix if _is_bare(hint) else f"{option}."
            yield from _declared_fields(_field_hints(config), inner)
        if not configs:
            yield name, f"--{option}", kinds[0] if len(kinds) == 1 else hint


def _field_hints(config: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(config, include_extras=True)
    return {one.name: hints[one.name] for one in dataclasses.fields(config)}


def _alternatives(hint: Any) -> Iterator[Any]:
    """Yield the types that a value may have, without what is said about them."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        yield from _alternatives(hint.__origin__)
    elif origin in (typing.Union, types.UnionType):
        for one in typing.get_args(hint):
            yield from _alternatives(one)
    else:
        yield hint


def _is_bare(hint: Any) -> bool:
    """Tell whether the fields of a configuration are options of its owner."""
    return any(getattr(mark, "name", None) == "" for mark in getattr(hint, "__metadata__", ()))


def _walk(
    owner: Any, values: Mapping[str, Any], prefix: str = "", *, is_recipe: bool = True
) -> Iterator[tuple[str, Any, Any]]:
    """Yield option, annotation and value of parameters and of the fields of configurations."""
    hints = typing.get_type_hints(owner, include_extras=True)
    for name, value in values.items():
        option = f"{prefix}{name.replace('_', '-')}"
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            yield f"--{option}", hints.get(name), value
            continue
        is_bare = is_recipe or _is_bare(hints.get(name))
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        yield from _walk(type(value), fields, prefix if is_bare else f"{option}.", is_recipe=False)


def _field_of(option: str) -> str:
    return option.removeprefix("--").rpartition(".")[2].replace("-", "_")


def _list_recipes(program: str, command: RecipeCommand) -> str:
    """Return what a command does and which recipes it has, for its help."""
    width = max(map(len, command.recipes))
    lines = [f"  {name:<{width}}  {line}" for name, (line, _) in command.recipes.items()]
    summary = inspect.getdoc(command.function) or ""
    missing = f"; without one it is {command.default}" if command.default is not None else ""
    return "\n".join(
        [
            summary.split("\n\n")[0],
            "",
            f"one {command.kind} by its name, behind {program}{missing}:",
            *lines,
            "",
            f"{program} {command.kind.upper()} --help tells its settings, which are options too.",
        ]
    )
