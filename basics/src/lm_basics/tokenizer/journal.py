"""A journal of work in progress: one line of JSON for each step that is safely on the disk.

The first line names the work by a key. A line that a crash cut short does not count, nor does what
stands behind it.
"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any


class Journal:
    """An open journal; a context manager that closes it.

    Args:
        path: the file, made if it is missing.
        key: of the work. A journal with another one is not read, but begun anew.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.last: dict[str, Any] | None = None
        """The last record, ``None`` in a new journal."""
        header = {"key": key}
        records, size = _read(path)
        self._file = path.open("ab")
        if records and records[0] == header:
            self._file.truncate(size)
            self.last = records[-1] if len(records) > 1 else None
        else:
            self._file.truncate(0)
            self.append(header)
            self.last = None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, record: dict[str, Any]) -> None:
        """Write a record, and return when it is on the disk."""
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.last = record


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the complete records and the bytes that they take."""
    records: list[dict[str, Any]] = []
    size = 0
    if not path.exists():
        return records, size
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            break
        records.append(record)
        size += len(line)
    return records, size
