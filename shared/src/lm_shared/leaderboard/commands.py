"""The sub-commands that every leaderboard has: verify, export, table."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lm_shared.command_options import PATH, Overwrite
from lm_shared.leaderboard.entry import Verification
from lm_shared.leaderboard.rules import Division
from lm_shared.leaderboard.table import leaderboard_tables, write_tables
from lm_shared.wording import wrote

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Verify:
    """Measure an entry's score again, replay parts of its run, and apply every rule."""

    entry: tyro.conf.Positional[Path] = tyro.MISSING
    """Folder of the entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """Turn an entry into a project of its own that reproduces it with uv run main.py."""

    entry: tyro.conf.Positional[Path] = tyro.MISSING
    """Folder of the entry."""
    output: Path = Path("runs/exported-entry")
    """Folder of the project."""
    overwrite: Overwrite = False
    """Whether an earlier project may be replaced, unless it has made an entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeTable:
    """Print the table of the entries below a folder, or put it into a document."""

    entries: tyro.conf.Positional[Path] = tyro.MISSING
    """Folder with entries."""
    document: Annotated[Path | None, PATH] = None
    """Markdown file whose marked block is replaced."""


EXPORT: tuple[str, Export] = ("Turn an entry into a project of its own.", Export())
MAKE_TABLE: tuple[str, MakeTable] = ("Print the table of the entries below a folder.", MakeTable())


def verification_table(verification: Verification) -> "Table":
    """Return what a verifier found, a row for each rule."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("rule", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    table.add_column("found", overflow="fold")
    words = {True: "yes", False: "NO", None: "open"}
    for check in verification.checks:
        table.add_row(check.rule, words[check.passed], check.detail)
    return table


def require_kept(verification: Verification) -> None:
    """Raise ``ValueError`` for an entry that breaks a rule."""
    broken = [check.rule for check in verification.checks if check.passed is False]
    if broken:
        raise ValueError(f"the entry breaks {', '.join(dict.fromkeys(broken))}")


def make_table(action: MakeTable, divisions: Collection[Division]) -> str:
    """Return the tables of a leaderboard, or, written into a document, what to say of that."""
    if action.document is None:
        return leaderboard_tables(action.entries, divisions)
    write_tables(action.entries, divisions, action.document)
    return wrote(action.document)
