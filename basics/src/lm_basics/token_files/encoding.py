"""Files of text encoded into a token file: in parallel, and to be gone on with after a kill.

The text is read in parts, which workers encode in any order and which are written in that of the
files: the result has the same bytes whatever the number of workers and the size of the parts.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lm_basics.token_files.partial_token_file import (
    PartialTokenFile,
    Progress,
    is_finished,
    open_partial_token_file,
)
from lm_basics.token_files.token_file import TokenFile, check_output, dtype_on_disk, open_token_file
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.texts import BLOCK_BYTES, Block, InputFiles, OnInvalid, Part
from lm_shared.processes import ProcessPool, map_in_threads, num_available_cores

Report = Callable[[int, int], None]
"""Called with the bytes of the files that are done and with those of all files."""


PROCESSES_PAY_BYTES = 1 << 22
"""Text that one process of plain Python takes longer for than others take to start."""

_PLAIN_BLOCK_BYTES = 1 << 18


def encode_files(
    tokenizer: Tokenizer,
    files: Sequence[Path | str],
    path: Path | str,
    *,
    separator: str = END_OF_TEXT,
    text_column: str = "text",
    on_invalid: OnInvalid = "strict",
    end_of_text: str = END_OF_TEXT,
    overwrite: bool = False,
    num_workers: int | None = None,
    block_bytes: int | None = None,
    report: Report | None = None,
) -> TokenFile:
    """Encode the documents of text files and Parquet files, each followed by ``end_of_text``.

    Text that spells a special token is encoded as the ordinary text that it is. When this is
    interrupted, an earlier ``path`` stays as it was, and another call with the same arguments goes
    on where the first one stopped, or finds all done. Where a tokenizer has no fast path, large
    files are encoded in processes; a script that calls this then needs
    ``if __name__ == "__main__":``.

    Args:
        tokenizer: text to ids.
        files: UTF-8 text, or Parquet if the name ends in .parquet.
        path: the token file; ends in ``.bin``.
        separator: string between two documents of a text file. It is removed, and documents
            without text are skipped.
        text_column: column of the Parquet files; each of its texts is a document.
        on_invalid: what happens to bytes that are not UTF-8.
        end_of_text: special token behind each document.
        overwrite: whether an earlier token file, or the beginning of another, may be replaced.
        num_workers: threads or processes that encode; all cores by default.
        block_bytes: text that a worker takes at once.
        report: is told of the progress.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is not UTF-8 or no Parquet, there is no text at all, ``end_of_text`` is
            no special token of ``tokenizer``, another process writes ``path``, or it would replace
            other work.
    """
    _check_arguments(tokenizer, end_of_text, num_workers)
    path, report = Path(path), report or _ignore
    paths = [Path(file) for file in files]
    check_output(path, paths)
    inputs = InputFiles(paths, separator=separator, text_column=text_column, on_invalid=on_invalid)
    encoder = PartEncoder(
        tokenizer=tokenizer, separator=separator, end_of_text=end_of_text, on_invalid=on_invalid
    )
    settings = [tokenizer.vocab_hash, end_of_text, separator, text_column, on_invalid]
    key = hashlib.sha256(json.dumps([settings, inputs.fingerprint()]).encode()).hexdigest()
    if is_finished(path, key) and not overwrite:
        report(inputs.num_bytes, inputs.num_bytes)
        return open_token_file(path)
    dtype = dtype_on_disk(tokenizer.vocab_size)
    with open_partial_token_file(path, key=key, dtype=dtype, overwrite=overwrite) as partial:
        report(inputs.bytes_before(*partial.progress.place), inputs.num_bytes)
        if not partial.progress.is_complete:
            encoded = _encode_rest(encoder, inputs, partial.progress, num_workers, block_bytes)
            end_id = tokenizer.special_token_ids[end_of_text]
            _write(partial, encoded, end_id, inputs, report)
        partial.publish(vocab_size=tokenizer.vocab_size, vocab_hash=tokenizer.vocab_hash)
    return open_token_file(path)


def _check_arguments(tokenizer: Tokenizer, end_of_text: str, num_workers: int | None) -> None:
    """Raise before any file is touched."""
    if end_of_text not in tokenizer.special_token_ids:
        known = ", ".join(map(repr, tokenizer.special_token_ids)) or "none"
        raise ValueError(
            f"end of text {end_of_text!r} is not among the tokenizer's special tokens ({known})"
        )
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers={num_workers} leaves nobody to encode")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPart:
    """The ids of a part; what its neighbours decide about documents is left to the reader."""

    ids: NDArray[np.unsignedinteger]
    """Of the text, with an end-of-text token behind each document that ends behind its text."""
    document_ends: NDArray[np.int64]
    """How many ids there are up to the end of each of these documents."""
    num_bytes: int
    """UTF-8 bytes of the text."""
    begins_with_end: bool
    """Whether a document of the part before, if it is open, ends before this text."""
    is_open: bool
    """Whether the last text belongs to a document that may go on in the next part."""
    file_index: int
    """See ``Part``."""
    position: int
    """See ``Part``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartEncoder:
    """Encodes parts; may be used by several threads at once, or pickled for other processes."""

    tokenizer: Tokenizer
    """Text to ids."""
    separator: str
    """Stands between the documents of a text file, and is removed."""
    end_of_text: str
    """The special token behind each document."""
    on_invalid: OnInvalid
    """What happens to bytes that are not UTF-8."""

    def encode(self, part: Part) -> EncodedPart:
        """Return the ids of a part.

        Raises:
            ValueError: a byte is not UTF-8; the message holds its position in the file.
        """
        content, separator = part.content, self.separator.encode()
        if not isinstance(content, Block):
            return self._encode_documents(part, content)
        try:
            return self._encode_pieces(part, content.data.split(separator))
        except UnicodeDecodeError:
            # The block knows where in the file it stands, and raises unless bytes are replaced.
            data = content.text(self.on_invalid).encode()
            return self._encode_pieces(part, data.split(separator))

    def _encode_pieces(self, part: Part, pieces: list[bytes]) -> EncodedPart:
        """Encode what stands between separators; empty documents are skipped."""
        return self._encode_documents(
            part,
            [piece for piece in pieces if piece],
            begins_with_end=len(pieces) > 1 and not pieces[0],
            is_open=bool(pieces[-1]),
        )

    def _encode_documents(
        self,
        part: Part,
        documents: list[bytes],
        *,
        begins_with_end: bool = False,
        is_open: bool = False,
    ) -> EncodedPart:
        ids, ends = self.tokenizer.encode_utf8_documents(documents, end_of_text=self.end_of_text)
        if is_open:
            ids, ends = ids[:-1], ends[:-1]
        return EncodedPart(
            ids=ids,
            document_ends=ends,
            num_bytes=sum(map(len, documents)),
            begins_with_end=begins_with_end,
            is_open=is_open,
            file_index=part.file_index,
            position=part.position,
        )


def _encode_rest(
    encoder: PartEncoder,
    inputs: InputFiles,
    progress: Progress,
    num_workers: int | None,
    block_bytes: int | None,
) -> Iterator[EncodedPart]:
    """Yield the encoded parts behind those that have been written."""
    num_bytes = inputs.num_bytes - inputs.bytes_before(*progress.place)
    is_fast = encoder.tokenizer.prepare(num_bytes)
    block_bytes = block_bytes or (BLOCK_BYTES if is_fast else _PLAIN_BLOCK_BYTES)
    parts = inputs.read(
        *progress.place,
        pattern=encoder.tokenizer.pattern,
        block_bytes=block_bytes,
        is_compiled=is_fast,
    )
    num_workers = min(num_workers or num_available_cores(), 1 + num_bytes // block_bytes)
    if is_fast:
        yield from map_in_threads(encoder.encode, parts, num_workers)
    elif num_workers > 1 and num_bytes >= PROCESSES_PAY_BYTES:
        with ProcessPool(num_workers) as pool:
            yield from pool.map(encoder.encode, parts)
    else:
        yield from map(encoder.encode, parts)


def _write(
    partial: PartialTokenFile,
    encoded: Iterator[EncodedPart],
    end_id: int,
    inputs: InputFiles,
    report: Report,
) -> None:
    """Write parts, and what ends the documents that go on over several of them."""
    for part in encoded:
        if part.begins_with_end or part.file_index > partial.progress.file_index:
            _end_document(partial, end_id)
        partial.append(part.ids, part.document_ends, part.num_bytes, is_open=part.is_open)
        partial.move_on(part.file_index, part.position)
        report(inputs.bytes_before(*partial.progress.place), inputs.num_bytes)
    _end_document(partial, end_id)


def _end_document(partial: PartialTokenFile, end_id: int) -> None:
    if partial.progress.is_open:
        ids = np.array([end_id], dtype=np.uint32)
        partial.append(ids, np.ones(1, dtype=np.int64), num_bytes=0, is_open=False)


def _ignore(num_bytes: int, total: int) -> None:
    """Report to nobody."""
