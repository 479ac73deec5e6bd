"""``basics encode``: turn text files into a token file for training."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.text_stream import read_documents
from lm_basics.tokenizer.token_file import encode_documents


def encode(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    tokenizer: Path,
    output: Path,
    separator: str = END_OF_TEXT,
) -> None:
    """Encode the documents of text files, each followed by the end-of-text token.

    Args:
        files: UTF-8 text, in the order in which it is written.
        tokenizer: folder with a tokenizer.json.
        output: the token file; its name ends in .bin, a .json and an .offsets.bin go beside it.
        separator: string between two documents of one file.
    """
    if not files:
        raise ValueError("expected at least one text file, got none")
    start_s = time.perf_counter()
    written = encode_documents(
        Tokenizer.from_folder(tokenizer), _read_all(files, separator), output
    )
    elapsed_s = time.perf_counter() - start_s
    num_bytes = written.num_bytes or 0
    print(
        f"{written.num_documents} documents, {written.num_tokens} tokens, "
        f"{num_bytes / written.num_tokens:.3f} bytes per token, "
        f"{num_bytes / elapsed_s / 1e6:.1f} MB/s"
    )
    print(f"wrote {output}")


def _read_all(files: Sequence[Path], separator: str) -> Iterator[str]:
    for path in files:
        yield from read_documents(path, separator)
