"""Files that the command line names: text that is read, folders that are written."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

TextFiles = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    tyro.conf.arg(metavar="FILE [FILE ...]", help_behavior_hint="(required)"),
]
"""One file or more, given by their place."""

_NOT_PLAIN = (".json", ".jsonl", ".ndjson")

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
