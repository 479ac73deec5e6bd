"""A leaderboard: what an entry claims, what a verifier found, and the table of both.

An entry is a folder. ``submission.json`` says what is claimed and holds a hash of every other file;
``verification.json``, written beside it by whoever checked the claim, holds one line for each rule.
A unit decides what its rules are.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_shared.config import load_config, save_config
from lm_shared.files import hash_file
from lm_shared.receipt import Hardware

SUBMISSION_NAME = "submission.json"
VERIFICATION_NAME = "verification.json"

_MAX_CELL_LENGTH = 300
TABLE_COLUMNS = ("rank", "entry", "score", "time", "hardware", "date", "verified", "description")


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What an entry claims."""

    division: str
    """The competition it takes part in."""
    name: str
    """Of the entry."""
    authors: str
    """Who made it."""
    description: str
    """What is in it, in a sentence or two."""
    date: str
    """Day of the run, as 2026-01-31."""
    score: float
    """Lower is better; the division says in which unit."""
    wall_s: float
    """Seconds that the division's clock ran."""
    hardware: Hardware
    """What the machine has."""
    device: str
    """Kind of device that it ran on."""
    num_threads: int
    """Threads that it computed with on the CPU."""
    versions: dict[str, str]
    """What it ran with."""
    commit: str | None
    """Commit of the code."""
    data: dict[str, str]
    """SHA-256 of the data, by what it is for."""
    files: dict[str, str]
    """SHA-256 of every file of the entry, by its path inside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One rule, applied to one entry."""

    rule: str
    """Its short name."""
    passed: bool | None
    """Whether the entry keeps it; None where that could not be judged here."""
    detail: str
    """What was found, with the numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What a verifier found."""

    submission_sha256: str
    """Of the ``submission.json`` that was checked."""
    date: str
    """Day of the check."""
    hardware: Hardware
    """What it was checked on."""
    checks: tuple[Check, ...]
    """One or more for each rule."""

    @property
    def passed(self) -> bool:
        """Whether no rule was found broken."""
        return all(check.passed is not False for check in self.checks)

    @property
    def num_open(self) -> int:
        """How many rules could not be judged."""
        return sum(check.passed is None for check in self.checks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A folder with its two files."""

    folder: Path
    """Where it lies."""
    submission: Submission
    """The claim."""
    verification: Verification | None
    """What was found in this submission, if it was checked. Whoever wrote the file says so: keep
    the verifications that you made yourself."""


def hash_entry(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of an entry but its two own ones, by its path inside."""
    own = {folder / SUBMISSION_NAME, folder / VERIFICATION_NAME}
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path not in own)
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}


def check_files(folder: Path, submission: Submission, *, absent: tuple[str, ...] = ()) -> Check:
    """Check that an entry's files are those of its submission, no more and no fewer.

    Args:
        folder: The entry.
        submission: Its claim.
        absent: How the paths begin of files that were left out on purpose.
    """
    found = hash_entry(folder)
    claimed = {
        name: digest for name, digest in submission.files.items() if not name.startswith(absent)
    }
    missing = sorted(claimed.keys() - found.keys())
    unknown = sorted(found.keys() - claimed.keys())
    links = sorted(path.name for path in folder.rglob("*") if path.is_symlink())
    changed = sorted(name for name in claimed.keys() & found.keys() if claimed[name] != found[name])
    problems = [
        f"{what}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        for what, names in (
            ("missing", missing),
            ("changed since the run", changed),
            ("not in the submission", unknown),
            ("links", links),
        )
        if names
    ]
    fine = f"{len(claimed)} files have the hashes of the submission"
    if num_absent := len(submission.files) - len(claimed):
        fine += f"; the other {num_absent} are not published"
    return Check(rule="files", passed=not problems, detail="; ".join(problems) or fine)


def read_entry(folder: Path) -> Entry:
    """Read an entry; a verification of an earlier submission, or without a check, does not count.

    Raises:
        FileNotFoundError: the folder holds no submission.
        ValueError: a file is damaged.
    """
    path = folder / SUBMISSION_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no entry: it has no {SUBMISSION_NAME}")
    verification = None
    if (folder / VERIFICATION_NAME).is_file():
        verification = load_config(Verification, folder / VERIFICATION_NAME)
        if verification.submission_sha256 != hash_file(path) or not verification.checks:
            verification = None
    return Entry(folder=folder, submission=load_config(Submission, path), verification=verification)


def find_entries(folder: Path) -> tuple[list[Entry], list[str]]:
    """Return the entries below ``folder``, and what is wrong with those that cannot be read.

    The verified ones come first, from best to worst, then those not checked, then the disqualified.
    """
    entries, problems = [], []
    for path in sorted(folder.rglob(SUBMISSION_NAME)):
        try:
            entries.append(read_entry(path.parent))
        except ValueError as error:
            problems.append(str(error))
    return sorted(entries, key=lambda one: (_standing(one), one.submission.score)), problems


def save_verification(folder: Path, verification: Verification) -> None:
    """Write what was found into the entry."""
    save_config(verification, folder / VERIFICATION_NAME)


def markdown_table(entries: Sequence[Entry], *, score_name: str) -> str:
    """Return the table of one division, entries in the order given."""
    columns = [score_name if name == "score" else name for name in TABLE_COLUMNS]
    lines: list[Iterable[str]] = [columns, ["---"] * len(columns)]
    ranks = (str(rank) for rank in range(1, len(entries) + 1))
    lines += [_row("-" if _standing(entry) else next(ranks), entry) for entry in entries]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(rank: str, entry: Entry) -> list[str]:
    claim = entry.submission
    hardware = ", ".join(claim.hardware.gpus)
    if claim.device == "cpu":
        hardware = f"{claim.num_threads} cores, {claim.hardware.cpu}"
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
