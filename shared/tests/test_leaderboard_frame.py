"""The frame under a unit that trains nothing: honest entries pass, cheats do not."""

import math
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from lm_shared.config import load_config, save_config
from lm_shared.leaderboard import (
    SUBMISSION_NAME,
    Division,
    Submission,
    check_replayed,
    export_entry,
    hardware_problems,
    hash_entry,
    leaderboard_tables,
    write_tables,
)
from lm_shared.leaderboard.commands import (
    MakeTable,
    make_table,
    require_kept,
    verification_table,
)
from lm_shared.leaderboard.rules import check_clock, check_speed, check_time, restrict_cores
from lm_shared.leaderboard.table import BEGIN, END
from lm_shared.receipt import Hardware, Receipt
from shared.tests import sum_leaderboard
from shared.tests.sum_leaderboard import DIVISIONS, PROJECT, SumRecipe, run_entry, verify_entry

RECIPE = SumRecipe(num_terms=12)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    folder = tmp_path / "entry"
    run_entry(folder, RECIPE)
    return folder


def submit(entry: Path, **changes: object) -> None:
    """Write the submission again, with the files as they are now."""
    path = entry / SUBMISSION_NAME
    changed = replace(load_config(Submission, path), files=hash_entry(entry), **changes)
    save_config(changed, path)


def change_receipt(entry: Path, **changes: object) -> None:
    path = entry / "run" / "receipt.json"
    save_config(replace(load_config(Receipt, path), **changes), path)


def broken_rules(entry: Path) -> dict[str, str]:
    """Return the rules that the entry breaks, and what was found."""
    return {one.rule: one.detail for one in verify_entry(entry).checks if one.passed is False}


def test_honest_entry_breaks_no_rule_and_stands_in_the_table(entry: Path, tmp_path: Path) -> None:
    verification = verify_entry(entry)
    assert verification.passed
    rules = [check.rule for check in verification.checks]
    judged = ["files", "time", "clock", "hardware", "origin", "data", "score", "replay", "speed"]
    assert rules == judged
    assert verification.num_open == 1
    assert "| 1 | sum | 0.0005 |" in leaderboard_tables(tmp_path, DIVISIONS.values())
    document = tmp_path / "README.md"
    document.write_text(f"{BEGIN}{END}")
    write_tables(tmp_path, DIVISIONS.values(), document)
    assert "yes, 1 open" in document.read_text()


def test_cheats_of_all_kinds_are_found(tmp_path: Path) -> None:
    run_entry(tmp_path / "a", replace(RECIPE, factor=1.0001))
    assert broken_rules(tmp_path / "a").keys() == {"score", "replay"}
    run_entry(tmp_path / "b", RECIPE, shown=1e-6)
    assert broken_rules(tmp_path / "b").keys() == {"replay"}
    run_entry(tmp_path / "c", RECIPE)
    submit(tmp_path / "c", score=0.0)
    assert broken_rules(tmp_path / "c").keys() == {"score"}
    submit(tmp_path / "c", data={"sequence": "1" * 64})
    assert "sequence is not the division's" in broken_rules(tmp_path / "c")["data"]


def test_claims_against_the_clock_are_found(entry: Path) -> None:
    claimed = load_config(Submission, entry / SUBMISSION_NAME)
    submit(entry, wall_s=claimed.wall_s + 1)
    assert "claimed are" in broken_rules(entry)["clock"]
    submit(entry, wall_s=claimed.wall_s)
    change_receipt(entry, wall_s=0.0)
    submit(entry)
    assert "the receipt has only 0.0 s" in broken_rules(entry)["clock"]
    submit(entry, wall_s=61.0)
    assert broken_rules(entry).keys() == {"time", "clock"}


def test_clock_that_runs_backwards_is_found(entry: Path) -> None:
    path = entry / "run" / "metrics.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first.replace('"elapsed_s": ', '"elapsed_s": 1'), *rest]))
    submit(entry)
    assert broken_rules(entry) == {"clock": "the clock runs backwards"}


def test_impossible_speed_is_found(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = sum_leaderboard._read_record
    monkeypatch.setattr(
        sum_leaderboard, "_read_record", lambda *args: replace(read(*args), flops=1e18)
    )
    assert "more than the hardware can do" in broken_rules(entry)["clock"]


def test_run_that_was_faster_than_this_machine_is_found(entry: Path) -> None:
    path = entry / "run" / "metrics.jsonl"
    lines = [f'{{"step": {i}, "elapsed_s": 0.0001, "sum": 1.0}}\n' for i in range(1, 13)]
    path.write_text("".join(lines))
    submit(entry, wall_s=0.0001)
    assert "in the replay" in broken_rules(entry)["speed"]


def test_hardware_is_held_to_the_division_and_to_the_receipt(entry: Path) -> None:
    submit(entry, num_threads=2)
    assert broken_rules(entry) == {"hardware": "2 threads, allowed are 1"}
    submit(entry, num_threads=1, device="cuda")
    assert broken_rules(entry) == {"hardware": "the run was on cuda, allowed is cpu"}
    hardware = replace(load_config(Submission, entry / SUBMISSION_NAME).hardware, num_cores=999)
    submit(entry, device="cpu", hardware=hardware)
    assert "other hardware than the run's receipt" in broken_rules(entry)["hardware"]


def test_a_division_for_a_gpu_allows_one_of_its_kind() -> None:
    division = Division(
        name="a", title="", time_limit_s=1, score="loss", max_cores=None, gpu="H100"
    )
    machine = Hardware(platform="", cpu="", num_cores=1, memory_bytes=1, gpus=("NVIDIA H100 PCIe",))
    assert hardware_problems(machine, division, device="cuda", num_threads=8) == []
    for gpus in ((), ("NVIDIA A100",), ("NVIDIA H100", "NVIDIA H100")):
        problems = hardware_problems(
            replace(machine, gpus=gpus), division, device="cuda", num_threads=8
        )
        assert len(problems) == 1
        assert "allowed is one H100" in problems[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"step": 7', '"step": 8'),
        ('"elapsed_s": ', '"elapsed_s": -'),
        ('"sum": ', '"sum": "x", "was": '),
        ('"sum": ', '"was": '),
    ],
)
def test_record_that_is_not_that_of_the_steps_is_found(entry: Path, old: str, new: str) -> None:
    path = entry / "run" / "metrics.jsonl"
    path.write_text(path.read_text().replace(old, new))
    submit(entry)
    assert broken_rules(entry).keys() == {"record"}


def test_a_rule_that_a_file_makes_fail_is_broken_and_ends_nothing(
    entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(sum_leaderboard, "check_data", fail)
    assert broken_rules(entry) == {"data": "MemoryError: too much"}


def test_finished_entry_is_not_written_again(entry: Path) -> None:
    with pytest.raises(ValueError, match="holds a finished entry"):
        run_entry(entry, RECIPE)


def test_entry_of_another_division_is_named(entry: Path) -> None:
    submit(entry, division="phone")
    with pytest.raises(ValueError, match="of the division 'phone': known are sums"):
        verify_entry(entry)


def test_what_was_found_is_a_table_and_a_broken_rule_an_error(
    entry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_kept(verify_entry(entry))
    submit(entry, num_threads=2)
    verification = verify_entry(entry)
    with pytest.raises(ValueError, match="the entry breaks hardware"):
        require_kept(verification)
    Console(width=120).print(verification_table(verification))
    assert "allowed are 1" in capsys.readouterr().out


def test_export_carries_the_code_and_pins_what_it_needs(entry: Path, tmp_path: Path) -> None:
    project = replace(PROJECT, recipe=RECIPE, main="print(1)\n", data=("a-corpus",))
    output = tmp_path / "project"
    export_entry(entry, output, division=DIVISIONS["sums"], project=project)
    assert (output / "src" / "lm_shared" / "leaderboard" / "rules.py").is_file()
    assert not (output / "src" / "lm_shared" / "testing").exists()
    assert load_config(SumRecipe, output / "recipe.json") == RECIPE
    pyproject = (output / "pyproject.toml").read_text()
    version = load_config(Submission, entry / SUBMISSION_NAME).versions["torch"]
    assert f'"torch=={version.partition("+")[0]}"' in pyproject
    # What only the tests or a sink need stays away.
    assert "pytest" not in pyproject
    assert "wandb" not in pyproject
    assert 'name = "a-corpus"\nrequires-dist = []' in pyproject
    assert "sums verify entry" in (output / "README.md").read_text()


def test_export_replaces_a_project_on_request_and_nothing_else(entry: Path, tmp_path: Path) -> None:
    project = replace(PROJECT, recipe=RECIPE, main="print(1)\n", data=())
    output = tmp_path / "project"
    export_entry(entry, output, division=DIVISIONS["sums"], project=project)
    with pytest.raises(ValueError, match="--overwrite"):
        export_entry(entry, output, division=DIVISIONS["sums"], project=project)
    export_entry(entry, output, division=DIVISIONS["sums"], project=project, overwrite=True)
    with pytest.raises(ValueError, match="overlap"):
        export_entry(entry, entry / "inside", division=DIVISIONS["sums"], project=project)
    (output / "thesis.tex").write_text("work")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        export_entry(entry, output, division=DIVISIONS["sums"], project=project, overwrite=True)
    assert (output / "thesis.tex").read_text() == "work"


@pytest.mark.parametrize(
    "version", ['1.0",\n "evil @ https://x.invalid/evil.whl', "1.0 ; python_version > '3'", "", "x"]
)
def test_export_refuses_what_is_no_version(entry: Path, tmp_path: Path, version: str) -> None:
    submit(entry, versions={"numpy": version})
    project = replace(PROJECT, recipe=RECIPE)
    with pytest.raises(ValueError, match=r"the entry has no version of numpy, but "):
        export_entry(entry, tmp_path / "new", division=DIVISIONS["sums"], project=project)
    assert not (tmp_path / "new").exists()


def test_export_pins_versions_of_every_kind(entry: Path, tmp_path: Path) -> None:
    project = replace(PROJECT, recipe=RECIPE)
    for index, version in enumerate(("1!2.0rc1.post2.dev3", "2.9.0a0+cu12.ubuntu-1")):
        submit(entry, versions={"numpy": version})
        output = tmp_path / f"project {index}"
        export_entry(entry, output, division=DIVISIONS["sums"], project=project)
        pins = tomllib.loads((output / "pyproject.toml").read_text())["project"]["dependencies"]
        assert f"numpy=={version.partition('+')[0]}" in pins


def test_the_frame_needs_no_torch_to_be_read(entry: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import lm_shared.leaderboard.commands as c;"
        "from lm_shared.leaderboard import read_entry; read_entry(Path(sys.argv[1]));"
        "assert not {'torch', 'matplotlib', 'lm_basics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(entry)], check=True)


def test_a_run_that_ends_exactly_at_the_limit_is_in_time(entry: Path) -> None:
    record = sum_leaderboard._read_record(entry, load_config(Submission, entry / SUBMISSION_NAME))
    division = replace(DIVISIONS["sums"], time_limit_s=record.submission.wall_s)
    assert check_time(record, division).passed
    assert not check_time(record, replace(division, time_limit_s=0.001)).passed


def test_a_step_without_a_finite_value_has_to_come_out_as_such(entry: Path) -> None:
    record = sum_leaderboard._read_record(entry, load_config(Submission, entry / SUBMISSION_NAME))
    values = [line["sum"] for line in record.steps]

    def is_replayed(found: list[float]) -> bool | None:
        compared: Any = {"first_step": 1, "tolerance": 1e-9, "wording": "sums differ by {}"}
        return check_replayed(record, "sum", found, **compared).passed

    assert is_replayed(values)
    assert not is_replayed([math.nan, *values[1:]])
    assert not is_replayed([*values, 1.0])


def test_the_speed_is_that_of_the_faster_half(entry: Path) -> None:
    record = sum_leaderboard._read_record(entry, load_config(Submission, entry / SUBMISSION_NAME))
    # A quarter of the steps is faster: disturbances of the slower half change nothing.
    typical = record.mean_step_s
    seconds = [typical * factor for factor in (9, 0.1, 50, 1, 2, 0.2, 70, 3)]
    found = check_speed(record, seconds)
    assert found.passed
    assert f"{typical:.3f} s in the replay" in found.detail
    assert not check_speed(record, [100 * one for one in seconds]).passed
    assert check_speed(record, []).passed is None
    elsewhere = replace(record.submission.hardware, gpus=("NVIDIA H100",))
    found = check_speed(
        replace(record, submission=replace(record.submission, hardware=elsewhere)), seconds
    )
    assert found.passed is None
    assert found.detail == "the run was on NVIDIA H100: not comparable with this machine"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to some cores")
@pytest.mark.parametrize(("max_cores", "num_threads"), [(None, 2), (1, 1), (64, 2)])
def test_cores_are_restricted_while_the_block_runs(max_cores: int | None, num_threads: int) -> None:
    before, allowed = torch.get_num_threads(), os.sched_getaffinity(0)
    torch.set_num_threads(2)
    try:
        with restrict_cores(max_cores):
            assert torch.get_num_threads() == num_threads
            assert len(os.sched_getaffinity(0)) == min(len(allowed), max_cores or len(allowed))
        assert (torch.get_num_threads(), os.sched_getaffinity(0)) == (2, allowed)
    finally:
        torch.set_num_threads(before)


def test_the_table_is_returned_or_put_into_a_document(entry: Path, tmp_path: Path) -> None:
    table = make_table(MakeTable(entries=entry.parent), DIVISIONS.values())
    assert table == leaderboard_tables(entry.parent, DIVISIONS.values())
    document = tmp_path / "README.md"
    document.write_text(f"{BEGIN}{END}")
    said = make_table(MakeTable(entries=entry.parent, document=document), DIVISIONS.values())
    assert table.strip() in document.read_text()
    assert "README.md" in said
    assert table not in said


def test_more_threads_and_faster_devices_may_do_more(entry: Path) -> None:
    record = sum_leaderboard._read_record(entry, load_config(Submission, entry / SUBMISSION_NAME))
    wall_s = record.submission.wall_s

    def passes(flops_per_s: float, *, num_threads: int = 1, gpu: str | None = None) -> bool | None:
        device = "cpu" if gpu is None else "cuda"
        hardware = replace(record.receipt.hardware, gpus=() if gpu is None else (gpu,))
        claim = replace(record.submission, device=device, num_threads=num_threads)
        receipt = replace(record.receipt, hardware=hardware)
        flops = flops_per_s * wall_s
        return check_clock(replace(record, submission=claim, receipt=receipt, flops=flops)).passed

    assert passes(3e12)
    assert not passes(5e12)
    assert passes(5e12, num_threads=2)
    assert passes(900e12, gpu="NVIDIA H100 80GB HBM3")
    assert not passes(1_000e12, gpu="NVIDIA H100 80GB HBM3")
