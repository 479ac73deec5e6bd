"""Document shards: Parquet files with one row per document.

Columns: ``id``, ``url``, ``source``, ``text``, ``dropped_by``, ``reason``, then one column per
measurement. The same documents give the same bytes (for one version of pyarrow).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lm_data.document import Document, Measurement
from lm_shared.files import atomic_path

TEXT_COLUMNS = ("id", "url", "source", "text", "dropped_by", "reason")
ARROW_TYPES: dict[type, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string()}
ROWS_PER_GROUP = 1024

MeasurementTypes = Mapping[str, type]


def find_measurement_types(documents: Iterable[Document]) -> dict[str, type]:
    """Return the type of each measurement, by name; whole and real numbers together are real.

    Raises:
        TypeError: A measurement is a text in one document and a number in another.
    """
    types: dict[str, type] = {}
    for document in documents:
        for name, value in document.measurements.items():
            known, kind = types.setdefault(name, type(value)), type(value)
            if known is not kind and {known, kind} != {int, float}:
                raise TypeError(
                    f"measurement {name!r} is both {known.__name__} and {kind.__name__}"
                )
            types[name] = kind if known is kind else float
    return types


def write_shard(
    path: Path, documents: Sequence[Document], types: MeasurementTypes | None = None
) -> None:
    """Write documents to a Parquet file.

    Args:
        path: The file.
        documents: Its rows, in order.
        types: The measurements that become columns, so that all shards of a corpus agree; those of
            the documents when None.
    """
    # Explicit types: in a shard where every value is missing pyarrow would infer none.
    types = find_measurement_types(documents) if types is None else types
    columns = {
        name: pa.array([getattr(document, name) for document in documents], pa.string())
        for name in TEXT_COLUMNS
    }
    for name in sorted(types):
        values = [document.measurements.get(name) for document in documents]
        columns[name] = pa.array(values, ARROW_TYPES[types[name]])
    with atomic_path(path) as partial:
        pq.write_table(
            pa.table(columns), partial, compression="zstd", row_group_size=ROWS_PER_GROUP
        )


def read_shard(path: Path | str) -> Iterator[Document]:
    """Yield the documents of a Parquet file in order.

    Raises:
        ValueError: The file is damaged or lacks a column.
    """
    try:
        file = pq.ParquetFile(path)
        missing = sorted(set(TEXT_COLUMNS) - set(file.schema_arrow.names))
        if missing:
            raise ValueError(f"{path} lacks the columns {missing}: not a document shard")
        for batch in file.iter_batches(ROWS_PER_GROUP):
            for row in batch.to_pylist():
                yield _build_document(row)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged, delete it to have it made again: {error}") from error


def iterate_texts(folder: Path | str, split: str = "train") -> Iterator[str]:
    """Yield the texts of one split of a curated corpus, shard by shard.

    Raises:
        FileNotFoundError: The folder holds no such split.
    """
    for path in list_shards(folder, split):
        yield from read_texts(path)


def read_texts(path: Path | str) -> Iterator[str]:
    """Yield the texts of a Parquet file in order; no other column is read and decompressed."""
    for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_GROUP, columns=["text"]):
        yield from batch.column("text").to_pylist()


def list_shards(folder: Path | str, split: str) -> list[Path]:
    """Return the shards of ``train``, ``validation`` or ``dropped``, in order.

    Raises:
        FileNotFoundError: The folder holds no such split.
    """
    paths = sorted((Path(folder) / split).glob("*.parquet"))
    if not paths:
        raise FileNotFoundError(f"no documents in {Path(folder) / split}")
    return paths


def _build_document(row: dict[str, Measurement | None]) -> Document:
    fields = {name: row.pop(name) for name in TEXT_COLUMNS}
    measurements = {name: value for name, value in row.items() if value is not None}
    return Document(**fields, measurements=measurements)  # type: ignore[arg-type]
