"""Files of text encoded into a token file: in parallel, and to be gone on with after a kill.

The text is read in parts, which workers encode in any order and which are written in that of the
files: the result has the same bytes whatever the number of workers and the size of the parts.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.fast.threads import map_in_order, num_available_cores
from lm_basics.tokenizer.part_encoding import EncodedPart, PartEncoder
from lm_basics.tokenizer.partial_token_file import (
    PartialTokenFile,
    Progress,
    open_partial_token_file,
)
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.texts import BLOCK_BYTES, InputFiles, OnInvalid
from lm_basics.tokenizer.token_file import TokenFile, open_token_file
from lm_basics.tokenizer.token_sidecar import check_output, dtype_on_disk
from lm_basics.tokenizer.worker_processes import are_worth_starting, encode_in_processes

Report = Callable[[int, int], None]
"""Called with the bytes of the files that are done and with those of all files."""

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
    num_workers: int | None = None,
    block_bytes: int | None = None,
    report: Report | None = None,
) -> TokenFile:
    """Encode the documents of text files and Parquet files, each followed by ``end_of_text``.

    Text that spells a special token is encoded as the ordinary text that it is. When this is
    interrupted, an earlier ``path`` stays as it was, and another call with the same arguments goes
    on where the first one stopped. Where a tokenizer has no fast path, large files are encoded in
    processes; a script that calls this then needs ``if __name__ == "__main__":``.

    Args:
        tokenizer: text to ids.
        files: UTF-8 text, or Parquet if the name ends in .parquet.
        path: the token file; ends in ``.bin``.
        separator: string between two documents of a text file. It is removed, and documents
            without text are skipped.
        text_column: column of the Parquet files; each of its texts is a document.
        on_invalid: what happens to bytes that are not UTF-8.
        end_of_text: special token behind each document.
        num_workers: threads or processes that encode; all cores by default.
        block_bytes: text that a worker takes at once.
        report: is told of the progress.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is not UTF-8 or no Parquet, there is no text at all, ``end_of_text`` is
            no special token of ``tokenizer``, another process writes ``path``, or it would replace
            something else than a token file.
    """
    if end_of_text not in tokenizer.special_token_ids:
        known = ", ".join(map(repr, tokenizer.special_token_ids)) or "none"
        raise ValueError(
            f"end of text {end_of_text!r} is not among the tokenizer's special tokens ({known})"
        )
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers={num_workers} leaves nobody to encode")
    path, report = Path(path), report or _ignore
    paths = [Path(file) for file in files]
    check_output(path, paths)
    inputs = InputFiles(
        paths,
        separator=separator,
        text_column=text_column,
        on_invalid=on_invalid,
    )
    encoder = PartEncoder(
        tokenizer=tokenizer, separator=separator, end_of_text=end_of_text, on_invalid=on_invalid
    )
    settings = [tokenizer.vocab_hash, end_of_text, separator, text_column, on_invalid]
    key = hashlib.sha256(json.dumps([settings, inputs.fingerprint()]).encode()).hexdigest()
    dtype = dtype_on_disk(tokenizer.vocab_size)
    with open_partial_token_file(path, key=key, dtype=dtype) as partial:
        report(inputs.bytes_before(*partial.progress.place), inputs.num_bytes)
        if not partial.progress.is_complete:
            encoded = _encode_rest(encoder, inputs, partial.progress, num_workers, block_bytes)
            end_id = tokenizer.special_token_ids[end_of_text]
            _write(partial, encoded, end_id, inputs, report)
        partial.publish(vocab_size=tokenizer.vocab_size, vocab_hash=tokenizer.vocab_hash)
    return open_token_file(path)


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
    parts = inputs.read(*progress.place, pattern=encoder.tokenizer.pattern, block_bytes=block_bytes)
    num_workers = min(num_workers or num_available_cores(), 1 + num_bytes // block_bytes)
    if is_fast:
        yield from map_in_order(encoder.encode, parts, num_workers)
    elif num_workers > 1 and are_worth_starting(num_bytes):
        yield from encode_in_processes(encoder, parts, num_workers)
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
