"""``basics encode``: turn text files or Parquet files into a token file for training."""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.commands.inputs import TOKENS, TextFiles, Workers, check_text_files, find_folder
from lm_basics.tokenizer.patterns import END_OF_TEXT
from lm_basics.tokenizer.texts import OnInvalid
from lm_shared.command_options import Overwrite
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from lm_basics.commands.long_work import Stopwatch
    from lm_basics.token_files import TokenFile

_HELD_OUT = re.compile(r"(?<![a-z])(valid|(val|test|dev|held)(?![a-z]))", re.IGNORECASE)
_LEAST_TIMED_BYTES = 1_000_000

logger = logging.getLogger(__name__)


def encode(
    files: TextFiles,
    /,
    *,
    tokenizer: Path,
    output: Path = TOKENS,
    separator: str = END_OF_TEXT,
    end_of_text: Annotated[
        str | None,
        tyro.conf.arg(metavar="STR", help_behavior_hint="(default: the tokenizer's own)"),
    ] = None,
    text_column: str = "text",
    on_invalid: OnInvalid = "strict",
    overwrite: Overwrite = False,
    workers: Workers = None,
) -> None:
    r"""Encode documents, each followed by the end-of-text token; go on where a kill stopped it.

    Args:
        files: UTF-8 text or .parquet, in the order in which it is written.
        tokenizer: folder with a tokenizer.json.
        output: the token file; its name ends in .bin, a .json and an .offsets.bin go beside it.
        separator: string between two documents of a text file, taken as it is; an empty line is
            $'\n\n' in bash. A file without it is one document.
        end_of_text: special token behind each document.
        text_column: column of Parquet files; each row is a document, rows without text are skipped.
        on_invalid: stop at bytes that are not UTF-8, or replace them by U+FFFD.
        overwrite: replace an earlier token file, or the beginning of another.
        workers: threads or processes that encode.
    """
    from lm_basics.commands.long_work import Stopwatch
    from lm_basics.commands.training_tokens import offer_training
    from lm_basics.token_files.encoding import encode_files
    from lm_basics.tokenizer.bpe import Tokenizer
    from lm_basics.tokenizer.tokenizer_json import read_end_of_text
    from lm_shared.display import progress

    check_text_files(files)
    folder = find_folder(tokenizer)
    encoder = Tokenizer.from_folder(folder)
    watch = Stopwatch()
    first_shares: list[float] = []
    with progress() as show:

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
            end_of_text=end_of_text or read_end_of_text(folder) or END_OF_TEXT,
            overwrite=overwrite,
            num_workers=workers,
            report=report,
        )
    if separator != END_OF_TEXT and written.num_documents <= len(files):
        logger.warning("The separator %r is between no two texts of a file.", separator)
    # What an interrupted run had done before is not this one's speed.
    _print_result(written, done_share=1 - first_shares[0], watch=watch)
    names = (output.stem, *(f"{path.parent.name} {path.stem}" for path in files))
    # What is held out is nothing to train on.
    is_held_out = any(map(_HELD_OUT.search, names))
    print(wrote(output, then=() if is_held_out else offer_training(output, tokenizer=tokenizer)))


def _print_result(written: "TokenFile", *, done_share: float, watch: "Stopwatch") -> None:
    """Print what there is, and the speed of the share of it that was done now."""
    from lm_shared.wording import counted

    elapsed_s, num_bytes = watch.elapsed_s(), written.num_bytes or 0
    print(
        ("" if done_share else "already finished: ")
        + f"{counted(written.num_documents, 'document')}, {counted(written.num_tokens, 'token')}, "
        f"{num_bytes / written.num_tokens:.3f} bytes per token, end-of-text tokens counted"
    )
    done_bytes = done_share * num_bytes
    if done_bytes >= _LEAST_TIMED_BYTES:
        print(f"{done_bytes / elapsed_s / 1e6:.1f} MB/s{watch.remark()}")
