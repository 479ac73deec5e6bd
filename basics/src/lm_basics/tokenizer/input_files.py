"""The files that are encoded, read in parts from any place on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lm_basics.tokenizer.corpus import Block, OnInvalid, read_blocks
from lm_basics.tokenizer.parquet import count_rows, is_parquet, read_column

_HASHED_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Consecutive text of one file."""

    content: Block | list[bytes]
    """A stretch of a text file, or whole documents of a Parquet file in UTF-8."""
    file_index: int
    """The file."""
    position: int
    """How far it has been read at the end of this part."""


class InputFiles:
    """Text files and Parquet files, in the order in which they are encoded.

    A position in one of them is a number of bytes, or of documents in a Parquet file.

    Args:
        paths: the files; those whose names end in .parquet are Parquet.
        separator: string between the documents of a text file.
        text_column: column of the Parquet files; each of its texts is a document.
        on_invalid: what happens to bytes that are not UTF-8; those of text files are left to
            who decodes the blocks.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one is a folder, no regular file or a damaged Parquet file, there are none, or
            ``separator`` is empty.
        ImportError: a file is Parquet, and pyarrow is not installed.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        separator: str,
        text_column: str,
        on_invalid: OnInvalid = "strict",
    ) -> None:
        if not paths:
            raise ValueError("expected at least one file to encode, got none")
        if not separator:
            raise ValueError("expected a separator between documents, got an empty one")
        sizes = [path.stat().st_size for path in paths]
        for path in paths:
            if path.is_dir():
                raise ValueError(f"{path} is a folder, expected files, such as {path}/*.txt")
            if not path.is_file():
                raise ValueError(f"{path} is no regular file")
        self._paths = paths
        self._separator = separator
        self._text_column = text_column
        self._on_invalid: OnInvalid = on_invalid
        self._sizes = sizes
        self._num_rows = [count_rows(path) if is_parquet(path) else 0 for path in paths]
        self.num_bytes = sum(self._sizes)
        """Size of all files."""

    def read(
        self, file_index: int, position: int, *, pattern: str, block_bytes: int
    ) -> Iterator[Part]:
        """Yield the text behind a place, in parts of about ``block_bytes``.

        A part may end inside of a document, but only where ``read_blocks`` may cut.

        Raises:
            ValueError: a Parquet file is damaged, or its column is missing or holds no text.
        """
        for index in range(file_index, len(self._paths)):
            path = self._paths[index]
            start = position if index == file_index else 0
            if is_parquet(path):
                for documents in self._read_documents(path, start, block_bytes):
                    start += len(documents)
                    yield Part(content=documents, file_index=index, position=start)
            else:
                for block in read_blocks(
                    path, pattern, (self._separator,), block_bytes=block_bytes, start=start
                ):
                    position_behind = block.position + len(block.data)
                    yield Part(content=block, file_index=index, position=position_behind)

    def bytes_before(self, file_index: int, position: int) -> int:
        """Return the bytes of all files before a place; within Parquet files, an estimate."""
        if is_parquet(self._paths[file_index]):
            num_rows = max(1, self._num_rows[file_index])
            position = self._sizes[file_index] * position // num_rows
        return sum(self._sizes[:file_index]) + position

    def fingerprint(self) -> list[dict[str, Any]]:
        """Return, for each file, what changes with its content; of large ones not all is read."""
        return [
            {
                "name": path.name,
                "size": size,
                "modified_ns": path.stat().st_mtime_ns,
                "hash": _hash_ends(path, size),
            }
            for path, size in zip(self._paths, self._sizes, strict=True)
        ]

    def _read_documents(self, path: Path, start: int, block_bytes: int) -> Iterator[list[bytes]]:
        """Yield groups of documents of a Parquet file."""
        group: list[bytes] = []
        size = 0
        texts = read_column(path, self._text_column, on_invalid=self._on_invalid)
        for text in islice(texts, start, None):
            group.append(text.encode())
            size += len(group[-1])
            if size >= block_bytes:
                yield group
                group, size = [], 0
        if group:
            yield group


def _hash_ends(path: Path, size: int) -> str:
    """Return the SHA-256 of the beginning and the end of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_HASHED_BYTES))
        file.seek(max(0, size - _HASHED_BYTES))
        digest.update(file.read(_HASHED_BYTES))
    return digest.hexdigest()
