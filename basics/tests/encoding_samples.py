"""A tokenizer, files to encode with it, and what is expected of that."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from lm_basics.token_files import encode_documents
from lm_basics.tokenizer import Tokenizer, train_bpe_from_texts
from lm_basics.tokenizer.texts import read_documents
from lm_shared.files import read_json

END = "<|endoftext|>"
PROSE = "The cat sat on the mat; the dog, it's said, ate 1234 rats.\n\n  Über 日本語で書く 🙂 <|end"
SUFFIXES = (".bin", ".json", ".offsets.bin")
SPECIALS = [END, "aa"]
VOCAB, MERGES = train_bpe_from_texts([PROSE], 300, SPECIALS)
TOKENIZER = Tokenizer(VOCAB, MERGES, SPECIALS, implementation="reference")


class StoppedError(Exception):
    """What stops an encoding from inside."""


def write_files(folder: Path) -> list[Path]:
    """Write documents of many blocks, empty ones, an empty file, and no separator at the end."""
    contents = [
        f"{PROSE * 9}{END}{END}short{END}{'x' * 300} {PROSE}",
        "",
        END,
        f"{END}{PROSE}\n{END}",
        " and\n\nmore " * 40,
    ]
    paths = [folder / f"{index}.txt" for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, encoding="utf-8", newline="")
    return paths


def read_all(path: Path) -> list[Any]:
    """Return the content of the three files of a token file, without the key of what made them."""
    arrays = [path.with_suffix(suffix).read_bytes() for suffix in (".bin", ".offsets.bin")]
    return [*arrays, {**read_json(path.with_suffix(".json")), "key": None}]


def encode_plainly(
    files: list[Path], path: Path, *, separator: str = END, end_of_text: str = END
) -> list[Any]:
    """Encode documents one by one and return the content of the token file."""
    texts = chain.from_iterable(read_documents(file, separator) for file in files)
    encode_documents(TOKENIZER, texts, path, end_of_text=end_of_text)
    return read_all(path)


def stop() -> None:
    """Stop an encoding."""
    raise StoppedError


def after(num_reports: int, action: Callable[[], Any] = stop) -> Callable[[int, int], None]:
    """Return a report that does something at one of its calls."""
    calls = iter(range(num_reports))

    def report(done: int, total: int) -> None:
        if next(calls, None) is None:
            action()

    return report
