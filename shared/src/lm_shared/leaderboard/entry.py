"""An entry of a leaderboard: what it claims, and what a verifier found.

An entry is a folder. ``submission.json`` says what is claimed and holds a hash of every other file;
``verification.json``, written beside it by whoever checked the claim, holds one line for each rule.
"""

from dataclasses import dataclass
from pathlib import Path

from lm_shared.config import load_config, save_config
from lm_shared.files import hash_file
from lm_shared.receipt import Hardware

SUBMISSION_NAME = "submission.json"
VERIFICATION_NAME = "verification.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """Who made an entry, and what is in it."""

    name: str
    """Of the entry."""
    authors: str
    """Who made it."""
    description: str
    """What is in it, in a sentence or two."""


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
    """The division says in which unit, and whether lower or higher is better."""
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
        raise FileNotFoundError(f"expected an entry in {folder}: it has no {SUBMISSION_NAME}")
    verification = None
    if (folder / VERIFICATION_NAME).is_file():
        verification = load_config(Verification, folder / VERIFICATION_NAME)
        if verification.submission_sha256 != hash_file(path) or not verification.checks:
            verification = None
    return Entry(folder=folder, submission=load_config(Submission, path), verification=verification)


def find_entries(folder: Path) -> tuple[list[Entry], list[str]]:
    """Return the entries below ``folder``, and what is wrong with those that cannot be read."""
    entries, problems = [], []
    for path in sorted(folder.rglob(SUBMISSION_NAME)):
        try:
            entries.append(read_entry(path.parent))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return entries, problems


def save_verification(folder: Path, verification: Verification) -> None:
    """Write what was found into the entry."""
    save_config(verification, folder / VERIFICATION_NAME)
