"""The sub-commands that every leaderboard has: verify, export, table."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_shared.command_options import Overwrite
from lm_shared.leaderboard.entry import Verification
from lm_shared.leaderboard.rules import Division
from lm_shared.leaderboard.table import leaderboard_tables, write_tables

_NONE = tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: none)")


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
    output: Path = tyro.MISSING
    """Folder of the project."""
    overwrite: Overwrite = False
    """Whether an earlier project may be replaced, unless it has made an entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeTable:
    """Print the table of the entries below a folder, or put it into a document."""

    entries: tyro.conf.Positional[Path] = tyro.MISSING
    """Folder with entries."""
    document: Annotated[Path | None, _NONE] = None
    """Markdown file whose marked block is replaced."""


EXPORT: tuple[str, Export] = ("Turn an entry into a project of its own.", Export())
MAKE_TABLE: tuple[str, MakeTable] = ("Print the table of the entries below a folder.", MakeTable())


def report_verification(verification: Verification) -> None:
    """Print what a verifier found.

    Raises:
        ValueError: the entry breaks a rule.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("rule", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    table.add_column("found", overflow="fold")
    words = {True: "yes", False: "NO", None: "open"}
    for check in verification.checks:
        table.add_row(check.rule, words[check.passed], check.detail)
    Console().print(table)
    if not verification.passed:
        broken = [check.rule for check in verification.checks if check.passed is False]
        raise ValueError(f"the entry breaks {', '.join(dict.fromkeys(broken))}")
    print("the entry keeps every rule that could be judged here")


def export(action: Export, export_entry: Callable[..., None]) -> None:
    """Export by the unit's own function of the entry, the output and ``overwrite``."""
    export_entry(action.entry, action.output, overwrite=action.overwrite)
    print(f"wrote {action.output}: uv run main.py makes the entry again")


def make_table(action: MakeTable, divisions: Collection[Division]) -> None:
    """Print the tables of a leaderboard, or write them."""
    if action.document is None:
        print(leaderboard_tables(action.entries, divisions))
        return
    write_tables(action.entries, divisions, action.document)
    print(f"wrote {action.document}")
