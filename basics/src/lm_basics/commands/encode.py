"""``basics encode``: turn text files or Parquet files into a token file for training."""

import time
from pathlib import Path
from typing import Annotated

import tyro

from lm_basics.commands.activity_bars import activity_bars
from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.corpus import OnInvalid
from lm_basics.tokenizer.encode_files import encode_files
from lm_basics.tokenizer.patterns import END_OF_TEXT


def encode(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    tokenizer: Path,
    output: Path,
    separator: str = END_OF_TEXT,
    text_column: str = "text",
    on_invalid: OnInvalid = "strict",
    workers: int | None = None,
) -> None:
    """Encode documents, each followed by the end-of-text token; go on where a kill stopped it.

    Args:
        files: UTF-8 text or .parquet, in the order in which it is written.
        tokenizer: folder with a tokenizer.json.
        output: the token file; its name ends in .bin, a .json and an .offsets.bin go beside it.
        separator: string between two documents of a text file.
        text_column: column of Parquet files; each row is a document.
        on_invalid: stop at bytes that are not UTF-8, or replace them by U+FFFD.
        workers: threads or processes that encode; all cores by default.
    """
    encoder = Tokenizer.from_folder(tokenizer)
    start_s = time.perf_counter()
    first_shares: list[float] = []
    with activity_bars({"encoding": ("MB encoded", 1e6)}) as show:

        def report(done: int, total: int) -> None:
            if not first_shares:
                first_shares.append(done / max(1, total))
            show("encoding", done, total)

        written = encode_files(
            encoder,
            files,
            output,
            separator=separator,
            text_column=text_column,
            on_invalid=on_invalid,
            num_workers=workers,
            report=report,
        )
    elapsed_s = time.perf_counter() - start_s
    num_bytes = written.num_bytes or 0
    # What an interrupted run had done before is not this one's speed.
    speed = (1 - first_shares[0]) * num_bytes / elapsed_s / 1e6
    print(
        f"{written.num_documents} documents, {written.num_tokens} tokens, "
        f"{num_bytes / written.num_tokens:.3f} bytes per token, {speed:.1f} MB/s"
    )
    print(f"wrote {output}")
