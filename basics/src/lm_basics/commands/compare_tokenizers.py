"""``basics compare-tokenizers``: characters, bytes, words and byte pairs on the same text."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.commands.inputs import (
    TOKENIZER,
    TOKENS,
    NamedTokenizers,
    check_text_files,
    load_tokenizer,
    parse_named,
)
from lm_shared.command_options import Above, Least, Overwrite, There
from lm_shared.config import to_dict
from lm_shared.files import claim_folder, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from lm_basics.tokenizer_views.comparison import TokenizerComparison


OUTPUT = Path("runs/tokenizers")
PARTS = ("comparison.json", "comparison.png")
_FEW_BYTES = 10_000
_EXPLANATION = (
    "used: share of the ids that occur; attention: its cost over the whole text, where one token "
    "per byte costs 1; unknown: share of the tokens that stand for unknown words"
)

logger = logging.getLogger(__name__)


def compare_on_text(
    files: Annotated[
        tuple[Path, ...],
        There(),
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[FILE ...]", help_behavior_hint=""),
    ] = (),
    /,
    *,
    tokenizer: NamedTokenizers = (),
    vocab_sizes: Annotated[tuple[int, ...], Least(256)] = (512, 1024, 4096),
    held_out_share: Annotated[float, Above(0)] = 0.1,
    text_column: str = "text",
    output: Path = OUTPUT,
    overwrite: Overwrite = False,
) -> None:
    """Compare kinds of tokenizers on the end of a text, after training on its beginning.

    Args:
        files: UTF-8 text or .parquet; without any, the reference manual that comes with Python.
        tokenizer: further tokenizer, as folder or name=folder; one that was trained on all of the
            files has seen the held-out text, which flatters it.
        vocab_sizes: most ids of the byte-pair encodings; words get as many as the largest.
        held_out_share: part at the end of each file that the comparison is made on.
        text_column: column of Parquet files; each row is a document, rows without text are skipped.
        output: folder for comparison.json and comparison.png.
        overwrite: replace an earlier comparison; in the default folder it is replaced anyway.
    """
    from rich.console import Console

    from lm_basics.tokenizer_views.comparison import (
        compare_tokenizers,
        hold_out,
        python_manual,
        train_tokenizers,
    )
    from lm_basics.tokenizer_views.comparison_figure import comparison_figure
    from lm_shared.figures import write_png
    from lm_shared.wording import changed, counted, free_output, wrote

    if files:
        check_text_files(files)
    given = {name: load_tokenizer(path) for name, path in map(parse_named, tokenizer)}
    if len(given) < len(tokenizer):
        raise ValueError(f"expected different names, got {', '.join(tokenizer)}")
    claim_folder(
        output, "a comparison", parts=PARTS, default=OUTPUT, overwrite=overwrite, inputs=files
    )
    texts = [_read_whole(path, text_column) for path in files] or [python_manual()]
    beginnings, held_out = hold_out(texts, share=held_out_share)
    num_bytes = len(held_out.encode())
    if num_bytes < _FEW_BYTES:
        logger.warning("%s of held-out text say little.", counted(num_bytes, "byte"))
    trained = train_tokenizers(beginnings, vocab_sizes)
    if taken := trained.keys() & given.keys():
        raise ValueError(f"{sorted(taken)} are compared anyway: name=folder gives another name")
    rows = compare_tokenizers({**trained, **given}, held_out)
    Console(markup=False).print(_table(rows, f"{counted(num_bytes, 'byte')} of held-out text"))
    print(_EXPLANATION)
    write_json(output / "comparison.json", [to_dict(row) for row in rows])
    write_png(comparison_figure(rows), output / "comparison.png")
    known = next((path for _, path in map(parse_named, tokenizer)), TOKENIZER)
    encode = ("encode", *files, "--tokenizer", known, *free_output(TOKENS))
    then = encode if known.exists() else ("train-tokenizer", *files)
    how = changed(("--text-column", text_column, "text"))
    print(wrote(output, then=("basics", *then, *how) if files else ()))


def _read_whole(path: Path, text_column: str) -> str:
    from lm_basics.tokenizer.texts import is_parquet, read_column, read_text

    if is_parquet(path):
        return "\n".join(read_column(path, text_column))
    return "".join(read_text(path))


def _table(rows: "Sequence[TokenizerComparison]", title: str) -> "Table":
    from rich.table import Table

    table = Table(title=title)
    table.add_column("tokenizer", overflow="fold")
    for column in ("ids", "used", "tokens", "bytes/token", "attention", "unknown"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.vocab_size:,}",
            f"{row.used_share:.2%}",
            f"{row.num_tokens:,}",
            f"{row.bytes_per_token:.3f}",
            f"{row.attention_cost:.4f}",
            "none" if row.unknown_share is None else f"{row.unknown_share:.2%}",
        )
    return table
