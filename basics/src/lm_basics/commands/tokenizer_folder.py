"""Tokenizers that the command line names."""

from pathlib import Path

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.tokenizer_json import TOKENIZER_FILE


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
        return (path.resolve().parent if is_inside else path.resolve()).name, path
    if not (name and given):
        raise ValueError(f"expected a path or name=path, got {argument!r}")
    return name, Path(given)
