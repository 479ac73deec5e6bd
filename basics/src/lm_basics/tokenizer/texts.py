"""Text out of files: text files in blocks that can be tokenized apart, documents of Parquet files.

Text is UTF-8. A byte-order mark at the beginning of a text file, which some editors write, is no
part of the text; anywhere else, in the column of a Parquet file too, U+FEFF is a character as any
other. Files that begin with the mark of UTF-16 or UTF-32 are refused.

A block ends where ``text_stream`` finds that a text may be cut: behind a special token or, with a
pattern that is known, where two neighbouring characters tell that a pre-token ends.
"""

import codecs
import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Literal

from lm_basics.tokenizer.patterns import compile_pattern
from lm_basics.tokenizer.text_stream import Cutter

OnInvalid = Literal["strict", "replace"]
"""What happens to bytes that are not UTF-8: an error, or U+FFFD in their place."""

BLOCK_BYTES = 1 << 22

_FILE_BLOCK_BYTES = 1 << 20
_LONGEST_CHARACTER = 4
_ROWS_AT_ONCE = 1024
_HASHED_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A stretch of a file."""

    data: bytes
    """Whole characters, if the file is UTF-8."""
    path: Path
    """The file."""
    position: int
    """Bytes of the file before."""

    def text(self, on_invalid: OnInvalid) -> str:
        """Return the text of the block.

        Raises:
            ValueError: a byte is not UTF-8; the message holds its position in the file.
        """
        try:
            return self.data.decode("utf-8", errors=on_invalid)
        except UnicodeDecodeError as error:
            position = self.position + error.start
            raise ValueError(
                f"{self.path} is not UTF-8: {error.reason} at byte {position}"
            ) from error


def read_blocks(
    path: Path,
    pattern: str,
    special_tokens: Collection[str] = (),
    *,
    block_bytes: int = BLOCK_BYTES,
    start: int = 0,
    max_bytes: int | None = None,
    is_compiled: bool = False,
) -> Iterator[Block]:
    """Yield the blocks of a file; memory is bounded by the longest stretch that cannot be cut.

    Args:
        path: UTF-8 text.
        pattern: regular expression of the pre-tokens.
        special_tokens: strings that are never cut.
        block_bytes: size from which on a block is cut off.
        start: bytes of the file to pass over, up to the end of a block.
        max_bytes: where to stop; a character that this would cut is left out.
        is_compiled: whether the kernels, where there are some for the pattern, may be used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is UTF-16 or UTF-32.
    """
    cutter = Cutter(compile_pattern(pattern), special_tokens, is_compiled=lambda: is_compiled)
    remaining = sys.maxsize if max_bytes is None else max_bytes
    parts: list[bytes] = []
    size, position, enough = 0, start, block_bytes
    with _open_behind_mark(path) as file:
        if start:
            file.seek(start)
        else:
            position = file.tell()
            remaining -= position
        while remaining > 0 and (data := file.read(min(remaining, block_bytes))):
            remaining -= len(data)
            parts.append(data)
            size += len(data)
            if size < enough:
                continue
            pending = b"".join(parts)
            # The bytes of a character that is not complete would pass for what ends a word.
            cut = cutter.find_in_bytes(pending[: _end_of_characters(pending)])
            if cut:
                yield Block(data=pending[:cut], path=path, position=position)
            parts = [pending[cut:]]
            size -= cut
            position += cut
            # A block without a safe place grows before it is searched again, or one pre-token of
            # n bytes would be searched n times.
            enough = max(block_bytes, 2 * size)
        is_cut = remaining <= 0 and bool(file.read(1))
    pending = b"".join(parts)
    if is_cut:
        pending = pending[: _end_of_characters(pending)]
    if pending:
        yield Block(data=pending, path=path, position=position)


def _open_behind_mark(path: Path) -> BinaryIO:
    """Open a text file, behind its byte-order mark if it begins with one."""
    file = path.open("rb")
    beginning = file.peek(len(codecs.BOM_UTF8))
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        file.close()
        raise ValueError(
            f"{path} begins with the byte-order mark of UTF-16 or UTF-32, expected UTF-8: convert "
            "it first, for example with iconv -f UTF-16 -t UTF-8"
        )
    if beginning.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    return file


def _end_of_characters(data: bytes) -> int:
    """Return the length of ``data`` without a last character that is not complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(data[-_LONGEST_CHARACTER:])
    return len(data) - len(decoder.getstate()[0])


def read_text(path: Path) -> Iterator[str]:
    """Yield the text of a UTF-8 file in blocks, with its line ends as they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a byte is not UTF-8; the message holds its position.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _open_behind_mark(path) as file:
        position = file.tell()
        while True:
            block = file.read(_FILE_BLOCK_BYTES)
            held_back = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                bad = position - held_back + error.start
                raise ValueError(f"{path} is not UTF-8: {error.reason} at byte {bad}") from error
            if not block:
                return
            position += len(block)
            yield text


def read_documents(path: Path, separator: str) -> Iterator[str]:
    """Yield the documents of a UTF-8 file, which ``separator`` stands between or after.

    The separator is removed; empty documents are skipped.
    """
    waiting: list[str] = []
    tail = ""
    for block in read_text(path):
        *complete, tail = (tail + block).split(separator)
        for end_of_document in complete:
            document = "".join([*waiting, end_of_document])
            waiting.clear()
            if document:
                yield document
        # Only the last characters can still become part of a separator: the rest is set aside, so
        # that a document of many blocks is copied once.
        settled = max(0, len(tail) - len(separator) + 1)
        waiting.append(tail[:settled])
        tail = tail[settled:]
    if document := "".join([*waiting, tail]):
        yield document


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
        self,
        file_index: int,
        position: int,
        *,
        pattern: str,
        block_bytes: int,
        is_compiled: bool = False,
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
                    path,
                    pattern,
                    (self._separator,),
                    block_bytes=block_bytes,
                    start=start,
                    is_compiled=is_compiled,
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
