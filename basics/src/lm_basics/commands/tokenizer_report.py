"""``basics tokenizer-report``: compression and glitch candidates of a tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from lm_basics.tokenizer.bpe import Tokenizer
from lm_basics.tokenizer.report import TokenizerReport, report_on_tokenizer
from lm_basics.tokenizer.report_page import report_page
from lm_basics.tokenizer.usage import TextSize
from lm_shared.config import save_config

_NUM_PRINTED = 5


def report_tokenizer(
    tokenizer: Annotated[Path, tyro.conf.Positional],
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    against: Path | None = None,
    num_listed: int = 40,
    output: Path = Path("runs/tokenizer-report"),
) -> None:
    """Report on a tokenizer: long tokens, compression by file and script, glitch candidates.

    Args:
        tokenizer: folder with a tokenizer.json.
        files: UTF-8 text, one file for each domain.
        against: folder of another tokenizer to compare with.
        num_listed: most tokens of each list.
        output: folder for report.json and report.html.
    """
    other = None if against is None else Tokenizer.from_folder(against)
    numbers = report_on_tokenizer(
        Tokenizer.from_folder(tokenizer), files, against=other, num_listed=num_listed
    )
    _print_summary(numbers)
    save_config(numbers, output / "report.json")
    report_page(numbers, title=f"Tokenizer {tokenizer.name}").write(output / "report.html")
    print(f"wrote {output}")


def _print_summary(numbers: TokenizerReport) -> None:
    console = Console()
    console.print(_table("file", numbers.files))
    console.print(_table("script", numbers.scripts))
    print(
        f"{numbers.vocab_size} ids, {numbers.used_share:.1%} used, "
        f"{numbers.num_unreachable} unreachable, {numbers.num_unused} unused"
    )
    for name in ("longest", "unreachable", "unused"):
        texts = [row.text for row in getattr(numbers, name)[:_NUM_PRINTED]]
        print(f"{name}: {', '.join(map(repr, texts)) or 'none'}")
    if numbers.difference is not None:
        print(f"{numbers.difference.num_in_common} tokens in common")
        for one in numbers.difference.files:
            if one.ratio is not None:
                print(f"{one.name}: {one.ratio:.3f} times the other's bytes per token")


def _table(kind: str, sizes: Sequence[TextSize]) -> Table:
    table = Table()
    table.add_column(kind)
    for column in ("bytes", "tokens", "bytes/token"):
        table.add_column(column, justify="right")
    for size in sizes:
        ratio = "-" if size.bytes_per_token is None else f"{size.bytes_per_token:.3f}"
        table.add_row(size.name, f"{size.num_bytes:,}", f"{size.num_tokens:,}", ratio)
    return table
