"""The generated table of all divisions, as Markdown in a README."""

import html
import logging
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from pathlib import Path

from lm_shared.files import replace_between
from lm_shared.leaderboard.entry import Entry, Verification, find_entries
from lm_shared.leaderboard.rules import Division
from lm_shared.wording import counted

logger = logging.getLogger(__name__)

BEGIN = "<!-- leaderboard: begin -->"
END = "<!-- leaderboard: end -->"
TABLE_COLUMNS = ("rank", "entry", "score", "time", "hardware", "date", "verified", "description")
_MAX_CELL_LENGTH = 300


def write_tables(folder: Path, divisions: Collection[Division], document: Path) -> None:
    """Replace the marked block of a Markdown file.

    Raises:
        FileNotFoundError: there is no entry.
        ValueError: the markers are missing.
    """
    replace_between(document, BEGIN, END, f"\n\n{leaderboard_tables(folder, divisions)}\n")


def leaderboard_tables(folder: Path, divisions: Collection[Division]) -> str:
    """Return the table of every division that has entries below ``folder``, as Markdown.

    Entries that are damaged or of no known division are left out, with a warning.

    Raises:
        FileNotFoundError: there is no entry.
    """
    entries, problems = find_entries(folder)
    if not entries:
        raise FileNotFoundError(f"{folder} holds no entries" + "".join(f"; {p}" for p in problems))
    known = {division.name for division in divisions}
    for one in entries:
        if one.submission.division not in known:
            problems.append(f"{one.folder}: unknown division {one.submission.division!r}")
    for problem in problems:
        logger.warning("left out: %s", problem)
    parts = []
    for division in divisions:
        own = [one for one in entries if one.submission.division == division.name]
        if own:
            table = markdown_table(own, division)
            parts.append(f"**{division.name}**: {division.title}\n\n{table}")
    return "\n".join(parts)


def markdown_table(entries: Sequence[Entry], division: Division) -> str:
    """Return the table of one division.

    The verified entries come first, from best to worst, then those not checked, then the
    disqualified.
    """
    sign = 1 if division.lower_is_better else -1
    ordered = sorted(entries, key=lambda one: (_standing(one), sign * one.submission.score))
    columns = [division.score if name == "score" else name for name in TABLE_COLUMNS]
    lines: list[Iterable[str]] = [columns, ["---"] * len(columns)]
    ranks = map(str, count(1))
    lines += [_row("-" if _standing(entry) else next(ranks), entry) for entry in ordered]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(rank: str, entry: Entry) -> list[str]:
    claim = entry.submission
    hardware = ", ".join(claim.hardware.gpus)
    if claim.device == "cpu":
        hardware = f"{counted(claim.num_threads, 'core')}, {claim.hardware.cpu}"
    cells = [
        rank,
        claim.name,
        f"{claim.score:.4f}" if abs(claim.score) < 1e6 else f"{claim.score:.3g}",
        f"{claim.wall_s:.0f} s" if abs(claim.wall_s) < 1e6 else f"{claim.wall_s:.3g} s",
        hardware,
        claim.date,
        _verdict(entry.verification),
        f"{claim.description} ({claim.authors})",
    ]
    return [_escape(cell) for cell in cells]


def _escape(text: str) -> str:
    """Return text of others so that it breaks neither the table nor the page around it."""
    line = html.escape(" ".join(text.split())[:_MAX_CELL_LENGTH], quote=False)
    return line.replace("\\", "\\\\").replace("|", "\\|")


def _verdict(verification: Verification | None) -> str:
    if verification is None:
        return "no"
    if not verification.passed:
        broken = [check.rule for check in verification.checks if check.passed is False]
        return f"disqualified: {', '.join(broken)}"
    if verification.num_open:
        return f"yes, {verification.num_open} open"
    return "yes"


def _standing(entry: Entry) -> int:
    """Return 0 for a verified entry, 1 for one that nobody checked, 2 for a disqualified one."""
    if entry.verification is None:
        return 1
    return 0 if entry.verification.passed else 2
