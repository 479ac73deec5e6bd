"""Making and judging entries: the frame around a unit's score and replay.

A unit writes the folder ``run`` with the record of its run and calls ``submit_entry``. To verify an
entry it hands over how the entry is read and which rules it adds: among them that the score comes
out again, and that what is replayed of the run does. Nothing of the entry is trusted: whatever its
files make go wrong is a broken rule and no crash.
"""

import datetime as dt
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from lm_shared.config import save_config
from lm_shared.files import hash_file
from lm_shared.leaderboard.entry import (
    SUBMISSION_NAME,
    About,
    Check,
    Submission,
    Verification,
    check_files,
    hash_entry,
    read_entry,
    save_verification,
)
from lm_shared.leaderboard.rules import (
    RUN_NAME,
    Division,
    EntryRecord,
    check_clock,
    check_hardware,
    check_time,
    restrict_cores,
)
from lm_shared.receipt import describe_hardware
from lm_shared.runs import METRICS_NAME, load_receipt, read_metrics

Rule = Callable[[], Check | Iterable[Check]]
"""Judges one thing of one entry."""
RecordT = TypeVar("RecordT", bound=EntryRecord)
DivisionT = TypeVar("DivisionT", bound=Division)

_logger = logging.getLogger(__name__)

# All that a file of somebody else can make go wrong.
_BAD_FILES = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


def refuse_finished(folder: Path) -> None:
    """Raise ``ValueError`` if the folder holds a finished entry."""
    if (folder / SUBMISSION_NAME).exists():
        raise ValueError(f"{folder} holds a finished entry: choose another folder")


def submit_entry(
    folder: Path,
    division: Division,
    *,
    about: About,
    score: float,
    device: str,
    num_threads: int,
    measure: str,
    data: Mapping[str, str],
) -> Submission:
    """Write the submission of a finished run, whose other files are all in the folder by now.

    Args:
        folder: The entry.
        division: It takes part in.
        about: Who made it, and what is in it.
        score: By the division's measure.
        device: Kind of device that it ran on.
        num_threads: Threads that it computed with on the CPU.
        measure: What every step has in the record; the clock ends with the last of them.
        data: SHA-256 of the data, by what it is for.
    """
    lines = read_metrics(folder / RUN_NAME / METRICS_NAME)
    receipt = load_receipt(folder / RUN_NAME)
    submission = Submission(
        division=division.name,
        name=about.name,
        authors=about.authors,
        description=about.description,
        date=_today(),
        score=score,
        wall_s=[line["elapsed_s"] for line in lines if measure in line][-1],
        hardware=receipt.hardware,
        device=device,
        num_threads=num_threads,
        versions=receipt.versions,
        commit=receipt.git_commit,
        data=dict(data),
        files=hash_entry(folder),
    )
    save_config(submission, folder / SUBMISSION_NAME)
    return submission


def division_of(folder: Path, divisions: Collection[DivisionT]) -> DivisionT:
    """Return the division that an entry takes part in.

    Raises:
        FileNotFoundError: the folder holds no submission.
        ValueError: there is no such division, or the submission is damaged.
    """
    name = read_entry(folder).submission.division
    for division in divisions:
        if division.name == name:
            return division
    known = ", ".join(division.name for division in divisions)
    raise ValueError(f"{folder} is of the division {name!r}: known are {known}")


def judge_entry(
    folder: Path,
    division: Division,
    *,
    read_record: Callable[[Path, Submission], RecordT],
    rules: Callable[[RecordT], Iterable[tuple[str, Rule]]],
    absent: tuple[str, ...] = (),
) -> Verification:
    """Apply all rules to an entry and write ``verification.json`` into it.

    Args:
        folder: The entry.
        division: Its rules.
        read_record: Reads the files of an entry, and raises where they make no sense.
        rules: Further rules with their short names, in the order in which they are applied.
        absent: How the paths begin of files that were left out on purpose.

    Raises:
        FileNotFoundError: the folder holds no submission.
        ValueError: the submission is damaged; an earlier verification stays as it is.
    """
    submission = read_entry(folder).submission
    checks = guarded("files", lambda: check_files(folder, submission, absent=absent))
    record = None
    try:
        record = read_record(folder, submission)
    except _BAD_FILES as error:
        checks.append(_broken("record", error))
    if record is not None:
        checks += guarded("time", lambda: check_time(record, division))
        checks += guarded("clock", lambda: check_clock(record))
        checks += guarded("hardware", lambda: check_hardware(record, division))
        with restrict_cores(division.max_cores):
            for name, rule in rules(record):
                _logger.info("checking %s", name)
                checks += guarded(name, rule)
    verification = Verification(
        submission_sha256=hash_file(folder / SUBMISSION_NAME),
        date=_today(),
        hardware=describe_hardware(),
        checks=tuple(checks),
    )
    save_verification(folder, verification)
    return verification


def guarded(name: str, rule: Rule) -> list[Check]:
    """Return the checks, or one that says why they failed: the files of others may be bad."""
    try:
        found = rule()
        return [found] if isinstance(found, Check) else list(found)
    except _BAD_FILES as error:
        return [_broken(name, error)]


def _broken(rule: str, error: BaseException) -> Check:
    return Check(rule=rule, passed=False, detail=f"{type(error).__name__}: {error}"[:500])


def _today() -> str:
    return dt.datetime.now(tz=dt.UTC).date().isoformat()
