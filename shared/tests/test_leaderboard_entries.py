from dataclasses import replace

import pytest

from lm_shared.config import save_config
from lm_shared.files import hash_file
from lm_shared.leaderboard import (
    SUBMISSION_NAME,
    VERIFICATION_NAME,
    Check,
    Division,
    Submission,
    Verification,
    check_files,
    find_entries,
    hash_entry,
    leaderboard_tables,
    markdown_table,
    read_entry,
    save_verification,
)
from lm_shared.receipt import Hardware

LAPTOP = Hardware(platform="Linux x86_64", cpu="Abacus 9", num_cores=2, memory_bytes=2**33, gpus=())

LAPTOP_DIVISION = Division(
    name="laptop",
    title="As few as you can.",
    time_limit_s=300,
    score="bits per byte",
    max_cores=2,
    gpu=None,
)


def make_entry(folder, *, score=1.0, passed=None, **changes):
    """Write an entry with one file; ``passed`` are the outcomes of its checks, if any."""
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"weights")
    values = {
        "division": "laptop",
        "name": folder.name,
        "authors": "nobody",
        "description": "small",
        "date": "2026-01-31",
        "score": score,
        "wall_s": 299.6,
        "hardware": LAPTOP,
        "device": "cpu",
        "num_threads": 1,
        "versions": {},
        "commit": None,
        "data": {},
        "files": hash_entry(folder),
    }
    save_config(Submission(**values | changes), folder / SUBMISSION_NAME)
    if passed is not None:
        checks = tuple(Check(rule=f"rule {i}", passed=p, detail="") for i, p in enumerate(passed))
        verification = Verification(
            submission_sha256=hash_file(folder / SUBMISSION_NAME),
            date="2026-02-01",
            hardware=LAPTOP,
            checks=checks,
        )
        save_verification(folder, verification)
    return folder


def test_verified_entries_come_first_from_best_to_worst_and_the_disqualified_last(tmp_path):
    make_entry(tmp_path / "a", score=1.2, passed=[True])
    make_entry(tmp_path / "deep" / "b", score=1.1)
    make_entry(tmp_path / "c", score=0.1, passed=[True, False])
    make_entry(tmp_path / "d", score=1.3, passed=[True, None])
    make_entry(tmp_path / "e", score=0.2, passed=[])
    entries, problems = find_entries(tmp_path)
    assert not problems
    rows = markdown_table(entries, LAPTOP_DIVISION).splitlines()
    assert rows[0] == (
        "| rank | entry | bits per byte | time | hardware | date | verified | description |"
    )
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]
    assert [row[1] for row in cells] == ["a", "d", "e", "b", "c"]
    assert [row[0] for row in cells] == ["1", "2", "-", "-", "-"]
    verdicts = ["yes", "yes, 1 open", "no", "no", "disqualified: rule 1"]
    assert [row[6] for row in cells] == verdicts
    assert cells[3][1:6] == ["b", "1.1000", "300 s", "1 core, Abacus 9", "2026-01-31"]


def test_where_higher_is_better_the_highest_score_leads(tmp_path):
    for name, score in (("a", 0.4), ("b", 0.6), ("c", 0.5)):
        make_entry(tmp_path / name, score=score, passed=[True])
    accuracy = replace(LAPTOP_DIVISION, score="accuracy", lower_is_better=False)
    rows = markdown_table(find_entries(tmp_path)[0], accuracy).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["b", "c", "a"]


def test_entries_of_divisions_that_nobody_knows_are_left_out_and_told(tmp_path, caplog):
    make_entry(tmp_path / "a", passed=[True])
    make_entry(tmp_path / "b", division="phone")
    table = leaderboard_tables(tmp_path, [LAPTOP_DIVISION])
    assert "| 1 | a |" in table
    assert "phone" not in table
    assert "unknown division 'phone'" in caplog.text
    with pytest.raises(FileNotFoundError, match="holds no entries"):
        leaderboard_tables(tmp_path / "a" / "none", [LAPTOP_DIVISION])


def test_text_of_others_cannot_break_the_table(tmp_path):
    make_entry(tmp_path / "a", name="x | y\\| z", description="two\nlines <!-- end --> & more")
    make_entry(tmp_path / "b", score=1e308, wall_s=1e308, name="n" * 10**5)
    entries, _ = find_entries(tmp_path)
    rows = markdown_table(entries, LAPTOP_DIVISION).splitlines()[2:]
    assert len(rows) == 2
    assert "x \\| y\\\\\\| z" in rows[0]
    assert "two lines &lt;!-- end --&gt; &amp; more" in rows[0]
    assert len(rows[1]) < 1_000


def test_verification_of_an_earlier_submission_does_not_count(tmp_path):
    folder = make_entry(tmp_path / "a", passed=[True])
    verification = read_entry(folder).verification
    assert verification is not None
    assert verification.passed
    text = (folder / SUBMISSION_NAME).read_text()
    (folder / SUBMISSION_NAME).write_text(text.replace("1.0", "0.5"))
    assert read_entry(folder).submission.score == 0.5
    assert read_entry(folder).verification is None


def test_changed_missing_and_own_files(tmp_path):
    folder = make_entry(tmp_path / "a", passed=[True])
    submission = read_entry(folder).submission
    assert submission.files.keys() == {"weights"}
    assert check_files(folder, submission).passed
    (folder / "notes").write_text("a file more")
    assert check_files(folder, submission).detail == "not in the submission: notes"
    (folder / "notes").unlink()
    (folder / "notes").symlink_to(folder / "weights")
    assert "links: notes" in check_files(folder, submission).detail
    (folder / "notes").unlink()
    (folder / "weights").write_bytes(b"better weights")
    assert check_files(folder, submission).detail == "changed since the run: weights"
    (folder / "weights").unlink()
    assert check_files(folder, submission).detail == "missing: weights"


def test_folder_without_submission_and_damaged_ones(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"expected an entry in .*: it has no submission\.json"
    ):
        read_entry(tmp_path)
    folder = make_entry(tmp_path / "a", passed=[True])
    (folder / VERIFICATION_NAME).write_text("{}")
    make_entry(tmp_path / "b", passed=[True])
    (tmp_path / "c" / SUBMISSION_NAME).mkdir(parents=True)
    entries, (problem, other) = find_entries(tmp_path)
    assert [one.folder.name for one in entries] == ["b"]
    assert "verification.json" in problem
    assert "c: it has no submission.json" in other
