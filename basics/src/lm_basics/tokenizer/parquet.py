"""Documents from Parquet files."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_ROWS_AT_ONCE = 1024


def is_parquet(path: Path) -> bool:
    """Return whether the name of a file says that it is Parquet."""
    return path.suffix == ".parquet"


def count_rows(path: Path) -> int:
    """Return the rows of a file, those without a text included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
        ImportError: pyarrow is not installed.
    """
    pyarrow = _import_pyarrow()
    try:
        return pyarrow.parquet.read_metadata(path).num_rows
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error


def read_column(path: Path, column: str) -> Iterator[str]:
    """Yield the texts of a column; rows without a text are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or the column is missing or holds no text.
        ImportError: pyarrow is not installed.
    """
    pyarrow = _import_pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise ValueError(f"{path} has no column {column!r}, only {names}")
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[column]):
                for text in batch.column(0).to_pylist():
                    if text is None:
                        continue
                    if not isinstance(text, str):
                        kind = type(text).__name__
                        raise ValueError(f"{path}: column {column!r} holds {kind}, expected text")
                    yield text
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error


def _import_pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("reading Parquet needs pyarrow: install lm-basics[parquet]") from error
    return pyarrow
