"""Documents from Parquet files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from lm_basics.tokenizer.corpus import OnInvalid

_ROWS_AT_ONCE = 1024


def is_parquet(path: Path) -> bool:
    """Return whether the name of a file says that it is Parquet."""
    return path.suffix.lower() == ".parquet"


def count_rows(path: Path) -> int:
    """Return the rows of a file, those without a text included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
        ImportError: pyarrow is not installed.
    """
    with _pyarrow_for(path) as pyarrow:
        return pyarrow.parquet.read_metadata(path).num_rows


def read_column(path: Path, column: str, *, on_invalid: OnInvalid = "strict") -> Iterator[str]:
    """Yield the texts of a column; rows without a text are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, the column is missing or holds no text, or a text is not
            UTF-8.
        ImportError: pyarrow is not installed.
    """
    with _pyarrow_for(path) as pyarrow, pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if column not in names:
            raise ValueError(f"{path} has no column {column!r}, only {names}")
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[column]):
            for text in _values_of(batch.column(0), path, column, on_invalid):
                if text is None:
                    continue
                if not isinstance(text, str):
                    kind = type(text).__name__
                    raise ValueError(f"{path}: column {column!r} holds {kind}, expected text")
                yield text


def _values_of(array: Any, path: Path, column: str, on_invalid: OnInvalid) -> list[Any]:
    try:
        return array.to_pylist()
    except UnicodeDecodeError as error:
        if on_invalid == "replace":
            texts = array.cast("large_binary").to_pylist()
            return [None if text is None else text.decode(errors="replace") for text in texts]
        raise ValueError(
            f"{path}: column {column!r} holds bytes that are not UTF-8: {error}"
        ) from error


@contextmanager
def _pyarrow_for(path: Path) -> Iterator[ModuleType]:
    """Give pyarrow; what it raises about damage, of several kinds, becomes ``ValueError``."""
    try:
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("reading Parquet needs pyarrow: install lm-basics[parquet]") from error
    try:
        yield pyarrow
    except (OSError, pyarrow.ArrowInvalid) as error:
        # Errors of the file system, and no others, have a number.
        if getattr(error, "errno", None) is not None:
            raise
        raise ValueError(f"{path} is no Parquet file, or damaged: {error}") from error
