"""How a command finds the processes that it is to train with."""

import importlib.metadata
from pathlib import Path

import pytest

from lm_basics.training import team as teams
from lm_basics.training.team import ALONE, join_team
from lm_shared.runs import follow_run, record_run
from lm_shared.testing.processes import run_python

COMMAND = ("train", "tiny", "--strategy", "ddp")


def test_a_process_without_others_is_alone() -> None:
    with join_team("serial", {}, command=()) as (team, _):
        assert (team.rank, team.size) == (0, 1)
        assert team.agree(1, wish=True)
        assert not team.agree(2, wish=False)


def test_the_command_that_starts_several_processes_is_told() -> None:
    words = "torchrun --nproc-per-node 2 -m lm_basics train tiny --strategy ddp"
    with pytest.raises(ValueError, match=words), join_team("ddp", {}, command=COMMAND):
        pass


def test_several_processes_do_not_train_the_same() -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "0"}
    with (
        pytest.raises(ValueError, match=r"torchrun has started 2 processes.*--strategy ddp"),
        join_team("serial", environment, command=COMMAND),
    ):
        pass


def test_the_package_that_brings_a_strategy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams, "entry_points", lambda **_: importlib.metadata.EntryPoints())
    with pytest.raises(ValueError, match="install lm-systems"):
        teams.find_strategy("fsdp")


def test_names_of_strategies_load_no_torch() -> None:
    program = "import sys, lm_basics.training.team; print('torch' in sys.modules)"
    assert run_python(["-c", program]).stdout == "False\n"


def test_who_follows_a_run_writes_nothing(tmp_path: Path) -> None:
    with record_run(tmp_path, ALONE) as record:
        record.metrics.append(step=1, loss=2.0)
        before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        followed = follow_run(tmp_path)
        followed.metrics.resume_at(0)
        followed.metrics.write(step=1, loss=3.0)
        followed.metrics.sync()
        followed.metrics.close()
        assert {path: path.read_bytes() for path in before} == before
