import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lm_shared.stages import Stage, StageRunner

INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    factor: int = 2


class Work:
    """Counts its calls, leaves a file, and can fail half-way."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails = False
        self.saw: list[str] = []

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.calls += 1
        self.saw = sorted(path.name for path in folder.iterdir())
        (folder / "half.txt").write_text("half")
        if self.fails:
            raise RuntimeError(INTERRUPTED)
        (folder / "inner").mkdir(exist_ok=True)
        (folder / "inner" / "whole.txt").write_text("whole")
        return {"value": 7, "flops": 10.0, "tokens": 3}


def _run(
    folder: Path, first: Callable[[Path], dict[str, Any]], second: Work, *, factor: int = 2
) -> list[Stage]:
    runner = StageRunner(folder)
    one = runner.run("one", first, config=Settings(factor=factor))
    runner.run("two", second, config=Settings(), reads=[one])
    return runner.stages


def test_finished_stages_are_reused(tmp_path: Path) -> None:
    first, second = Work(), Work()
    done = _run(tmp_path, first, second)
    again = _run(tmp_path, first, second)
    assert (first.calls, second.calls) == (1, 1)
    assert [stage.is_reused for stage in done] == [False, False]
    assert [stage.is_reused for stage in again] == [True, True]
    assert [stage.record for stage in again] == [stage.record for stage in done]
    assert again[0].result == {"value": 7, "flops": 10.0, "tokens": 3}
    receipt = json.loads((tmp_path / "two" / "receipt.json").read_text())
    assert receipt["flops"] == 10.0
    assert receipt["parent_runs"] == [str(tmp_path / "one")]


def test_another_configuration_redoes_the_stage_and_all_that_read_it(tmp_path: Path) -> None:
    first, second = Work(), Work()
    _run(tmp_path, first, second)
    _run(tmp_path, first, second, factor=3)
    assert (first.calls, second.calls) == (2, 2)
    assert "half.txt" not in first.saw


def test_an_interrupted_stage_goes_on_in_its_folder(tmp_path: Path) -> None:
    first, second = Work(), Work()
    second.fails = True
    with pytest.raises(RuntimeError, match=INTERRUPTED):
        _run(tmp_path, first, second)
    second.fails = False
    _run(tmp_path, first, second)
    assert (first.calls, second.calls) == (1, 2)
    assert "half.txt" in second.saw


def test_seconds_of_all_interrupted_attempts_count(tmp_path: Path) -> None:
    started = tmp_path / "one" / "started.json"
    for attempt, at in enumerate((1_000.0, 5_000.0)):
        first = Work()
        first.fails = True
        with pytest.raises(RuntimeError, match=INTERRUPTED):
            _run(tmp_path, first, Work())
        # As if this attempt had begun then and written its last file 100 seconds later.
        state = json.loads(started.read_text())
        assert state["earlier_s"] == pytest.approx(100.0 * attempt, abs=0.01)
        started.write_text(json.dumps(state | {"at": at}))
        for path in [*(tmp_path / "one").rglob("*"), tmp_path / "one"]:
            os.utime(path, (at + 100, at + 100))
        os.utime(started, (at, at))
    _run(tmp_path, Work(), Work())
    record = json.loads((tmp_path / "one" / "stage.json").read_text())
    assert 200.0 <= record["elapsed_s"] < 260.0
    receipt = json.loads((tmp_path / "one" / "receipt.json").read_text())
    assert receipt["wall_s"] == record["elapsed_s"]


def test_an_interrupted_stage_of_another_configuration_starts_over(tmp_path: Path) -> None:
    first = Work()
    first.fails = True
    with pytest.raises(RuntimeError, match=INTERRUPTED):
        _run(tmp_path, first, Work())
    first.fails = False
    _run(tmp_path, first, Work(), factor=5)
    assert "half.txt" not in first.saw


@pytest.mark.parametrize("damage", ["change", "delete"])
def test_a_damaged_file_of_a_finished_stage_is_named_and_nothing_is_lost(
    damage: str, tmp_path: Path
) -> None:
    _run(tmp_path, Work(), Work())
    path = tmp_path / "one" / "inner" / "whole.txt"
    path.write_text("other") if damage == "change" else path.unlink()
    with pytest.raises(ValueError, match=r"whole\.txt .* delete .*one to do that stage again"):
        _run(tmp_path, Work(), Work())
    assert (tmp_path / "two" / "stage.json").exists()


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    _run(tmp_path, Work(), Work())
    (tmp_path / "one" / "stage.json").write_text('{"name": "one"}')
    with pytest.raises(ValueError, match=r"stage\.json is no record of a stage .*--fresh"):
        _run(tmp_path, Work(), Work())


def test_a_process_killed_after_the_record_has_lost_nothing(tmp_path: Path) -> None:
    first = Work()
    _run(tmp_path, first, Work())
    key = json.loads((tmp_path / "one" / "stage.json").read_text())["key"]
    started = {"key": key, "at": 0.0, "earlier_s": 0.0}
    (tmp_path / "one" / "started.json").write_text(json.dumps(started))
    _run(tmp_path, first, Work())
    assert first.calls == 1


def test_a_start_that_cannot_be_read_as_one_starts_over(tmp_path: Path) -> None:
    first = Work()
    first.fails = True
    with pytest.raises(RuntimeError, match=INTERRUPTED):
        _run(tmp_path, first, Work())
    (tmp_path / "one" / "started.json").write_text("[]")
    first.fails = False
    _run(tmp_path, first, Work())
    assert "half.txt" not in first.saw


def test_nested_records_are_checked_but_do_not_redo_what_follows(tmp_path: Path) -> None:
    def timed(folder: Path) -> dict[str, Any]:
        (folder / "run").mkdir(exist_ok=True)
        (folder / "run" / "metrics.jsonl").write_text(secrets.token_hex())
        return {}

    second = Work()
    _run(tmp_path, timed, second)
    (tmp_path / "one" / "stage.json").unlink()
    _run(tmp_path, timed, second)
    assert second.calls == 1
    (tmp_path / "one" / "run" / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"metrics\.jsonl is missing"):
        _run(tmp_path, timed, second)


def test_two_processes_do_not_work_in_one_place(tmp_path: Path) -> None:
    def nested(folder: Path) -> dict[str, Any]:
        StageRunner(tmp_path).run("two", Work(), config=Settings())
        return {}

    with pytest.raises(ValueError, match="another process works in"):
        StageRunner(tmp_path).run("one", nested, config=Settings())


def test_a_killed_process_is_continued_by_the_next(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from dataclasses import dataclass
from pathlib import Path
from lm_shared.stages import StageRunner

@dataclass(frozen=True)
class Settings:
    factor: int = 2

def work(folder):
    path = folder / "attempts"
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    if len(path.read_text()) < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempts": len(path.read_text())}

if __name__ == "__main__":
    stage = StageRunner(Path(sys.argv[1])).run("work", work, config=Settings())
    print(stage.result["attempts"])
"""
    (tmp_path / "job.py").write_text(program)
    command = [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "runs")]
    codes = [subprocess.run(command, check=False).returncode for _ in range(2)]
    assert codes == [-9, -9]
    last = subprocess.run(command, check=True, capture_output=True, text=True)
    assert last.stdout.strip() == "3"
