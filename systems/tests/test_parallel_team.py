"""A process that ends or fails is named by the others, which end too."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from lm_shared.processes import WorkerDiedError
from lm_systems.parallel import team as teams, watch
from lm_systems.parallel.team import ProcessTeam
from systems.tests import process_groups
from systems.tests.process_groups import run_team


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where each process leaves the error that it ends with."""

    def told(environment: Mapping[str, str]) -> AbstractContextManager[ProcessTeam]:
        return _told(environment, tmp_path)

    monkeypatch.setattr(process_groups, "join", told)
    return tmp_path


@contextmanager
def _told(environment: Mapping[str, str], folder: Path) -> Iterator[ProcessTeam]:
    try:
        with teams.join(environment) as team:
            yield team
    except BaseException as error:
        (folder / environment["RANK"]).write_text(f"{type(error).__name__}: {error}")
        os._exit(2)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_process_is_named(victim: int, folder: Path) -> None:
    codes = run_team(_lose, 3, victim)
    for rank in {0, 1, 2} - {victim}:
        message = (folder / str(rank)).read_text()
        assert message == f"{WorkerDiedError.__name__}: rank {victim} of 3 ended after step 3"
    assert codes[victim] == -signal.SIGKILL


def _lose(team: ProcessTeam, victim: int) -> None:
    for step in range(1, 100):
        assert not team.agree(step, wish=False)
        if step == 3 and team.rank == victim:
            # The others hear of the step before they hear of the end.
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("victim", [0, 2])
def test_the_first_error_is_told_by_all(victim: int, folder: Path) -> None:
    run_team(_fail, 3, victim)
    for rank in range(3):
        message = (folder / str(rank)).read_text()
        expected = (
            "ValueError: no more"
            if rank == victim
            else f"WorkerDiedError: rank {victim} of 3 failed after step 2: ValueError: no more"
        )
        assert message == expected


def _fail(team: ProcessTeam, victim: int) -> None:
    for step in range(1, 100):
        team.agree(step, wish=False)
        if step == 2 and team.rank == victim:
            raise ValueError("no more")


def test_a_process_that_does_not_come_back_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "GRACE_S", 0.2)
    assert run_team(_sleep, 2) == [1, -signal.SIGKILL]


def _sleep(team: ProcessTeam) -> None:
    if team.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def test_one_wish_is_that_of_all() -> None:
    assert run_team(_wish, 3) == [0, 0, 0]


def _wish(team: ProcessTeam) -> None:
    assert not team.agree(1, wish=False)
    assert team.agree(2, wish=team.rank == 1)
