"""The HTML page of a report on a tokenizer."""

from collections.abc import Sequence

from lm_basics.tokenizer_views.report import (
    TextSize,
    TokenizerDifference,
    TokenizerReport,
    TokenRow,
)
from lm_shared.figures import bar_figure, figure_svg
from lm_shared.report import Report

_SHOWN_CHARACTERS = 40


def report_page(
    numbers: TokenizerReport, *, title: str, other_name: str = "the other tokenizer"
) -> Report:
    """Lay the numbers out on a self-contained page; its ``write`` saves it.

    Args:
        numbers: the report.
        title: its heading.
        other_name: what the tokenizer that it was compared with is called.
    """
    page = Report(title, f"Vocabulary {numbers.vocab_hash[:12]}, {numbers.vocab_size:,} ids.")
    _add_overview(page, numbers)
    _add_sizes(
        page.section("Compression by file", "UTF-8 bytes per token; special tokens are left out."),
        "file",
        numbers.files,
    )
    _add_sizes(
        page.section(
            "Compression by script",
            "Every pre-token counts for the script of its first character that has one. A script "
            "is no language: all languages with Latin letters are together.",
        ),
        "script",
        numbers.scripts,
    )
    if numbers.difference is not None:
        _add_difference(page, numbers.difference, other_name)
    _add_tokens(page.section("Longest tokens"), numbers.longest)
    _add_glitch_candidates(page, numbers)
    return page


def _add_overview(page: Report, numbers: TokenizerReport) -> None:
    num_bytes = sum(size.num_bytes for size in numbers.files)
    num_tokens = sum(size.num_tokens for size in numbers.files)
    page.section("At a glance").key_numbers(
        [
            (
                "Bytes per token",
                num_bytes / num_tokens if num_tokens else None,
                f"{num_bytes:,} bytes in {num_tokens:,} tokens",
            ),
            (
                "Vocabulary",
                numbers.vocab_size,
                f"{numbers.num_special} special token{'s' * (numbers.num_special != 1)}",
            ),
            ("Used", f"{numbers.used_share:.1%}", "of the tokens occur in the files"),
            ("Unreachable", numbers.num_unreachable, "tokens that their own text does not yield"),
            ("Unused", numbers.num_unused, "tokens that do not occur in the files"),
            ("Fragments", numbers.num_fragments, "tokens that are a part of a character"),
        ]
    )


def _add_sizes(page: Report, kind: str, sizes: Sequence[TextSize]) -> None:
    bars = {size.name: size.bytes_per_token for size in sizes if size.bytes_per_token is not None}
    if bars:
        figure = bar_figure(bars, x_label="bytes per token", number_format=".3f")
        page.figure(figure_svg(figure), f"Compression by {kind}: longer is better.")
    page.table(
        [kind, "bytes", "tokens", "bytes per token"],
        [[size.name, size.num_bytes, size.num_tokens, size.bytes_per_token] for size in sizes],
    )


def _add_difference(page: Report, difference: TokenizerDifference, other_name: str) -> None:
    page.section(
        f"Against {other_name}",
        f"It has {difference.other_vocab_size:,} ids; {difference.num_in_common:,} tokens are in "
        "both. A ratio above 1 means that this tokenizer needs fewer tokens.",
    ).table(
        ["file", "tokens", f"tokens of {other_name}", "ratio of bytes per token"],
        [[one.name, one.num_tokens, one.other_num_tokens, one.ratio] for one in difference.files],
    )


def _add_glitch_candidates(page: Report, numbers: TokenizerReport) -> None:
    page.section(
        "Glitch candidates: unreachable tokens",
        f"{numbers.num_unreachable:,} tokens that do not occur in these files, and whose own text "
        "is encoded as something else: hardly any text can teach a model what they mean.",
    )
    _add_tokens(page, numbers.unreachable)
    num_reachable = numbers.num_unused - numbers.num_unreachable
    page.section(
        "Glitch candidates: unused tokens",
        f"{num_reachable:,} further tokens that do not occur in these files. Most are harmless: "
        "other text holds them, or a merge made them on the way to a longer token, which took "
        "their place. The longest say most about the text that the tokenizer was trained on.",
    )
    _add_tokens(page, numbers.unused)


def _add_tokens(page: Report, rows: Sequence[TokenRow]) -> None:
    if not rows:
        page.paragraph("None.")
        return
    cells = [[row.token_id, row.num_bytes, row.count, _literal(row.text)] for row in rows]
    page.table(["id", "bytes", "occurrences", "token"], cells, f"The longest {len(rows)}.")


def _literal(text: str) -> str:
    """Return the text in quotes, because most differences between tokens are spaces."""
    is_long = len(text) > _SHOWN_CHARACTERS
    return repr(text[:_SHOWN_CHARACTERS]) + (f" … {len(text)} characters" if is_long else "")
