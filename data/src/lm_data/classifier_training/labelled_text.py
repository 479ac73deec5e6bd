"""Reading labelled text: fastText's lines, tables, or files that hold one label each.

=========================  ===================================================================
``reviews.txt``            lines ``__label__good The text``
``tweets.csv``             a column of texts and one of labels; also ``.tsv`` and ``.jsonl``
``wiki=pages.parquet``     texts that all have the label ``wiki``; also a text file, whose documents
                           end with ``<|endoftext|>``, and a folder from ``data curate``
=========================  ===================================================================
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.texts import is_parquet, read_column, read_documents
from lm_data.filters.fasttext_model import LABEL_PREFIX
from lm_data.shards import list_shards

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A text and what it is."""

    label: str
    """One word."""
    text: str
    """Any text."""

    def __post_init__(self) -> None:
        if len(self.label.split()) != 1:
            raise ValueError(f"a label is one word, got {self.label!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where labelled text comes from."""

    path: Path
    """A file, or a folder of Parquet files."""
    label: str | None
    """Label of all its texts; ``None`` where each text has its own."""

    @classmethod
    def parse(cls, argument: str) -> "Source":
        """Read ``path`` or ``label=path``.

        Raises:
            FileNotFoundError: There is nothing at the path.
        """
        label, separator, place = argument.partition("=")
        if not separator or Path(argument).exists():
            label, place = "", argument
        if not Path(place).exists():
            raise FileNotFoundError(f"no labelled text at {place}: expected path or label=path")
        return cls(path=Path(place), label=label or None)


def read_examples(
    source: Source,
    *,
    text_column: str = "text",
    label_column: str = "label",
    names: Mapping[str, str] | None = None,
) -> Iterator[Example]:
    """Yield the labelled texts of a source in order; rows without a text are skipped.

    Args:
        source: A file or folder.
        text_column: Column of the texts in tables and Parquet files.
        label_column: Column of the labels in tables.
        names: New names of labels.

    Raises:
        ValueError: A row or line has no label, a column is missing, or a file is damaged.
    """
    names = names or {}
    if source.label is not None:
        pairs = ((source.label, text) for text in _read_texts(source.path, text_column))
    elif source.path.suffix.lower() in DELIMITERS:
        pairs = _read_csv(source.path, text_column, label_column)
    elif source.path.suffix.lower() in JSON_LINES:
        pairs = _read_json_lines(source.path, text_column, label_column)
    else:
        pairs = _read_fasttext_lines(source.path)
    for label, text in pairs:
        if text.strip():
            yield Example(label=names.get(label, label), text=text)


def _read_texts(path: Path, column: str) -> Iterator[str]:
    if path.is_dir():
        for shard in sorted(path.glob("*.parquet")) or list_shards(path, "train"):
            yield from read_column(shard, column)
    elif is_parquet(path):
        yield from read_column(path, column)
    else:
        yield from read_documents(path, END_OF_TEXT)


def _read_csv(path: Path, text_column: str, label_column: str) -> Iterator[tuple[str, str]]:
    columns = [label_column, text_column]
    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(
                delimiter=DELIMITERS[path.suffix.lower()], newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(
                include_columns=columns, column_types=dict.fromkeys(columns, pa.string())
            ),
        )
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path} is no such table: {error}") from error
    yield from zip(table[label_column].to_pylist(), table[text_column].to_pylist(), strict=True)


def _read_json_lines(path: Path, text_column: str, label_column: str) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                yield str(row[label_column]), str(row[text_column])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}: line {number} is no object with {label_column!r} and "
                    f"{text_column!r}: {error}"
                ) from error


def _read_fasttext_lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            label, _, text = line.partition(" ")
            if not label.startswith(LABEL_PREFIX) or text.startswith(LABEL_PREFIX):
                raise ValueError(
                    f"{path}: line {number} does not begin with one {LABEL_PREFIX}…; files with "
                    "one label for all texts are given as label=path"
                )
            yield label.removeprefix(LABEL_PREFIX), text
