"""The generated table of all divisions."""

import logging
from pathlib import Path

from lm_basics.leaderboard.divisions import DIVISIONS
from lm_shared.files import replace_between
from lm_shared.leaderboard import find_entries, markdown_table

logger = logging.getLogger(__name__)

BEGIN = "<!-- leaderboard: begin -->"
END = "<!-- leaderboard: end -->"


def leaderboard_tables(folder: Path) -> str:
    """Return the table of every division that has entries below ``folder``, as Markdown.

    Entries that are damaged or of no known division are left out, with a warning.

    Raises:
        FileNotFoundError: there is no entry.
    """
    entries, problems = find_entries(folder)
    if not entries:
        raise FileNotFoundError(f"{folder} holds no entries" + "".join(f"; {p}" for p in problems))
    for one in entries:
        if one.submission.division not in DIVISIONS:
            problems.append(f"{one.folder}: unknown division {one.submission.division!r}")
    for problem in problems:
        logger.warning("left out: %s", problem)
    parts = []
    for division in DIVISIONS.values():
        own = [one for one in entries if one.submission.division == division.name]
        if own:
            table = markdown_table(own, score_name=division.score)
            parts.append(f"**{division.name}**: {division.title}\n\n{table}")
    return "\n".join(parts)


def write_tables(folder: Path, document: Path) -> None:
    """Replace the marked block of a Markdown file.

    Raises:
        FileNotFoundError: there is no entry.
        ValueError: the markers are missing.
    """
    replace_between(document, BEGIN, END, f"\n\n{leaderboard_tables(folder)}\n")
