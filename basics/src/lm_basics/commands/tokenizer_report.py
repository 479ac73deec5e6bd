"""``basics tokenizer-report``: compression and glitch candidates of a tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_basics.commands.inputs import TextFiles, check_text_files, load_tokenizer, parse_named
from lm_shared.command_options import Least, Overwrite
from lm_shared.config import save_config
from lm_shared.files import claim_folder
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from rich.table import Table

    from lm_basics.tokenizer_views.report import TextSize, TokenizerReport, TokenRow


OUTPUT = Path("runs/tokenizer-report")
PARTS = ("report.json", "report.html")
_NUM_PRINTED = 5


def report_tokenizer(
    files: TextFiles,
    /,
    *,
    tokenizer: Annotated[str, tyro.conf.arg(metavar="FOLDER")],
    against: Annotated[
        str | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="(default: none)")
    ] = None,
    text_column: str = "text",
    num_listed: Annotated[int, Least(1)] = 40,
    output: Path = OUTPUT,
    overwrite: Overwrite = False,
) -> None:
    """Report on a tokenizer: long tokens, compression by file and script, glitch candidates.

    Args:
        files: UTF-8 text or .parquet, one file for each domain.
        tokenizer: folder with a tokenizer.json, or name=folder.
        against: another tokenizer to compare with, as folder or name=folder.
        text_column: column of Parquet files; each row is a document, rows without text are skipped.
        num_listed: most tokens of each list.
        output: folder for report.json and report.html.
        overwrite: replace an earlier report; in the default folder it is replaced anyway.
    """
    from lm_basics.tokenizer_views.report import report_on_tokenizer
    from lm_basics.tokenizer_views.report_page import report_page

    check_text_files(files)
    name, folder = parse_named(tokenizer)
    other_name, other_folder = ("", None) if against is None else parse_named(against)
    encoder = load_tokenizer(folder)
    other = None if other_folder is None else load_tokenizer(other_folder)
    claim_folder(output, "a report", parts=PARTS, default=OUTPUT, overwrite=overwrite, inputs=files)
    numbers = report_on_tokenizer(
        encoder,
        files,
        against=other,
        text_column=text_column,
        num_listed=num_listed,
    )
    _print_summary(numbers, other_name)
    save_config(numbers, output / "report.json")
    page = report_page(numbers, title=f"Tokenizer {name}", other_name=other_name)
    page.write(output / "report.html")
    given = [one for one in (tokenizer, against) if one is not None]
    then = ("basics", "tokenizer-page", *(word for one in given for word in ("--tokenizer", one)))
    print(wrote(output, then=then))


def _print_summary(numbers: "TokenizerReport", other_name: str) -> None:
    from rich.console import Console

    from lm_shared.wording import counted

    console = Console(markup=False)
    console.print(_table("file", numbers.files))
    console.print(_table("script", numbers.scripts))
    print(f"{counted(numbers.vocab_size, 'id')}, {numbers.used_share:.1%} used")
    print(f"longest: {_list_tokens(numbers.longest)}")
    print("glitch candidates, which a model may meet too rarely to learn:")
    num_unused = numbers.num_unused - numbers.num_unreachable
    print(f"  {numbers.num_unreachable:,} unreachable: {_list_tokens(numbers.unreachable)}")
    print(f"  {num_unused:,} unused in these files: {_list_tokens(numbers.unused)}")
    print("  (parts of longer tokens are often unused: merges made them on the way)")
    if numbers.difference is not None:
        common = counted(numbers.difference.num_in_common, "token")
        print(f"{common} in common with {other_name}")
        for one in numbers.difference.files:
            if one.ratio is not None:
                print(f"{one.name}: {one.ratio:.3f} times the bytes per token of {other_name}")


def _list_tokens(rows: "Sequence[TokenRow]") -> str:
    from lm_shared.wording import shortened

    return ", ".join(shortened(row.text) for row in rows[:_NUM_PRINTED]) or "none"


def _table(kind: str, sizes: "Sequence[TextSize]") -> "Table":
    from rich.table import Table

    table = Table()
    table.add_column(kind, overflow="fold")
    for column in ("bytes", "tokens", "bytes/token"):
        table.add_column(column, justify="right")
    for size in sizes:
        ratio = "-" if size.bytes_per_token is None else f"{size.bytes_per_token:.3f}"
        table.add_row(size.name, f"{size.num_bytes:,}", f"{size.num_tokens:,}", ratio)
    return table
