"""A leaderboard: entries, the rules that all of them keep, their verification, table and export.

A unit adds its divisions, a score and a replay.
"""

from lm_shared.leaderboard.entry import (
    SUBMISSION_NAME,
    VERIFICATION_NAME,
    About,
    Check,
    Entry,
    Submission,
    Verification,
    check_files,
    find_entries,
    hash_entry,
    read_entry,
    save_verification,
)
from lm_shared.leaderboard.export import Project, export_entry
from lm_shared.leaderboard.rules import (
    RUN_NAME,
    Division,
    EntryRecord,
    check_data,
    check_origin,
    check_replayed,
    check_speed,
    hardware_problems,
    read_steps,
    restrict_cores,
)
from lm_shared.leaderboard.table import leaderboard_tables, markdown_table, write_tables
from lm_shared.leaderboard.verify import (
    Rule,
    division_of,
    guarded,
    judge_entry,
    refuse_finished,
    submit_entry,
)

__all__ = [
    "RUN_NAME",
    "SUBMISSION_NAME",
    "VERIFICATION_NAME",
    "About",
    "Check",
    "Division",
    "Entry",
    "EntryRecord",
    "Project",
    "Rule",
    "Submission",
    "Verification",
    "check_data",
    "check_files",
    "check_origin",
    "check_replayed",
    "check_speed",
    "division_of",
    "export_entry",
    "find_entries",
    "guarded",
    "hardware_problems",
    "hash_entry",
    "judge_entry",
    "leaderboard_tables",
    "markdown_table",
    "read_entry",
    "read_steps",
    "refuse_finished",
    "restrict_cores",
    "save_verification",
    "submit_entry",
    "write_tables",
]
