"""``basics compare-tokenizers``: characters, bytes, words and byte pairs on the same text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.comparison import (
    TokenizerComparison,
    compare_tokenizers,
    hold_out,
    train_tokenizers,
)
from lm_basics.tokenizer.figures import comparison_figure, write_png
from lm_basics.tokenizer.sample_text import python_manual
from lm_basics.tokenizer.text_stream import read_text
from lm_shared.config import to_dict
from lm_shared.files import write_json


def compare_on_text(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    /,
    *,
    tokenizer: tuple[str, ...] = (),
    vocab_sizes: tuple[int, ...] = (512, 1024, 4096),
    held_out_share: float = 0.1,
    output: Path = Path("runs/tokenizers"),
) -> None:
    """Compare kinds of tokenizers on the end of a text, after training on its beginning.

    Args:
        files: UTF-8 text; without any, the reference manual that comes with Python.
        tokenizer: further tokenizers, as name=folder with a tokenizer.json.
        vocab_sizes: sizes of the byte-pair encodings; words get as many ids as the largest.
        held_out_share: part at the end of each file that the comparison is made on.
        output: folder for comparison.json and comparison.png.
    """
    given = dict(_load_named(one) for one in tokenizer)
    texts = ["".join(read_text(path)) for path in files] or [python_manual()]
    beginnings, held_out = hold_out(texts, share=held_out_share)
    trained = train_tokenizers(beginnings, vocab_sizes)
    rows = compare_tokenizers({**trained, **given}, held_out)
    Console().print(_table(rows, f"{len(held_out.encode()):,} bytes of held-out text"))
    write_json(output / "comparison.json", [to_dict(row) for row in rows])
    write_png(comparison_figure(rows), output / "comparison.png")
    print(f"wrote {output}")


def _load_named(argument: str) -> tuple[str, Tokenizer]:
    name, separator, folder = argument.partition("=")
    if not (name and separator and folder):
        raise ValueError(f"expected a tokenizer as name=folder, got {argument!r}")
    return name, Tokenizer.from_folder(folder)


def _table(rows: Sequence[TokenizerComparison], title: str) -> Table:
    table = Table(title=title)
    table.add_column("tokenizer")
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
