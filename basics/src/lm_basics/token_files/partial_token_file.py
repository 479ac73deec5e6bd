"""A token file that is being written, and that goes on where it was when its writer was killed.

Beside ``tokens.bin``, the folder ``tokens.bin.partial`` holds the ids so far, the positions at
which documents begin, and a journal. Both arrays are on the disk before a line of the journal
counts them; what lies behind the last line is cut off before the work goes on. Until everything is
there, an earlier ``tokens.bin`` stays as it is.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lm_basics.token_files.token_file import (
    OFFSET_DTYPE,
    Sidecar,
    check_output,
    offsets_path,
    read_sidecar,
    sidecar_path,
    token_file_paths,
    write_sidecar,
)
from lm_shared.files import claim_file, lock_folder, read_json_lines

COMMIT_INTERVAL_S = 1.0
"""The work that a kill can undo."""


_JOURNAL_NAME = "journal.jsonl"
_ARRAY_NAMES = _IDS_NAME, _STARTS_NAME = "ids.bin", "starts.bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A line of the journal: how far the input was read, and what was written."""

    file_index: int = 0
    """The file of the input."""
    position: int = 0
    """How far it was read; see ``InputFiles``."""
    num_tokens: int = 0
    """Ids."""
    num_documents: int = 0
    """Documents that have ended."""
    num_bytes: int = 0
    """UTF-8 bytes of the text behind the ids."""
    is_open: bool = False
    """Whether the last text belongs to a document that has not ended."""
    is_complete: bool = False
    """Whether nothing is missing but the final names."""

    @property
    def place(self) -> tuple[int, int]:
        """The file of the input and how far it was read."""
        return self.file_index, self.position

    @classmethod
    def from_record(cls, record: dict[str, Any] | None) -> "Progress":
        """Return what a line says; one that is missing or no progress says that nothing is done."""
        try:
            return cls(**(record or {}))
        except TypeError:
            return cls()

    def sizes(self, dtype: np.dtype[Any]) -> tuple[int, int]:
        """Return the bytes of the ids and of the positions at which documents begin."""
        num_starts = self.num_documents + (not self.is_complete)
        return self.num_tokens * dtype.itemsize, num_starts * OFFSET_DTYPE.itemsize


def is_finished(path: Path, key: str) -> bool:
    """Return whether the token file ``path`` was made with ``key`` and nothing remains to do."""
    if _partial_folder(path).exists() or not all(one.is_file() for one in token_file_paths(path)):
        return False
    return _read_key(path) == key


@contextmanager
def open_partial_token_file(
    path: Path, *, key: str, dtype: np.dtype[Any], overwrite: bool = False
) -> Iterator["PartialTokenFile"]:
    """Yield the token file ``path`` as far as an earlier process wrote it.

    What is there stays when the block fails, except after a ``ValueError``: then the input is
    wrong, and another input has another key.

    Args:
        path: ends in ``.bin``.
        key: of everything that decides the content; only with the same one the work is gone on
            with. The sidecar keeps it.
        dtype: of the ids.
        overwrite: whether an earlier token file, or the beginning of another, may be replaced.

    Raises:
        ValueError: another process writes the same file, ``path`` has another suffix, or other
            work would be replaced.
    """
    check_output(path)
    folder = _partial_folder(path)
    with lock_folder(folder):
        if not overwrite:
            _claim(path, folder, key, dtype)
        try:
            with (
                Journal(folder / _JOURNAL_NAME, key, replaced=_marks(path)) as journal,
                (folder / _IDS_NAME).open("ab") as ids_file,
                (folder / _STARTS_NAME).open("ab") as starts_file,
            ):
                yield PartialTokenFile(path, journal, ids_file, starts_file, dtype)
        except ValueError:
            _remove(folder)
            raise


class PartialTokenFile:
    """The open files; see ``open_partial_token_file``."""

    def __init__(
        self,
        path: Path,
        journal: "Journal",
        ids_file: BinaryIO,
        starts_file: BinaryIO,
        dtype: np.dtype[Any],
    ) -> None:
        self.path = path
        self._folder = _partial_folder(path)
        self._journal = journal
        self._ids_file = ids_file
        self._starts_file = starts_file
        self._dtype = dtype
        self.progress = self._take_up()
        """Of what was written, not all of it committed."""
        self._committed_at = time.monotonic()

    def append(
        self,
        ids: NDArray[np.unsignedinteger],
        document_ends: NDArray[np.int64],
        num_bytes: int,
        *,
        is_open: bool,
    ) -> None:
        """Write ids.

        Args:
            ids: the next ones.
            document_ends: how many of them there are up to the end of each document.
            num_bytes: UTF-8 bytes of their text.
            is_open: whether the next ids belong to the same document as the last ones.
        """
        earlier = self.progress
        self._ids_file.write(ids.astype(self._dtype, copy=False).tobytes())
        starts = (document_ends + earlier.num_tokens).astype(OFFSET_DTYPE, copy=False)
        self._starts_file.write(starts.tobytes())
        self.progress = replace(
            earlier,
            num_tokens=earlier.num_tokens + len(ids),
            num_documents=earlier.num_documents + len(document_ends),
            num_bytes=earlier.num_bytes + num_bytes,
            is_open=is_open,
        )

    def move_on(self, file_index: int, position: int) -> None:
        """Note how far the input was read for what has been appended, and at times commit it."""
        self.progress = replace(self.progress, file_index=file_index, position=position)
        if time.monotonic() - self._committed_at >= COMMIT_INTERVAL_S:
            self._commit()

    def publish(self, *, vocab_size: int, vocab_hash: str) -> None:
        """Give the files their names, the sidecar last.

        Raises:
            ValueError: there is no token.
        """
        if not self.progress.num_tokens:
            raise ValueError(f"{self.path}: there is no token to write, all documents are empty")
        if not self.progress.is_complete:
            # The end of the last document is no start of another.
            self._starts_file.flush()
            self._starts_file.truncate(self.progress.num_documents * OFFSET_DTYPE.itemsize)
            self.progress = replace(self.progress, is_complete=True)
            self._commit()
        # From here to the new sidecar, the files of an earlier writing would not fit together.
        sidecar_path(self.path).unlink(missing_ok=True)
        for name, output in zip(_ARRAY_NAMES, _arrays(self.path), strict=True):
            if (self._folder / name).exists():
                (self._folder / name).replace(output)
        _sync_folder(self.path.parent)
        sidecar = Sidecar(
            dtype=self._dtype.str,
            num_tokens=self.progress.num_tokens,
            num_documents=self.progress.num_documents,
            num_bytes=self.progress.num_bytes,
            vocab_size=vocab_size,
            vocab_hash=vocab_hash,
            key=self._journal.key,
        )
        write_sidecar(self.path, sidecar)
        _remove(self._folder)

    def _commit(self) -> None:
        """Return when everything is on the disk, to be gone on from here."""
        for file in (self._ids_file, self._starts_file):
            file.flush()
            os.fsync(file.fileno())
        self._journal.append(asdict(self.progress))
        self._committed_at = time.monotonic()

    def _take_up(self) -> Progress:
        """Cut off what was written behind the last commit; without any, begin anew."""
        progress = Progress.from_record(self._journal.last)
        if self._journal.last is not None and self._restore(progress):
            return progress
        self._ids_file.truncate(0)
        self._starts_file.truncate(0)
        # The first document begins with the first id, every other one where the last has ended.
        self._starts_file.write(bytes(OFFSET_DTYPE.itemsize))
        self._starts_file.flush()
        self._journal.append(asdict(Progress()))
        return Progress()

    def _restore(self, progress: Progress) -> bool:
        """Return whether the files hold what the journal counts, and cut off the rest."""
        sizes = progress.sizes(self._dtype)
        for file, size, output in zip(
            (self._ids_file, self._starts_file), sizes, _arrays(self.path), strict=True
        ):
            partial_path = Path(file.name)
            if partial_path.stat().st_size >= size:
                file.truncate(size)
            elif progress.is_complete and _size_of(output) == size:
                # It has its name already; opening it for more has made an empty one here.
                partial_path.unlink()
            else:
                return False
        return True


class Journal:
    """An open journal; a context manager that closes it.

    Args:
        path: the file, made if it is missing.
        key: of the work. A journal with another one is not read, but begun anew.
        replaced: marks of the earlier files that the work may replace, kept in a new journal.
    """

    def __init__(self, path: Path, key: str, *, replaced: Sequence[Any] = ()) -> None:
        self.key = key
        self.last: dict[str, Any] | None = None
        """The last record, ``None`` in a new journal."""
        records, size = _read(path)
        self._file = path.open("ab")
        if records and records[0].get("key") == key:
            self._file.truncate(size)
            self.last = records[-1] if len(records) > 1 else None
        else:
            self._file.truncate(0)
            self.append({"key": key, "replaced": replaced})
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


def _claim(path: Path, folder: Path, key: str, dtype: np.dtype[Any]) -> None:
    """Raise unless the place is free, but for what calls with ``key`` have made or may replace."""
    header, *lines = _read(folder / _JOURNAL_NAME)[0] or [{}]
    if header.get("key", key) != key:
        raise ValueError(
            f"{folder} holds the beginning of another encoding: --overwrite replaces it, or choose "
            "another --output"
        )
    progress = Progress.from_record(lines[-1] if lines else None)
    replaced = header.get("replaced", ())
    try:
        for output, mark in zip(token_file_paths(path), _marks(path), strict=True):
            if mark in replaced:
                continue
            if not progress.is_complete or not _is_published(output, path, key, progress, dtype):
                claim_file(output)
    except ValueError:
        if not header:
            _remove(folder)
        raise


def _is_published(
    output: Path, path: Path, key: str, progress: Progress, dtype: np.dtype[Any]
) -> bool:
    """Return whether a file has got its final name from this work, which is complete."""
    if output == sidecar_path(path):
        return _read_key(path) == key
    which = _arrays(path).index(output)
    size = progress.sizes(dtype)[which]
    left = _size_of(_partial_folder(path) / _ARRAY_NAMES[which]) or 0
    return left < size == _size_of(output)


def _read_key(path: Path) -> str | None:
    """Return the key in the sidecar, ``None`` where there is none or no sidecar."""
    try:
        return read_sidecar(path).key
    except (FileNotFoundError, ValueError):
        return None


def _partial_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _marks(path: Path) -> list[list[Any]]:
    """Return, for each file of a token file, what changes when it is replaced."""
    marks = []
    for output in token_file_paths(path):
        status = output.stat() if output.is_file() else None
        marks.append([output.name, status and status.st_size, status and status.st_mtime_ns])
    return marks


def _arrays(path: Path) -> tuple[Path, Path]:
    """Return the final paths of the ids and of the positions at which documents begin."""
    return path, offsets_path(path)


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove the files of this module, the journal first, and their folder."""
    for name in (_JOURNAL_NAME, *_ARRAY_NAMES):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the complete records and the bytes that they take."""
    records: list[dict[str, Any]] = []
    size = 0
    for line, record in read_json_lines(path):
        if record is None:
            break
        records.append(record)
        size += len(line)
    return records, size
