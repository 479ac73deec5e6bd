"""What the command line names: files of text, tokenizers, numbers of bytes."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.tokenizer_json import TOKENIZER_FILE
from lm_shared.command_options import Each, Least, There
from lm_shared.files import resolve_path

TextFiles = Annotated[
    tuple[Path, ...],
    There(),
    tyro.conf.Positional,
    tyro.conf.arg(metavar="FILE [FILE ...]", help_behavior_hint="(required)"),
]
"""One file or more, given by their place."""

Workers = Annotated[
    int | None, Least(1), tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all cores)")
]
"""How many do the work side by side."""

NamedTokenizers = Annotated[
    tuple[str, ...],
    Each,
    tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: none, repeatable)"),
]
"""Tokenizers to lay side by side, each as ``parse_named`` reads it."""

TOKENIZER, TOKENS = Path("runs/tokenizer"), Path("runs/tokens.bin")
"""Where they go unless an option says otherwise."""

_NOT_PLAIN = (".json", ".jsonl", ".ndjson")
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_FACTORS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}

logger = logging.getLogger(__name__)


def check_text_files(files: Sequence[Path]) -> None:
    """Refuse what is no list of files, and warn of files whose text has a form around it.

    Raises:
        ValueError: there is no file, or one is a folder.
    """
    if not files:
        raise ValueError("expected at least one file of text, got none")
    for path in files:
        if path.is_dir():
            raise ValueError(f"{path} is a folder, expected files, such as {path}/*.txt")
        if path.suffix.lower() in _NOT_PLAIN:
            logger.warning(
                "%s is read as plain text, with its braces and quotes; only Parquet has columns",
                path,
            )


def load_tokenizer(path: Path) -> Tokenizer:
    """Read the tokenizer of a folder, of which the tokenizer.json may be given instead.

    Raises:
        FileNotFoundError: there is none.
        ValueError: another file is given, or the tokenizer is damaged.
    """
    return Tokenizer.from_folder(find_folder(path))


def find_folder(path: Path) -> Path:
    """Return the folder of a tokenizer, of which the tokenizer.json may be given instead.

    Raises:
        ValueError: another file is given.
    """
    if not path.is_file():
        return path
    if path.name != TOKENIZER_FILE:
        raise ValueError(f"expected a folder with a {TOKENIZER_FILE}, got the file {path}")
    return path.parent


def parse_named(argument: str) -> tuple[str, Path]:
    """Read ``path`` or ``name=path``; the name of a bare path is its last part.

    Raises:
        ValueError: the name or the path is empty.
    """
    name, separator, given = argument.partition("=")
    if not separator or Path(argument).exists():
        path = Path(argument)
        is_inside = path.name == TOKENIZER_FILE and path.is_file()
        place = resolve_path(path)
        return (place.parent if is_inside else place).name, path
    if not (name and given):
        raise ValueError(f"expected a path or name=path, got {argument!r}")
    return name, Path(given)


def parse_byte_count(text: str) -> int:
    """Return the number that ``500_000``, ``2.5GB`` or ``16MiB`` stands for.

    Raises:
        ValueError: it is none of these.
    """
    match = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kmgt]i?|)b?", text.strip().lower())
    if match is None:
        raise ValueError(
            f"expected a number of bytes such as 500_000, 2.5GB or 16MiB, got {text!r}"
        )
    number, unit = match.groups()
    return round(float(number) * (_FACTORS | _BINARY_FACTORS)[unit])
